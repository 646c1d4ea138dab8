"""Dropout: expectation, gradient, which random numbers, refusals."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from dpcnn.nn import Dropout
from dpcnn.nn.config import from_config, to_config
from dpcnn.nn.network import Network
from dpcnn.nn.plan import Plan
from tests.nn.layers import alone, check_layer, draw
from tests.reference import Array

SHAPE = (8, 20, 20, 32)  # more than a block


def masked(rate: float, key: tuple[int, int, int] = (0, 0, 0), dtype: Any = np.float32) -> Array:
    """Return what becomes of ones."""
    network = alone(Dropout(rate), SHAPE[:-1], dtype)
    return network.forward(np.ones(SHAPE, dtype), training=True, key=key)


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9, 1e-4])
def test_the_expectation_stays(rate: float) -> None:
    y = masked(rate)
    kept = y != 0
    deviation = np.sqrt(rate * (1 - rate) / y.size)
    assert abs(kept.mean() - (1 - rate)) < 5 * deviation + 2**-17
    np.testing.assert_allclose(y[kept], 1 / (1 - rate), rtol=2e-4)
    assert abs(y.mean() - 1) < 5 * deviation / (1 - rate) + 1e-6


def test_neighbours_are_independent() -> None:
    """Numbers that are cut from one draw have nothing to do with each other."""
    kept = masked(0.5).ravel() != 0
    for distance in (1, 2, 3, 4, 2**16):
        both = (kept[distance:] & kept[:-distance]).mean()
        assert abs(both - 0.25) < 0.01


def test_the_mask_is_a_function_of_seed_step_microbatch_and_layer() -> None:
    first = masked(0.5, (1, 2, 3)).copy()
    np.testing.assert_array_equal(masked(0.5, (1, 2, 3)), first)
    np.testing.assert_array_equal(masked(0.5, (1, 2, 3), np.float64), first)
    for key in ((0, 2, 3), (1, 0, 3), (1, 2, 0), (1, 3, 2)):
        assert not np.array_equal(masked(0.5, key), first)
    network = Network(Plan([Dropout(0.5), Dropout(0.5)], (1000,)))
    y = network.forward(np.ones((1000, 1), np.float32), training=True)
    assert set(np.unique(y)) == {0, 4}
    assert abs((y > 0).mean() - 0.25) < 0.05


def test_gradient() -> None:
    check_layer(Dropout(0.4), draw(3, 4, 5, 2))


@pytest.mark.parametrize(("rate", "training"), [(0.5, False), (0, True), (1e-6, True)])
def test_it_does_nothing_in_evaluation_or_at_rate_0(rate: float, training: bool) -> None:
    layer = Dropout(rate)
    network, x = alone(layer, (3, 4, 5)), draw(3, 4, 5, 2)
    y = network.forward(x.copy(), training=training)
    np.testing.assert_array_equal(y, x)
    np.testing.assert_array_equal(layer.backward(x.copy()), x)
    assert not layer._buffers


@pytest.mark.parametrize(
    "rate", [1.0, 1, 0.999999999, -0.1, 1.5, float("nan"), None, "0.5", True, [0.5], 10**400]
)
def test_other_rates_are_refused(rate: Any) -> None:
    with pytest.raises(ValueError, match="Dropout's rate is "):
        from_config([{"layer": "Dropout", "rate": rate}])


def test_a_config_gives_the_layer_it_was_made_from() -> None:
    [again] = from_config(to_config([Dropout(0.25)]))
    assert again.config() == {"rate": 0.25}
    assert repr(again) == "Dropout(0.25)"


def test_the_memory_needed_is_known_and_taken_once() -> None:
    layer, x = Dropout(0.5), np.ones(SHAPE, np.float32)
    needed = Plan([layer], SHAPE[:-1]).bytes_needed(SHAPE[-1])
    network = alone(layer, SHAPE[:-1], np.float32)
    for _ in range(2):
        network.forward(x, training=True)
        taken = x.nbytes + sum(each.nbytes for each in layer._buffers.values())
        assert 0.8 * taken < needed <= taken
