"""The gradient check: sound layers pass, whatever they are made of; wrong ones are named."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from dpcnn.errors import OptionError
from dpcnn.models.zoo import tutorial
from dpcnn.nn import (
    ELU,
    GELU,
    BatchNorm,
    Concatenate,
    Convolution,
    Dense,
    Dropout,
    GlobalAveragePooling,
    GroupNorm,
    Layer,
    MaxPooling,
    ReLU,
    Residual,
    SiLU,
    check_gradients,
)
from dpcnn.nn.contract import ContractError
from dpcnn.nn.gradient_check import GradientError, compare_gradients
from tests.gradients import check_gradient
from tests.networks import Swish
from tests.reference import Array


def residual() -> list[Layer]:
    body = [Convolution(4, 3, padding=1), BatchNorm(), ReLU(), Dropout(0.3), Swish(0.7)]
    branches = [Convolution(2, 1), GELU()], [MaxPooling(3, 1, 1), ELU()]
    return [
        *(Convolution(4, 3, padding=1, bias=False), BatchNorm(), ReLU(), Residual(body)),
        *(Residual([Concatenate(*branches)], [Convolution(6, 1), GroupNorm(2)]), SiLU()),
        *(GlobalAveragePooling(), Dense(5), BatchNorm(shift=False)),
    ]


def test_every_kind_of_layer_passes_and_is_named_by_its_path() -> None:
    names = [comparison.name for comparison in check_gradients(residual(), (2, 6, 6))]
    assert names[:5] == [
        *("convolution1/W", "convolution1/input"),
        *("batchnorm1/scale", "batchnorm1/shift", "batchnorm1/input"),
    ]
    assert "residual2/concatenate1/branch2/maxpooling1/input" in names
    assert names[-2:] == ["all layers/parameters", "all layers/input"]


@pytest.mark.parametrize("seed", range(5))
def test_kinks_spoil_nothing(seed: int) -> None:
    """Thousands of values near a ReLU's or a maximum's kink, of which some are at it."""
    layers = [Convolution(8, 3), ReLU(), MaxPooling(2), Convolution(8, 3), ReLU(), MaxPooling(2)]
    check_gradients([*layers, GlobalAveragePooling(), Dense(3)], (3, 18, 18), seed=seed)


def test_the_layers_are_left_as_they_are() -> None:
    layers = tutorial(n_filter=2, filter_size=(3, 3))
    check_gradients(layers, (1, 6, 6))
    assert not any(hasattr(layer, "W") for layer in layers)
    assert {layer.dtype for layer in layers} == {np.float32}


class WrongInput(Swish):
    def backward(self, dy: Array) -> Array:
        return 1.001 * super().backward(dy)


class WrongBias(Dense):
    def backward(self, dy: Array) -> Array | None:
        dx = super().backward(dy)
        self.db += 1e-4
        return dx


@pytest.mark.parametrize(("wrong", "name"), [(WrongInput(), "input"), (WrongBias(4), "b")])
def test_a_wrong_gradient_is_named_though_those_before_it_are_wrong_too(
    wrong: Layer, name: str
) -> None:
    layer = type(wrong).__name__.lower()
    pattern = (
        rf"^the gradient of residual1/{layer}1/{name}: analytic -?[\d.]+, numeric -?[\d.]+,"
        r" relative difference .*, expected at most 1e-06"
    )
    layers = [Dense(4), Residual([Dense(4), wrong]), Dense(2)]
    with pytest.raises(GradientError, match=pattern):
        check_gradients(layers, (5,))
    right = [comparison.agrees for comparison in compare_gradients(layers, (5,))]
    assert not right[-2]
    assert right.count(False) <= 3  # itself, and in all layers


class Float32(Swish):
    def forward(self, x: Array) -> Array:
        return super().forward(x).astype(np.float32)


class Unkeyed(Swish):
    def forward(self, x: Array) -> Array:
        return super().forward(x) * np.random.random()


class Flattened(Swish):
    def backward(self, dy: Array) -> Array:
        return super().backward(dy).ravel()


class NotANumber(Swish):
    def backward(self, dy: Array) -> Array:
        return super().backward(dy) * np.nan


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (Float32(), r"the output of float321 is float32 of .*, expected float64 .* self\.dtype"),
        (Unkeyed(), r"unkeyed1 gives other values for the same input: .* self\.generator\(\)"),
        (
            Flattened(),
            r"input gradient of flattened1 is .* shape \(12,\), expected .* \(4, 3\)",
        ),
        (NotANumber(), "notanumber1: backward gave its result the value nan"),
    ],
)
def test_what_is_no_gradient_is_refused(layer: Layer, message: str) -> None:
    with pytest.raises(ContractError, match=message):
        check_gradients([layer], (4,))


def test_layers_that_do_not_fit_are_an_error_of_the_layers() -> None:
    with pytest.raises(OptionError, match="dense1"):
        check_gradients([Dense(3)], (1, 4, 4))


@pytest.mark.parametrize("factor", [1.0, 1 + 1e-4, 0.0, np.nan])
def test_the_assertion_of_the_tests_fails_for_a_wrong_gradient(factor: Any) -> None:
    x = np.linspace(1, 2, 5)
    if factor == 1:
        check_gradient(lambda x: float(np.sum(x**2)), x, 2 * x)
        return
    with pytest.raises(AssertionError, match=r"analytic .* numeric"):
        check_gradient(lambda x: float(np.sum(x**2)), x, factor * 2 * x)
