"""How operations go over arrays: in blocks that stay in the cache, and over rows in one run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import numpy as np

from dpcnn.nn.layer import Array

# Bytes of one array's block. The L3 cache keeps several of them; in blocks for the L2 cache, a
# quarter as large, the calls cost more than is saved (tests/benchmarks/bench_normalization.py).
BLOCK_BYTES = 2**20
ROW = 1024  # values: longer rows are not joined; conversions take a fifth longer in half of it


@cache
def blocks(count: int, item_bytes: int) -> tuple[slice, ...]:
    """Return slices that cut `count` items of `item_bytes` each into blocks of BLOCK_BYTES.

    The last may be shorter; an item that is larger is a block of its own.
    """
    length = block_length(count, item_bytes)
    return tuple(slice(start, min(start + length, count)) for start in range(0, count, length))


def block_length(count: int, item_bytes: int) -> int:
    """Return how many items the longest of these blocks has."""
    return max(1, min(count, BLOCK_BYTES // item_bytes))


@contextmanager
def long_rows() -> Iterator[None]:
    """Within, NumPy multiplies each row of an array with a value of its own twice as fast.

    It fills a buffer with such values, repeated, to join rows until an inner loop has the buffer's
    length, 8192 values by default. A row of at least ROW values is long enough: with a buffer of
    that many there is nothing to fill. Results are the same.
    """
    before = np.setbufsize(ROW)
    try:
        yield
    finally:
        np.setbufsize(before)


def copy_pixels(target: Array, values: Array) -> None:
    """Copy values (..., N), pixel by pixel: a third of the time where a run is of 16 images.

    The N values of a pixel are one item of an array then, and NumPy has no loop over them to start.
    """
    pixel = np.dtype((np.void, values.shape[-1] * values.itemsize))
    np.copyto(target.view(pixel)[..., 0], values.view(pixel)[..., 0])
