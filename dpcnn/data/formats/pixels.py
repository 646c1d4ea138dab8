"""Pixels of any kind as images (N, C, H, W) of uint8, or of float32 in [0, 1].

Files hold bytes, floats in [0, 1], floats from 0 to 255 or from -1 to 1, integers or bools. Which
of these the training set holds is found out once, and the test set is read alike. Where every value
is k/255 the byte k is kept.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike, NDArray

from dpcnn.data.disk_array import StoredArray
from dpcnn.data.formats.raw import Part, Source
from dpcnn.data.shapes import Form
from dpcnn.errors import DataError

Array = NDArray[Any]

BLOCK = 1 << 24  # bytes read at a time, somewhat more where the array is chunked
ROUNDING = 1e-6  # of the range from black to white: so far beyond it is for rounding, and clipped
NEAR = 1e-5  # a value that is not in [0, 1] as it is counts as k/255 if it is that close
EXPECTED = "expected floats in [0, 1] or uint8"


class OutsideError(DataError):
    """Pixels have values that do not belong to the kind that the others are of."""


class Encoding(NamedTuple):
    """The values that stand for black and white, and what to say of them."""

    low: float
    high: float
    note: str = ""


UNIT = Encoding(0, 1)
BYTES = Encoding(0, 255, "values from 0 to 255")
SIGNED = Encoding(-1, 1, "values from -1 to 1, of which -1 is black")
WORDS = Encoding(0, 65535, "values of 16 bits")
BITS = Encoding(0, 1, "values 0 and 1")


def encoding_of(part: Part, where: str) -> Encoding:
    """Return how the training images are written; raises DataError for values of no known kind.

    Floats are taken to be in [0, 1] if the first ones are.
    """
    dtype = part.x.dtype
    if dtype == np.uint8:
        return UNIT
    if dtype.kind not in "fiub":
        raise DataError(f"{where} holds {dtype}, expected uint8 or floats in [0, 1]")
    if dtype.kind == "f" and not _outside(_first(part), UNIT):
        return UNIT  # what the other blocks hold is checked when they are read
    return _by_range(part, where)


def training_images(
    part: Part, where: str, form: Form, copy: Path | None
) -> tuple[Array | StoredArray, Encoding]:
    """Return the training images as `images` does, and how they are written."""
    encoding = encoding_of(part, where)
    try:
        return images(part, where, form, encoding, copy), encoding
    except OutsideError:  # the first block looked like another kind of values than there are
        encoding = _by_range(part, where)
        return images(part, where, form, encoding, copy), encoding


def images(
    part: Part, where: str, form: Form, encoding: Encoding, copy: Path | None
) -> Array | StoredArray:
    """Return the images (N, C, H, W): uint8 where every value is k/255, else float32.

    copy: the file to unpack them into, unless they lie in their own as they would in memory; None:
    they are read into memory. Raises OutsideError for values that the encoding has not.
    """
    if part.x.dtype == np.uint8:
        encoding = UNIT
    kept = _kept_as(np.uint8, part, where, form, encoding, copy)
    if kept is None:
        kept = _kept_as(np.float32, part, where, form, encoding, copy)
    assert kept is not None, "float32 takes every value"
    return kept


def decoded(part: Part, where: str, form: Form) -> Iterator[Array]:
    """Yield the images of an array of any kind, (n, C, H, W) uint8 or float32, a block at a time.

    Raises DataError for values of no known kind.
    """
    if part.x.dtype.kind not in "fiub":
        raise DataError(f"{where} holds {part.x.dtype}, {EXPECTED}")
    encoding = UNIT if part.x.dtype == np.uint8 else _by_range(part, where)
    for rows in blocks(part.x, part.chunk):
        block = np.asarray(part.x[rows])
        values = block if block.dtype == np.uint8 else _values(block, np.float32, where, encoding)
        assert values is not None, "float32 takes every value"
        yield form.images(values)


def blocks(x: Source, chunk: int = 1) -> Iterator[slice]:
    """Yield the rows of one block after the other.

    Blocks are made of whole chunks, so that each is read, and perhaps inflated, only once.
    """
    row = max(1, math.prod(x.shape[1:]) * x.dtype.itemsize)
    count = math.ceil(max(1, BLOCK // row) / chunk) * chunk
    for start in range(0, x.shape[0], count):
        yield slice(start, min(start + count, x.shape[0]))


def _first(part: Part) -> Array:
    return np.asarray(part.x[next(blocks(part.x, part.chunk))])


def doubts(part: Part, where: str) -> list[str]:
    """Return a warning of bytes that may be meant for black and white, and are nearly black."""
    largest = 0
    for rows in blocks(part.x, part.chunk) if part.x.dtype == np.uint8 else ():
        largest = max(largest, int(np.asarray(part.x[rows]).max(initial=0)))
        if largest > 1:
            break
    if largest != 1:
        return []
    return [
        f"{where} holds only the bytes 0 and 1, which are read as 0/255 and 1/255: as bools or"
        " floats they would be read as black and white"
    ]


def _belongs(low: float, high: float, encoding: Encoding, dtype: np.dtype[Any]) -> bool:
    """Tell whether values from low to high are of this encoding, but for rounding."""
    share = max(ROUNDING, 2 * float(np.finfo(dtype).eps)) if dtype.kind == "f" else 0.0
    slack = share * (encoding.high - encoding.low)
    return bool(encoding.low - slack <= low and high <= encoding.high + slack)


def _outside(block: Array, encoding: Encoding) -> bool:
    return not _belongs(block.min(), block.max(), encoding, block.dtype)


def _by_range(part: Part, where: str) -> Encoding:
    """Return how the images are written by the range of all values; raises DataError."""
    if part.x.dtype.kind == "b":
        return BITS
    low, high, whole = np.inf, -np.inf, True
    for part_rows in blocks(part.x, part.chunk):
        block = np.asarray(part.x[part_rows])
        low, high = float(np.minimum(low, block.min())), float(np.maximum(high, block.max()))
        if not np.isfinite([low, high]).all():
            break
        whole = whole and (block.dtype.kind != "f" or bool((block == np.rint(block)).all()))
    dtype = part.x.dtype
    integers = dtype.kind in "iu"
    if _belongs(low, high, UNIT, dtype):
        return BITS if integers else UNIT
    if _belongs(low, high, BYTES, dtype) and (whole or high >= 128):
        return BYTES
    if low >= 0 and high <= 65535 and dtype in (np.uint16, np.int32) and high > 4095:
        return WORDS
    if _belongs(low, high, SIGNED, dtype) and low <= -0.5 and not integers:
        return SIGNED
    raise _error(low, high, where)


def _error(low: float, high: float, where: str) -> OutsideError:
    found = "NaN" if np.isnan(low) or np.isnan(high) else f"values from {low:.7g} to {high:.7g}"
    return OutsideError(f"{where} holds {found}, {EXPECTED}")


def _kept_as(
    dtype: DTypeLike, part: Part, where: str, form: Form, encoding: Encoding, copy: Path | None
) -> Array | StoredArray | None:
    """Return the images (N, C, H, W) as uint8 or float32; None if uint8 cannot hold a value.

    Wherever they are kept, every value is checked on the way; bytes that stay in the file need not
    be read.
    """
    x = part.x
    size = (x.shape[0], *form.shape)
    as_it_is = x.dtype == dtype and encoding == UNIT and not form.last
    in_file = None
    if copy is not None and as_it_is and part.location is not None:
        in_file = StoredArray(part.location[0], size, x.dtype, part.location[1])
        if dtype == np.uint8:
            return in_file
    kept = _new(size, dtype, where, copy) if in_file is None else in_file
    for part_rows in blocks(x, part.chunk):
        block = np.asarray(x[part_rows])
        values = _values(block, dtype, where, encoding)
        if values is None:
            return None
        if in_file is not None and values is not block:  # clipped: it cannot stay where it is
            return _kept_as(dtype, part._replace(location=None), where, form, encoding, copy)
        if in_file is None:
            kept[part_rows] = form.images(values)
    return kept


def _new(
    size: tuple[int, ...], dtype: DTypeLike, where: str, copy: Path | None
) -> Array | StoredArray:
    """Return a new array for the images, in memory or in the file `copy`; raises DataError."""
    try:
        return np.empty(size, dtype) if copy is None else StoredArray.create(copy, size, dtype)
    except MemoryError as error:
        raise DataError(f"{where} does not fit in memory ({error}): train with --stream") from error


def _values(block: Array, dtype: DTypeLike, where: str, encoding: Encoding) -> Array | None:
    """Return the values of a block as dtype holds them; None if uint8, k for k/255, cannot.

    Raises OutsideError for values that the encoding has not.
    """
    if block.dtype == np.uint8 and encoding == UNIT:
        return block
    low, high = block.min(), block.max()
    if not _belongs(low, high, encoding, block.dtype):
        raise _error(low, high, where)
    if low < encoding.low or high > encoding.high:
        block = np.clip(block, encoding.low, encoding.high)
    if encoding == UNIT:
        values = block.astype(np.float32, copy=False)
        near = 0.0
    else:
        unit = (block.astype(np.float64) - encoding.low) / (encoding.high - encoding.low)
        values, near = unit.astype(np.float32), NEAR
    if dtype == np.float32:
        return values
    scaled = np.rint(values * np.float32(255))
    exact = scaled / np.float32(255)
    same = np.abs(exact - values).max() <= near if near else np.array_equal(exact, values)
    return scaled if same else None
