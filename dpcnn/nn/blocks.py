"""Blocks of arrays that stay in the L2 cache while several operations go over them."""

from __future__ import annotations

from functools import cache

# Bytes of one array's block: with the one that is written beside it, about an L2 cache of 512 KB.
# In smaller ones the calls cost more than is saved (tests/benchmarks/bench_normalization.py).
BLOCK_BYTES = 2**18


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
