"""Datasets as CSV: a row an image, with the label in the first or the last column, or a named one.

With a header or without; lines may end in a comma. The test set is in a second file beside it, or
set apart by --test_fraction.
"""

from __future__ import annotations

import contextlib
import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dpcnn.data.formats.raw import Part, Raw, Wanted
from dpcnn.data.formats.roles import beside
from dpcnn.errors import DataError, OptionError
from dpcnn.system.files import UnsafeFileError, file_size
from dpcnn.system.text import one_line

Array = NDArray[Any]

BLOCK = 1 << 24  # bytes of text that are read at a time
LONGEST = 1 << 22  # bytes of a line
SAMPLED = 200  # lines by which the column of the label is told
MANY = 50  # lines among which no label is alone
LABELS = ("label", "labels", "class", "target", "y", "category")


@dataclass(frozen=True)
class Columns:
    """The names of the columns, if there are any, how many there are, and which is the label."""

    names: list[str] | None
    count: int
    label: int | None  # None: there are pixels alone
    text: bool = False  # whether labels are names


def recognises(path: Path) -> bool:
    """Tell by its suffix whether a file is a table."""
    return path.suffix.lower() in (".csv", ".tsv")


@contextlib.contextmanager
def open_raw(path: Path, wanted: Wanted) -> Iterator[Raw]:
    """Open a table, and that of the test set beside it; raises DataError."""
    columns = _columns(path, wanted.keys)
    assert columns.label is not None, "it was asked for"
    train = _read(path, columns)
    other = beside(path)
    test = None if other is None else _read(other, columns)
    name = "first" if columns.label == 0 else "last" if columns.label == columns.count - 1 else ""
    named = columns.names[columns.label] if columns.names else ""
    notes = [f"label in the {name} column {named}".replace("  ", " ").rstrip()]
    if other is not None:
        notes.append(f"test set from {other.name}")
    yield Raw(f"{path}: ", train, test, notes=tuple(notes))


def load(path: Path, values: int, keys: str | None) -> Array:
    """Return the images (N, values) of a table with or without labels, which are not returned.

    keys: y=NAME for the column of the labels, y=first or y=last, where that is not plain. Raises
    DataError.
    """
    columns = _columns(path, keys, values)
    found = columns.count - (columns.label is not None)
    if found != values:
        raise DataError(
            f"{path}: lines of {columns.count} values, expected {values}, or {values + 1} with a"
            " label"
        )
    return np.asarray(_read(path, columns).x)


def _lines(path: Path) -> Iterator[bytes]:
    """Yield blocks of whole lines; raises DataError."""
    try:
        file_size(path)
        with path.open("rb") as file:
            while block := file.read(BLOCK):
                block += file.readline(LONGEST)
                yield block.replace(b"\r\n", b"\n")
    except (UnsafeFileError, OSError) as error:
        raise DataError(f"{path}: cannot be read ({one_line(error)}), expected CSV") from error


def _sampled(path: Path) -> list[bytes]:
    """Return the first line, and lines from all over a table: it may be sorted by its labels."""
    lines = next(_lines(path), b"").split(b"\n")
    if (length := max(map(len, lines))) > LONGEST:
        raise DataError(f"{path}: a line of {length:,} bytes, expected at most {LONGEST:,}")
    size = file_size(path)
    if size <= BLOCK:
        rest = [line for line in lines[1:] if line.strip()]
        return [lines[0], *rest[:: max(1, -(-len(rest) // SAMPLED))]]
    found = lines[:2]
    with path.open("rb") as file:
        for number in range(1, SAMPLED):
            file.seek(size * number // SAMPLED)
            file.readline(LONGEST)  # the rest of a line
            found.append(file.readline(LONGEST).rstrip(b"\r\n"))
    return found


def _fields(line: bytes, separator: bytes) -> list[str]:
    fields = line.rstrip(b"\n").removesuffix(separator).split(separator)
    return [field.decode("utf-8", "replace").strip().strip('"') for field in fields]


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _separator(path: Path) -> bytes:
    return b"\t" if path.suffix.lower() == ".tsv" else b","


def _columns(path: Path, keys: str | None, unlabelled: int = 0) -> Columns:
    """Return what the first lines tell of the columns; raises DataError.

    unlabelled: how many values a line has that has no label.
    """
    rows = [_fields(line, _separator(path)) for line in _sampled(path) if line.strip()]
    if not rows or len(rows[0]) < 2:
        raise DataError(f"{path}: no columns, expected an image and its label a line")
    numeric = [_is_number(field) for field in rows[0]]
    names = rows.pop(0) if sum(numeric) < len(numeric) / 2 else None
    if not rows:
        raise DataError(f"{path}: no line after the header, expected an image and its label each")
    count = len(rows[0])
    if any(len(row) != count for row in rows):
        raise DataError(f"{path}: lines of different lengths, expected {count} values in each")
    if unlabelled and keys is None and count != unlabelled + 1:
        return Columns(names, count, None)
    label = _label(path, names, rows, keys)
    return Columns(names, count, label, not all(_is_number(row[label]) for row in rows))


def _label(path: Path, names: list[str] | None, rows: list[list[str]], keys: str | None) -> int:
    """Return which column is the label."""
    last = len(rows[0]) - 1
    if keys is not None:
        role, _, name = keys.partition("=")
        places = {"first": 0, "last": last} | {each: n for n, each in enumerate(names or [])}
        if role.strip() not in ("y", "y_train") or name not in places:
            raise OptionError(
                f"--keys is {keys!r:.60}, expected y=first, y=last or y=NAME of a column of {path}"
            )
        return places[name]
    named = [n for n, name in enumerate(names or []) if name.lower() in LABELS]
    if len(named) == 1:
        return named[0]
    likely = _likely({place: [row[place] for row in rows] for place in (0, last)})
    if len(likely) != 1:
        raise DataError(
            f"{path}: the label may be in the first or the last column: --keys y=first or y=last"
        )
    return likely[0]


def _likely(columns: dict[int, list[str]]) -> list[int]:
    """Return which of two columns hold labels rather than a pixel, as far as that can be told."""
    if names := [place for place, each in columns.items() if not all(map(_is_number, each))]:
        return names
    likely = [place for place, each in columns.items() if _may_be_labels(each)]
    of_few = [place for place in likely if 2 * len(set(columns[place])) <= len(columns[place])]
    if len(of_few) == 1 or len(columns[0]) >= MANY:
        return of_few if len(of_few) < 2 else _varied(columns, of_few)
    return likely if len(likely) < 2 else _varied(columns, likely)


def _varied(columns: dict[int, list[str]], likely: list[int]) -> list[int]:
    """Return the columns but for a pixel of the corner, which has nearly always one value."""
    shares = {place: _largest_share(columns[place]) for place in likely}
    return [place for place in likely if 2 * shares[place] <= max(shares.values())]


def _may_be_labels(column: list[str]) -> bool:
    """Tell whether a column holds several whole numbers."""
    return len(set(column)) > 1 and all(float(each).is_integer() for each in column)


def _largest_share(column: list[str]) -> float:
    """Return the share of the most frequent value."""
    return Counter(column).most_common(1)[0][1] / len(column)


def _read(path: Path, columns: Columns) -> Part:
    """Return the images and labels of a table; raises DataError."""
    separator = _separator(path)
    x: list[Array] = []
    y: list[Array] = []
    line = 1
    for number, block in enumerate(_lines(path)):
        if number == 0 and columns.names is not None:
            block = block.partition(b"\n")[2]
            line = 2
        pixels, labels = _values(block, columns, separator, f"{path}, lines from {line:,}")
        x.append(pixels)
        y.append(labels)
        line += len(labels)
    images, labels = np.concatenate(x), np.concatenate(y)
    if images.dtype == np.uint8 and images.max(initial=0) <= 1:
        images = images.astype(np.int16)  # 0 and 1 stand for black and white, not for 0 and 1/255
    return Part(images, labels, "the images", "the labels")


def _values(block: bytes, columns: Columns, separator: bytes, where: str) -> tuple[Array, Array]:
    """Return the pixels (n, values), of the smallest type that holds them, and labels (n,)."""
    lines = [line.removesuffix(separator) for line in block.split(b"\n") if line.strip()]
    if any(line.count(separator) != columns.count - 1 for line in lines):
        raise DataError(f"{where}: another number of values in a line than {columns.count}")
    labels: list[str] = []
    if columns.text and columns.label is not None:
        split = [line.split(separator) for line in lines]
        labels = [fields.pop(columns.label).decode("utf-8", "replace") for fields in split]
        lines = [separator.join(fields) for fields in split]
    width = columns.count - columns.text
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            text = b",".join(lines).replace(separator, b",").decode("ascii")
            numbers = np.fromstring(text, np.float32, sep=",").reshape(len(lines), width)
        except (DeprecationWarning, ValueError) as error:
            raise DataError(f"{where}: something else than {width} numbers in a line") from error
    if columns.label is None:
        return _narrow(numbers), np.empty(len(lines))
    if columns.text:
        return _narrow(numbers), np.array([label.strip().strip('"') for label in labels], "U")
    return _narrow(np.delete(numbers, columns.label, axis=1)), numbers[:, columns.label]


def _narrow(values: Array) -> Array:
    """Return the values as bytes if all are."""
    narrow = values.astype(np.uint8) if values.size and values.min() >= 0 else values
    return narrow if values.max(initial=0) <= 255 and np.array_equal(narrow, values) else values
