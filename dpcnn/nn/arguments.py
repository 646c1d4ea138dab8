"""What layers are made with, checked: a description of them may come from anywhere."""

from __future__ import annotations

import operator
from typing import Any

from dpcnn.errors import OptionError

LARGEST = 65536


def whole(name: str, value: Any, low: int = 1) -> int:
    """Return an integer from `low` to LARGEST; raises OptionError that names it for any other."""
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise _wrong(name, value, low)
    number = operator.index(value)
    if not low <= number <= LARGEST:
        raise _wrong(name, value, low)
    return number


def pair(name: str, value: Any) -> tuple[int, int]:
    """Return two integers from 1, for rows and columns; one integer stands for both.

    Raises OptionError that names it for any other value.
    """
    numbers = value if isinstance(value, tuple | list) else (value, value)
    if len(numbers) != 2:
        raise OptionError(f"{name} is {value!r}, expected an integer or a pair of them")
    return whole(name, numbers[0]), whole(name, numbers[1])


def word(name: str, value: Any, words: tuple[str, ...]) -> str:
    """Return one of the words; raises OptionError that names it for any other value."""
    for each in words:
        if value == each:
            return each
    raise OptionError(f"{name} is {value!r}, expected {' or '.join(words)}")


def _wrong(name: str, value: Any, low: int) -> OptionError:
    return OptionError(f"{name} is {value!r}, expected an integer from {low} to {LARGEST}")
