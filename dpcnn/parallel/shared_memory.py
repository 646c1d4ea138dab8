"""Memory that the ranks of one node share."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

Array = NDArray[Any]

LINE = 64  # bytes of a cache line


def aligned_zeros(length: int, dtype: DTypeLike) -> Array:
    """Return zeros (length,) that begin with a cache line.

    NumPy's own arrays begin anywhere, and adding those that begin within a vector register's width
    takes a tenth longer (tests/benchmarks/bench_reduction.py).
    """
    size = length * np.dtype(dtype).itemsize
    room = np.zeros(size + LINE, np.uint8)
    start = -room.ctypes.data % LINE
    return room[start : start + size].view(dtype)


@dataclass(frozen=True)
class SharedVectors:
    """A vector of each rank, in rank order, and one for their sum: all ranks see all of them."""

    values: list[Array]
    total: Array

    @classmethod
    def allocate(
        cls,
        rank: int,
        size: int,
        length: int,
        dtypes: tuple[np.dtype[Any], np.dtype[Any]],
        allgather: Callable[[Any], list[Any]],
    ) -> SharedVectors | None:
        """Return vectors of zeros, of types (values, total), or None if there is no such memory.

        Collective: `allgather` exchanges an object of each rank. The memory is an anonymous file of
        rank 0: it needs nothing of the MPI library, does not count against a container's small
        /dev/shm, outlives the death of any rank and goes with the last one.
        """
        sizes = [length * dtypes[0].itemsize] * size + [length * dtypes[1].itemsize]
        cuts = np.cumsum([0, *(math.ceil(bytes_needed / LINE) * LINE for bytes_needed in sizes)])
        file = _reserve(int(cuts[-1])) if rank == 0 else None
        place = None if file is None else (f"/proc/{os.getpid()}/fd/{file}", _identity(file))
        memory = _open(allgather(place)[0])
        everyone = all(allgather(memory is not None))
        if file is not None:
            os.close(file)
        if memory is None or not everyone:
            return None
        rows = [
            memory[start : start + size_in_bytes].view(np.ndarray)
            for start, size_in_bytes in zip(cuts, sizes, strict=False)
        ]
        return cls([row.view(dtypes[0]) for row in rows[:-1]], rows[-1].view(dtypes[1]))

    def add(self, part: slice) -> None:
        """Write the sum of this part of all vectors into `total`; overwrites the first's part."""
        total = add_up([vector[part] for vector in self.values])
        np.copyto(self.total[part], total, casting="same_kind")


def add_up(vectors: list[Array]) -> Array:
    """Add all vectors to the first, in rank order; return it."""
    total = vectors[0]
    for vector in vectors[1:]:
        total += vector
    return total


def _open(place: tuple[str, tuple[int, int]] | None) -> Array | None:
    """Return the memory of rank 0's file, or None if it cannot be opened here.

    In a container, or on a host of the same name, its path can lead to another file.
    """
    try:
        if place is None or _identity(place[0]) != place[1]:
            return None
        return np.memmap(place[0], np.uint8, "r+")
    except OSError:
        return None


def _identity(file: str | int) -> tuple[int, int]:
    """Return what identifies a file on this machine."""
    facts = os.stat(file)
    return facts.st_dev, facts.st_ino


def _reserve(length: int) -> int | None:
    """Return a new anonymous file of so many bytes, or None if there is no room."""
    try:
        file = os.memfd_create("dpcnn")
    except OSError:
        return None
    try:
        os.posix_fallocate(file, 0, length)  # writing to a page that is not there kills a rank
    except OSError:
        os.close(file)
        return None
    return file
