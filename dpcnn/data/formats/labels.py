"""Labels of any kind as the numbers 0, 1, ... of classes, and the names of the classes.

Files hold integers from 0 or from 1, floats that are whole, bools, one-hot rows, or names.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dpcnn.data.formats.raw import Part, Raw, Wanted
from dpcnn.errors import DataError
from dpcnn.system.text import one_line

Array = NDArray[Any]

FEWEST, MOST = 2, 65536  # classes
LONGEST = 100  # characters of the name of a class
SHOWN = 6  # names of classes in a message


class Labels(NamedTuple):
    """The labels (N,) of both sets, the number of classes, their names if any, what to say."""

    train: Array
    test: Array | None
    classes: int
    names: tuple[str, ...]
    notes: tuple[str, ...]


def read(raw: Raw, wanted: Wanted) -> Labels:
    """Return the labels of a dataset as the narrowest unsigned integers that hold every class.

    Raises DataError for labels that stand for no class.
    """
    parts = [part for part in (raw.train, raw.test) if part is not None]
    where = [f"{raw.where}{part.y_name}" for part in parts]
    pairs = [_plain(part, at) for part, at in zip(parts, where, strict=True)]
    labels, notes = [each for each, _ in pairs], list(dict.fromkeys(note for _, note in pairs))
    names = () if raw.class_names else _names(labels[0], wanted.num_class)
    if names:  # labels are names, or numbers that serve as names
        names = wanted.class_names or names
        labels = [_numbers(each, names, at) for each, at in zip(labels, where, strict=True)]
        notes.append(f"labels {_listed(names)} are classes 0 to {len(names) - 1}")
    for each, at in zip(labels, where, strict=True):
        if each.dtype.kind == "U":
            raise DataError(f"{at} holds text, expected integers as {where[0]}")
    if raw.class_names and wanted.class_names:
        chosen = _numbers(np.array(raw.class_names), wanted.class_names, where[0])
        labels = [chosen[each] for each in labels]
    names = names or (raw.class_names and wanted.class_names) or raw.class_names
    classes = wanted.num_class or max(len(names), _classes(labels[0], where[0]))
    train, *rest = (_checked(each, classes, at) for each, at in zip(labels, where, strict=True))
    names = names if len(names) == classes else ()
    return Labels(train, rest[0] if rest else None, classes, names, tuple(filter(None, notes)))


def _plain(part: Part, where: str) -> tuple[Array, str]:
    """Return the labels (N,) as integers or text, and what to say of how they are written."""
    y = part.y
    if y.shape is None or len(y.shape) not in (1, 2) or 0 in y.shape[1:]:
        raise DataError(f"{where} has shape {y.shape}, expected (N,) or (N, 1)")
    values = np.asarray(y[0 : y.shape[0]])
    note = ""
    if values.dtype.kind in "SO":
        values = np.array([_text(value, where) for value in values.reshape(-1)], dtype="U").reshape(
            values.shape
        )
    if values.dtype.kind not in "iufbU" or values.dtype.names:
        raise DataError(f"{where} holds {one_line(y.dtype)}, expected integers or names")
    if values.dtype.kind == "f":
        if not (np.isfinite(values).all() and (values == np.rint(values)).all()):
            raise DataError(f"{where} holds numbers with a fraction, expected integers or names")
        if np.abs(values).max(initial=0) >= 2**53:
            raise DataError(f"{where} holds label {np.abs(values).max():g}, expected 0..{MOST - 1}")
        values = values.astype(np.int64)
    if values.dtype.kind == "b":
        values = values.astype(np.int64)
    if values.ndim == 2 and values.shape[1] > 1:
        numeric = values.dtype.kind in "iu"
        if not (numeric and (values.sum(axis=1) == 1).all() and np.isin(values, (0, 1)).all()):
            raise DataError(
                f"{where} has shape {y.shape}, expected (N,) or (N, 1), or one-hot rows"
            )
        values, note = values.argmax(axis=1), "one-hot labels"
    return values.reshape(-1), note


def _text(value: Any, where: str) -> str:
    """Return the name of a class as it can be printed."""
    try:
        text = value.decode() if isinstance(value, bytes) else value
    except UnicodeDecodeError as error:
        raise DataError(f"{where} holds bytes that are no UTF-8, expected names") from error
    if not isinstance(text, str):
        raise DataError(f"{where} holds {type(value).__name__}, expected integers or names")
    return clean(text)


def clean(name: str) -> str:
    """Return the name of a class as one printable line."""
    return one_line(name)[:LONGEST]


def _names(labels: Array, num_class: int | None) -> tuple[str, ...]:
    """Return the names of the classes where labels are not the numbers 0, 1, ... themselves."""
    if labels.size == 0:
        return ()
    if labels.dtype.kind == "U":
        names = sorted(set(labels.tolist()), key=natural)
        return tuple(names)
    values = np.unique(labels)
    if values.tolist() == [-1, 1]:
        return "-1", "1"
    from_one = values[0] == 1 and values[-1] == values.size > 1 and num_class in (None, values.size)
    return tuple(str(value) for value in values.tolist()) if from_one else ()


def natural(name: str) -> tuple[int, int, str]:
    """Return a key by which 10 comes after 9, and before names that are no numbers."""
    return (0, int(name), name) if name.isdecimal() and len(name) < 10 else (1, 0, name)


def _numbers(labels: Array, names: Sequence[str], where: str) -> Array:
    """Return the numbers of labels that are among these names; raises DataError for others."""
    number = {name: index for index, name in enumerate(names)}
    texts = labels.astype("U") if labels.dtype.kind != "U" else labels
    unknown = sorted(set(texts.tolist()) - number.keys())
    if unknown:
        raise DataError(f"{where} holds label {unknown[0]!r}, expected {_listed(names)}")
    return np.array([number[text] for text in texts.tolist()], np.int64)


def _listed(names: Sequence[str]) -> str:
    if len(names) <= SHOWN:
        return ", ".join(names)
    return f"{', '.join(names[: SHOWN - 1])}, ... {names[-1]}"


def _classes(labels: Array, where: str) -> int:
    """Return how many classes the labels of a training set are of: the largest + 1."""
    largest = int(labels.max(initial=0))
    if largest >= MOST:
        raise DataError(f"{where} holds label {largest}, expected 0..{MOST - 1}")
    return max(FEWEST, largest + 1)


def _checked(labels: Array, classes: int, where: str) -> Array:
    outside = labels[(labels < 0) | (labels >= classes)]
    if outside.size:
        raise DataError(
            f"{where} holds label {outside[0]}, expected 0..{classes - 1} (--num_class {classes})"
        )
    return labels.astype(np.min_scalar_type(classes - 1))
