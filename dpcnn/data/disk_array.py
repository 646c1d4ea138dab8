"""Arrays in files, of which the rows that are asked for are read: for what the memory cannot hold.

Read with the operating system's own call, which several threads may make at once and which does
not hold up the others; a file that is cut off, or a broken disk, is an error and not a signal.
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

# Bytes. Rows closer than GAP are read together with what lies between them, as another read costs
# more; at most SPAN at a time, so that what is thrown away takes little memory.
GAP = 1 << 15
SPAN = 1 << 20


class _OpenFile:
    """A file descriptor, closed when nobody has it any more."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor

    def __del__(self) -> None:
        os.close(self.descriptor)


class StoredArray:
    """An array (N, ...) that lies in a file as it would lie in memory.

    It has shape, dtype and len as arrays have. Indexed with an integer, or with some (n,), it reads
    these rows; a slice of it is stored too, and is read by np.asarray. Reading raises ReadError.
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
        """Return an array of zeros in a new file, to be assigned to; raises DataError."""
        size = math.prod(shape) * np.dtype(dtype).itemsize
        try:
            with path.open("wb") as file:
                os.posix_fallocate(file.fileno(), 0, size)  # a full disk is found now
        except OSError as error:
            raise DataError(
                f"{path.name} cannot be unpacked into {path.parent} ({error.strerror}), expected"
                f" {size:,} bytes there: set TMPDIR to a directory that has them"
            ) from error
        return cls(path, shape, dtype)

    @classmethod
    def of(cls, array: Array, path: Path) -> StoredArray:
        """Return a copy of an array in a new file; raises DataError."""
        stored = cls.create(path, array.shape, array.dtype)
        stored[:] = array
        return stored

    def __len__(self) -> int:
        return self.shape[0]

    def __reduce__(self) -> Any:
        """Be opened where it is unpickled: by another process of this node."""
        return StoredArray, (self.path, self.shape, self.dtype, self.offset)

    @property
    def row_bytes(self) -> int:
        """How many bytes a row takes."""
        return math.prod(self.shape[1:]) * self.dtype.itemsize

    @property
    def nbytes(self) -> int:
        """How many bytes all of it takes."""
        return len(self) * self.row_bytes

    def __getitem__(self, rows: Any) -> Any:
        if not isinstance(rows, slice):
            return self._chosen(np.atleast_1d(rows)).reshape(*np.shape(rows), *self.shape[1:])
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
        return self._run(0, len(self)).astype(dtype or self.dtype, copy=False)

    def _chosen(self, rows: NDArray[np.integer[Any]]) -> Array:
        """Return the rows, which are read in the order of the file."""
        chosen = np.empty((len(rows), *self.shape[1:]), self.dtype)
        places = np.argsort(rows)
        if len(rows) and not 0 <= rows[places[0]] <= rows[places[-1]] < len(self):
            raise IndexError(f"rows {rows.min()} to {rows.max()}, expected 0 to {len(self) - 1}")
        ordered = rows[places]
        far = np.diff(ordered) * self.row_bytes > GAP
        beyond = np.diff(ordered // max(1, SPAN // self.row_bytes)) > 0
        for span in np.split(places, np.flatnonzero(far | beyond) + 1):
            if span.size:
                first = int(rows[span[0]])
                chosen[span] = self._run(first, int(rows[span[-1]]) + 1)[rows[span] - first]
        return chosen

    def _run(self, first: int, last: int) -> Array:
        """Return the rows from the first to before the last."""
        rows = np.empty((last - first, *self.shape[1:]), self.dtype)
        left = rows.reshape(-1).view(np.uint8).data
        place = self.offset + first * self.row_bytes
        while left:
            try:
                count = os.preadv(self._file.descriptor, [left], place)
            except OSError as error:
                raise ReadError(f"{self.path}: cannot be read ({error.strerror})") from error
            if count == 0:
                raise ReadError(
                    f"{self.path}: ends at byte {place:,}, expected {len(left):,} more: it has been"
                    " changed since it was opened"
                )
            left = left[count:]
            place += count
        return rows
