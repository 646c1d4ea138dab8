"""Checks of layers' arguments, and of their values: both may come from any file."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dpcnn.errors import OptionError

LARGEST = 65536


def check_int(name: str, value: Any, low: int = 1) -> int:
    """Return value as an int if it is an integer from `low` to LARGEST; else raise OptionError."""
    integral = hasattr(value, "__index__") and not isinstance(value, bool)
    if not integral or not low <= operator.index(value) <= LARGEST:
        raise OptionError(f"{name} is {value!r}, expected an integer from {low} to {LARGEST}")
    return operator.index(value)


def check_number(name: str, value: Any, low: float, high: float) -> float:
    """Return value as a float if it is a number from low to high; else raise OptionError."""
    if not isinstance(value, int | float) or isinstance(value, bool) or not low <= value <= high:
        raise OptionError(f"{name} is {value!r}, expected a number from {low:g} to {high:g}")
    return float(value)


def check_pair(name: str, value: Any, low: int = 1) -> tuple[int, int]:
    """Return (rows, columns), integers from `low`; a single integer stands for both.

    Raises OptionError for any other value.
    """
    numbers = value if isinstance(value, tuple | list) else (value, value)
    if len(numbers) != 2:
        raise OptionError(f"{name} is {value!r}, expected an integer or a pair of them")
    rows, columns = numbers
    return check_int(name, rows, low), check_int(name, columns, low)


def check_bool(name: str, value: Any) -> bool:
    """Return value if it is True or False; else raise OptionError."""
    if not isinstance(value, bool):
        raise OptionError(f"{name} is {value!r}, expected True or False")
    return value


def check_choice(name: str, value: Any, choices: tuple[str, ...]) -> str:
    """Return value if it is one of the choices; else raise OptionError."""
    if not isinstance(value, str) or value not in choices:
        *others, last = choices
        raise OptionError(f"{name} is {value!r:.200}, expected {', '.join(others)} or {last}")
    return str(value)


def check_array(name: str, array: NDArray[Any], never_negative: bool = False) -> None:
    """Raise OptionError if an array has a value that is not finite, or negative where none is."""
    sound = np.isfinite(array)
    if never_negative:
        sound &= array >= 0
    if not sound.all():
        expected = "finite values" + " from 0" * never_negative
        raise OptionError(f"{name}: found {array[~sound][0]}, expected {expected}")
