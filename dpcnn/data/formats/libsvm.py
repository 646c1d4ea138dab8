"""Datasets in LIBSVM's format: a line an image, `label index:value ...`, zeros left out.

https://www.csie.ntu.edu.tw/~cjlin/libsvmtools/datasets has the test set in a second file, NAME.t.
"""

from __future__ import annotations

import contextlib
import math
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dpcnn.data.formats.raw import Part, Raw, Wanted
from dpcnn.data.formats.roles import beside
from dpcnn.data.shapes import COLOURS
from dpcnn.errors import DataError
from dpcnn.system.files import UnsafeFileError, file_size
from dpcnn.system.text import one_line

Array = NDArray[Any]

NUMBER = rb"[-+]?[0-9.]+(?:[eE][-+]?[0-9]+)?"
LINE = re.compile(NUMBER + rb"(?:[ \t]+[0-9]+:" + NUMBER + rb")+")
MOST = 1 << 20  # values of an image


def recognises(path: Path) -> bool:
    """Tell by the first bytes of a file whether it has lines of this format."""
    with contextlib.suppress(UnsafeFileError, OSError):
        if file_size(path):
            with path.open("rb") as file:
                return LINE.match(file.read(400)) is not None
    return False


@contextlib.contextmanager
def open_raw(path: Path, wanted: Wanted) -> Iterator[Raw]:
    """Open a file, and the test set beside it; raises DataError."""
    with_t = path.with_name(f"{path.name}.t")
    other = with_t if with_t.is_file() else beside(path)
    train = _lines(path)
    test = None if other is None else _lines(other)
    largest = max(int(line[-2]) for line in [*train, *(test or [])] if len(line) > 1)
    values, note = _values(largest, wanted)
    notes = [note, *([] if other is None else [f"test set from {other.name}"])]
    if largest > values:
        raise DataError(f"{path}: the index {largest}, expected at most {values}")
    test_part = None if test is None else _part(test, values)
    yield Raw(f"{path}: ", _part(train, values), test_part, notes=tuple(filter(None, notes)))


def _lines(path: Path) -> list[Array]:
    """Return label, index, value, index, value, ... of each line; raises DataError."""
    lines = []
    try:
        file_size(path)
        with path.open("rb") as file, warnings.catch_warnings():
            warnings.simplefilter("error")
            for number, text in enumerate(file, 1):
                if not text.strip():
                    continue
                line = np.fromstring(text.replace(b":", b" ").decode("ascii"), sep=" ")
                indices = line[1::2]
                sound = len(line) % 2 and (indices >= 1).all() and (indices <= MOST).all()
                if not (sound and (np.diff(indices) > 0).all()):
                    raise ValueError(f"line {number:,} has no ascending indices from 1")
                lines.append(line)
    except (UnsafeFileError, OSError, ValueError, DeprecationWarning) as error:
        raise DataError(
            f"{path}: cannot be read ({one_line(error)}), expected lines `label index:value ...`"
        ) from error
    if not any(len(line) > 1 for line in lines):
        raise DataError(f"{path}: no values, expected lines `label index:value ...`")
    return lines


def _values(largest: int, wanted: Wanted) -> tuple[int, str]:
    """Return how many values an image has, of which the last ones may be left out, and a note."""
    channels, height, width = wanted.shape
    if channels and height and width:
        return channels * height * width, ""
    sizes = {count * side**2 for count in COLOURS for side in [math.isqrt(largest // count)]}
    if largest in sizes:
        return largest, ""
    side = math.isqrt(largest - 1) + 1
    return side**2, f"images of {side}x{side}: the last index is {largest}"


def _part(lines: list[Array], values: int) -> Part:
    """Return the images (N, values) and labels (N,) of lines."""
    images = np.zeros((len(lines), values), np.float32)
    for image, line in zip(images, lines, strict=True):
        indices = line[1::2].astype(np.int64) - 1
        image[indices] = line[2::2]
    return Part(images, np.array([line[0] for line in lines]), "the images", "the labels")
