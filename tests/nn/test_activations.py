"""Activation functions: values, gradients, in place; PyTorch's are in test_against_torch.py."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest

from dpcnn.nn import ELU, GELU, Layer, LeakyReLU, ReLU, Sigmoid, SiLU, Tanh
from dpcnn.nn.config import from_config, to_config
from dpcnn.nn.network import Network
from dpcnn.nn.plan import Plan
from tests.gradients import check_gradient
from tests.nn.layers import alone, check_layer, draw

SMOOTH: list[Layer] = [ELU(), GELU(), SiLU(), Sigmoid(), Tanh()]
KINKED: list[Layer] = [ReLU(), LeakyReLU(0.2), LeakyReLU(0), LeakyReLU(1), ELU(0.3), ELU(2.5)]
every = pytest.mark.parametrize("layer", SMOOTH + KINKED, ids=repr)


@every
def test_gradient(layer: Layer) -> None:
    x = 2 * draw(2, 3, 3, 2)
    check_layer(layer, x + 0.1 * np.sign(x))  # away from the kink


@every
def test_it_works_in_place_and_keeps_nan(layer: Layer) -> None:
    network = alone(layer, (3,), np.float32)
    x = np.array([[np.nan], [1], [-1]], np.float32)
    for training in (True, False):
        y = network.forward(x, training=training)
        assert np.shares_memory(y, x)
        np.testing.assert_array_equal(np.isnan(y.ravel()), [True, False, False])


def test_relu_gives_zero_for_negative_values() -> None:
    network = alone(ReLU(), (6,), np.float32)
    x = np.array([[-2, -1e-30, 0, 1e-30, 3, np.nan]], np.float32).T
    np.testing.assert_array_equal(
        network.forward(x).T, np.array([[0, 0, 0, 1e-30, 3, np.nan]], np.float32)
    )


@every
def test_large_values_overflow_nowhere(layer: Layer) -> None:
    limits = {"Sigmoid": (0, 1), "Tanh": (-1, 1)}
    low = {"LeakyReLU": getattr(layer, "negative_slope", 0) * -1e4}
    low["ELU"] = -getattr(layer, "alpha", 0)
    name = type(layer).__name__
    expected = limits.get(name, (low.get(name, 0), 1e4))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        network = alone(layer, (2,), np.float32)
        y = network.forward(np.array([[-1e4], [1e4]], np.float32), training=True)
        np.testing.assert_allclose(y.ravel(), expected, rtol=1e-6)
        assert np.isfinite(layer.backward(np.ones((2, 1), np.float32))).all()


@pytest.mark.parametrize("slope", [0.01, 0.1, 0.3, 1 / 3, 0.7, 1e-8, 1.0])
def test_leaky_relu_leaves_positive_values_as_they_are(slope: float) -> None:
    x = np.abs(draw(1000, 1, dtype=np.float32))
    y = alone(LeakyReLU(slope), (1000,), np.float32).forward(x.copy(), training=True)
    np.testing.assert_array_equal(y, x)


@every
def test_the_other_layout_of_memory_gives_the_same(layer: Layer) -> None:
    x = draw(5, 4)
    expected = alone(layer, (5,)).forward(x.copy(), training=True).copy()
    y = alone(layer, (5,)).forward(np.asfortranarray(x), training=True)
    np.testing.assert_array_equal(y, expected)


@every
def test_a_config_gives_the_layer_it_was_made_from(layer: Layer) -> None:
    [again] = from_config(to_config([layer]))
    assert to_config([again]) == to_config([layer])
    assert repr(again) == repr(layer)


@pytest.mark.parametrize(("layer", "name"), [("LeakyReLU", "slope"), ("ELU", "alpha")])
@pytest.mark.parametrize("value", [-0.1, 1e6, float("nan"), "0.1", None, True, [0.1]])
def test_a_wrong_argument_is_refused_by_name(layer: str, name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"{layer}'s {name} is "):
        from_config([{"layer": layer, name: value}])


@every
def test_the_memory_needed_is_known_and_taken_once(layer: Layer) -> None:
    [layer] = from_config(to_config([layer]))
    needed = Plan([layer], (16, 30, 30)).bytes_needed(16)
    network = Network(Plan([layer], (16, 30, 30)))
    x = np.zeros((16, 30, 30, 16), np.float32)
    for _ in range(2):
        network.forward(x, training=True)
        layer.backward(x)
        taken = x.nbytes + sum(each.nbytes for each in layer._buffers.values())
        assert 0.8 * taken < needed <= taken


def test_functions_in_a_row() -> None:
    """Each overwrites the output of the one before, which that must not need again."""
    layers: list[Layer] = [*SMOOTH, LeakyReLU(), *(Sigmoid() for _ in range(2))]
    network = Network(Plan(layers, (7,)), np.float64)
    x, dy = draw(7, 3) + 3, draw(7, 3, seed=1)

    def value(x: Any) -> float:
        return float(np.sum(dy * network.forward(x.copy(), training=True)))

    value(x)
    dx = network.plan.root.backward(dy.copy())
    assert dx is not None
    check_gradient(value, x, dx.copy())
