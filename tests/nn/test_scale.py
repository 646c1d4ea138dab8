"""Scale: a factor, forward and backward."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from dpcnn.nn import Scale
from dpcnn.nn.config import from_config, to_config
from tests.nn.layers import alone, check_layer, draw


def test_it_multiplies_in_place() -> None:
    x = draw(3, 4, dtype=np.float32)
    y = alone(Scale(1 / 9), (3,), np.float32).forward(x.copy())
    np.testing.assert_allclose(y, x / 9, rtol=1e-6)
    assert y.dtype == np.float32
    check_layer(Scale(-2.5), draw(2, 3, 4, 5))


def test_a_config_gives_the_factor_to_the_bit() -> None:
    [again] = from_config(to_config([Scale(1 / 9)]))
    assert isinstance(again, Scale)
    assert again.factor == 1 / 9
    assert repr(again) == "Scale(0.111111)"


@pytest.mark.parametrize("value", [1e7, float("nan"), "2", None, True])
def test_a_wrong_factor_is_refused(value: Any) -> None:
    with pytest.raises(ValueError, match=r"Scale's factor is .*, expected a number from -1e"):
        from_config([{"layer": "Scale", "factor": value}])
