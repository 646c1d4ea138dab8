"""The initializers: their variances, and what each promises exactly."""

from __future__ import annotations

import importlib.util
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import numpy as np
import pytest

from dpcnn.errors import OptionError
from dpcnn.nn import Convolution, Dense, Layer
from dpcnn.nn.initializers import INITIALIZERS
from dpcnn.nn.network import Network
from dpcnn.nn.plan import Plan
from tests.nn.convolution import torch_reference
from tests.nn.layers import draw
from tests.reference import Array

names = pytest.mark.parametrize("name", INITIALIZERS)

# Of 64 channels to 96 filters of 3x5 in 2 groups: n_in 480, n_out 720; of 480 inputs to 720.
LAYERS: dict[str, tuple[Any, tuple[int, ...]]] = {
    "convolution": (lambda name: Convolution(96, (3, 5), groups=2, initializer=name), (64, 5, 5)),
    "dense": (lambda name: Dense(720, initializer=name), (480,)),
}
VARIANCES = {
    "he": 2 / 480,
    "glorot": 2 / (480 + 720),
    "lecun": 1 / 480,
}


def weights_of(layer: Layer, input_shape: tuple[int, ...], seed: int = 0) -> Array:
    network = Network(Plan([layer], input_shape), np.float64)
    network.values.fill(np.nan)
    network.initialize(seed)
    if "b" in layer.parameter_shapes:
        assert not getattr(layer, "b").any()  # noqa: B009
    weights: Array = getattr(layer, "W")  # noqa: B009
    return weights


@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.parametrize("rule", VARIANCES)
@pytest.mark.parametrize("distribution", ["normal", "uniform"])
def test_the_variance_is_that_of_the_formula(kind: str, rule: str, distribution: str) -> None:
    make, shape = LAYERS[kind]
    weights = weights_of(make(f"{rule}_{distribution}"), shape)
    variance = VARIANCES[rule]
    assert np.mean(weights) == pytest.approx(0, abs=4 * np.sqrt(variance / weights.size))
    assert np.var(weights) == pytest.approx(variance, rel=0.04)
    largest = np.abs(weights).max()
    if distribution == "uniform":
        assert 0.99 * np.sqrt(3 * variance) < largest <= np.sqrt(3 * variance)
    else:
        assert largest > 3.5 * np.sqrt(variance)


def test_the_tutorials_rule_counts_filters_or_inputs() -> None:
    convolution = weights_of(Convolution(96, 5, initializer="tutorial"), (16, 5, 5))
    assert np.var(convolution) == pytest.approx(2 / 96, rel=0.04)
    dense = weights_of(Dense(96, initializer="tutorial"), (400,))
    assert np.var(dense) == pytest.approx(2 / 400, rel=0.04)


@names
def test_weights_are_a_function_of_layer_and_seed(name: str) -> None:
    for make, shape in LAYERS.values():
        first, again = weights_of(make(name), shape), weights_of(make(name), shape)
        np.testing.assert_array_equal(first, again)
        assert np.isfinite(first).all()
        other = weights_of(make(name), shape, seed=1)
        assert np.array_equal(first, other) == (name == "zeros")


@pytest.mark.parametrize(("filters", "groups"), [(6, 1), (6, 3), (24, 2), (60, 1)])
def test_orthogonal_filters_are_at_right_angles(filters: int, groups: int) -> None:
    weights = weights_of(
        Convolution(filters, 2, groups=groups, initializer="orthogonal"), (6, 4, 4)
    )
    for rows in np.split(weights.reshape(filters, -1), groups):
        narrow = rows if len(rows) <= rows.shape[1] else rows.T
        np.testing.assert_allclose(narrow @ narrow.T, np.eye(len(narrow)), atol=1e-12)


@pytest.mark.parametrize(("inputs", "outputs"), [(5, 9), (9, 5), (7, 7)])
def test_orthogonal_dense_weights_keep_lengths(inputs: int, outputs: int) -> None:
    W = weights_of(Dense(outputs, initializer="orthogonal"), (inputs,))
    narrow = W if inputs <= outputs else W.T
    np.testing.assert_allclose(narrow @ narrow.T, np.eye(len(narrow)), atol=1e-12)


@pytest.mark.parametrize("filter_size", [1, 2, 3, (4, 5)])
@pytest.mark.parametrize("groups", [1, 2, 6])
def test_dirac_passes_the_channels_on(filter_size: Any, groups: int) -> None:
    arguments: Any = {"padding": "same", "groups": groups, "initializer": "dirac"}
    layer = Convolution(6, filter_size, **arguments)
    Network(Plan([layer], (6, 7, 8)), np.float64).initialize(0)
    x = draw(6, 7, 8, 3)
    np.testing.assert_array_equal(layer.forward(x), x)


def test_torch_uniform_is_within_one_over_the_root_of_the_inputs() -> None:
    W = weights_of(Convolution(90, 3, initializer="torch_uniform"), (4, 5, 5))
    assert 0.99 / 6 < np.abs(W).max() <= 1 / 6
    assert W.std() == pytest.approx(1 / 6 / 3**0.5, rel=0.05)


def test_dirac_draws_the_filters_beyond_the_channels_as_torch_uniform_does() -> None:
    W, drawn = (
        weights_of(Convolution(9, 3, initializer=name), (4, 5, 5))
        for name in ("dirac", "torch_uniform")
    )
    np.testing.assert_array_equal(W[4:], drawn[4:])
    assert W[:4].sum() == np.count_nonzero(W[:4]) == 4


def test_dirac_of_a_dense_layer_is_the_unit_matrix() -> None:
    np.testing.assert_array_equal(weights_of(Dense(4, initializer="dirac"), (6,)), np.eye(6, 4))


@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="PyTorch is not installed")
def test_dirac_equals_pytorchs() -> None:
    cases: list[tuple[int, int, Any, int]] = [(6, 6, 3, 1), (4, 6, (3, 5), 2), (2, 8, 1, 1)]
    spawn = multiprocessing.get_context("spawn")  # tests of BLAS threads count those of this one
    with ProcessPoolExecutor(1, mp_context=spawn) as process:
        for filters, channels, filter_size, groups in cases:
            layer = Convolution(filters, filter_size, groups=groups, initializer="dirac")
            W = weights_of(layer, (channels, 5, 5))
            expected = process.submit(torch_reference.dirac, W.shape, groups).result()
            np.testing.assert_array_equal(W, expected)


def test_zeros_are_zeros() -> None:
    for make, shape in LAYERS.values():
        assert not weights_of(make("zeros"), shape).any()


@pytest.mark.parametrize("name", ["he", "", None, ["zeros"]])
def test_an_unknown_name_is_refused(name: Any) -> None:
    for make in (lambda: Convolution(2, 3, initializer=name), lambda: Dense(2, initializer=name)):
        with pytest.raises(OptionError, match=r"initializer is .*, expected he_normal, he_uni"):
            make()
