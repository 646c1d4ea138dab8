"""The checks of layers' arguments."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from dpcnn.errors import OptionError
from dpcnn.nn.checks import check_choice, check_int, check_pair


def test_any_kind_of_integer_becomes_an_int() -> None:
    for value in (3, np.int64(3), np.uint8(3)):
        assert type(check_int("x", value)) is int
    assert check_int("x", 0, low=0) == 0


@pytest.mark.parametrize("value", [0, -1, 65537, True, None, "3", 3.0, [3]])
def test_anything_else_is_refused_with_the_range(value: Any) -> None:
    with pytest.raises(OptionError) as refused:
        check_int("x", value)
    assert str(refused.value) == f"x is {value!r}, expected an integer from 1 to 65536"


def test_a_pair_may_be_one_integer_or_two() -> None:
    assert check_pair("x", 3) == (3, 3)
    assert check_pair("x", [2, np.int64(5)]) == (2, 5)
    with pytest.raises(OptionError, match=r"x is \(1, 2, 3\), expected an integer or a pair"):
        check_pair("x", (1, 2, 3))
    with pytest.raises(OptionError, match="x is 0, expected an integer from 1"):
        check_pair("x", (4, 0))


def test_a_choice_is_one_of_the_words() -> None:
    assert check_choice("x", "a", ("a", "b")) == "a"
    for value in ("c", None, ["a"], np.zeros(2)):
        with pytest.raises(OptionError, match=r"^x is .*, expected a or b$"):
            check_choice("x", value, ("a", "b"))
