"""Arrays that stay in files, read a few rows at a time: for images that do not fit in memory.

Rows are read with pread rather than mapped. Several threads may read at once without blocking each
other, and a truncated file or a broken disk raises an error instead of a signal.
"""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from dpcnn.errors import DataError, ReadError

Array = NDArray[Any]

# Bytes. Rows closer than GAP are read together, with whatever lies between them, since another read
# would cost more; at most SPAN at a time, so that what is discarded takes little memory.
GAP = 1 << 15
SPAN = 1 << 20


class _OpenFile:
    """A file descriptor, closed when the last array that uses it is gone."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor

    def __del__(self) -> None:
        os.close(self.descriptor)


class StoredArray:
    """An array (N, ...) that lies in a file as it would lie in memory.

    It has the shape, dtype and len of an array. Indexing it with an integer or integers (n,) reads
    those rows; a slice is a StoredArray too, which np.asarray reads. Reading raises ReadError.
    """

    def __init__(
        self,
        path: Path,
        shape: tuple[int, ...],
        dtype: DTypeLike,
        offset: int = 0,
        file: _OpenFile | None = None,
    ) -> None:
        self.path, self.shape, self.dtype, self.offset = path, shape, np.dtype(dtype), offset
        self._file = file or _OpenFile(os.open(path, os.O_RDONLY))

    @classmethod
    def create(cls, path: Path, shape: tuple[int, ...], dtype: DTypeLike) -> StoredArray:
        """Return an array of zeros in a new file, to be filled; raises DataError."""
        size = math.prod(shape) * np.dtype(dtype).itemsize
        try:
            with path.open("wb") as file:
                os.posix_fallocate(file.fileno(), 0, size)  # so that a full disk shows now
        except OSError as error:
            raise DataError(
                f"{path.name} cannot be unpacked into {path.parent} ({error.strerror}), expected"
                f" room for {size:,} bytes: set TMPDIR to a directory that has it"
            ) from error
        return cls(path, shape, dtype)

    @classmethod
    def of(cls, array: Array, path: Path) -> StoredArray:
        """Return a copy of an array, in a new file; raises DataError."""
        stored = cls.create(path, array.shape, array.dtype)
        stored[:] = array
        return stored

    def __len__(self) -> int:
        return self.shape[0]

    def __reduce__(self) -> Any:
        """Open the file again where this is unpickled: in another process of the node."""
        return StoredArray, (self.path, self.shape, self.dtype, self.offset)

    @property
    def row_bytes(self) -> int:
        """The bytes of one row."""
        return math.prod(self.shape[1:]) * self.dtype.itemsize

    @property
    def nbytes(self) -> int:
        """The bytes of all rows."""
        return len(self) * self.row_bytes

    def __getitem__(self, rows: Any) -> Any:
        if not isinstance(rows, slice):
            return self._read_rows(np.atleast_1d(rows)).reshape(*np.shape(rows), *self.shape[1:])
        first, last, _ = rows.indices(len(self))
        shape = (max(last - first, 0), *self.shape[1:])
        offset = self.offset + first * self.row_bytes
        return StoredArray(self.path, shape, self.dtype, offset, self._file)

    def __setitem__(self, rows: slice, values: Array) -> None:
        with self.path.open("r+b") as file:
            first, _, _ = rows.indices(len(self))
            file.seek(self.offset + first * self.row_bytes)
            file.write(np.ascontiguousarray(values, self.dtype).data)

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> Array:
        return self._read_run(0, len(self)).astype(dtype or self.dtype, copy=False)

    def _read_rows(self, rows: NDArray[np.integer[Any]]) -> Array:
        """Return these rows, reading them in the order of the file."""
        values = np.empty((len(rows), *self.shape[1:]), self.dtype)
        ascending = np.argsort(rows)
        if len(rows) and not 0 <= rows[ascending[0]] <= rows[ascending[-1]] < len(self):
            raise IndexError(f"rows {rows.min()} to {rows.max()}, expected 0 to {len(self) - 1}")
        ordered = rows[ascending]
        distant = np.diff(ordered) * self.row_bytes > GAP
        next_span = np.diff(ordered // max(1, SPAN // self.row_bytes)) > 0
        for span in np.split(ascending, np.flatnonzero(distant | next_span) + 1):
            if span.size:
                first = int(rows[span[0]])
                values[span] = self._read_run(first, int(rows[span[-1]]) + 1)[rows[span] - first]
        return values

    def _read_run(self, first: int, last: int) -> Array:
        """Return the rows from `first` to before `last`."""
        rows = np.empty((last - first, *self.shape[1:]), self.dtype)
        unread = rows.reshape(-1).view(np.uint8).data
        offset = self.offset + first * self.row_bytes
        while unread:
            try:
                count = os.preadv(self._file.descriptor, [unread], offset)
            except OSError as error:
                raise ReadError(f"{self.path}: cannot be read ({error.strerror})") from error
            if count == 0:
                raise ReadError(
                    f"{self.path}: ends at byte {offset:,}, expected {len(unread):,} more: the file"
                    " was changed after it was opened"
                )
            unread = unread[count:]
            offset += count
        return rows
