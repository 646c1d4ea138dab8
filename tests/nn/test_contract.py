"""Layers that break what Layer promises: named in one line, by check and before a run begins."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

import dpcnn
from dpcnn.errors import DpcnnError
from dpcnn.nn import Convolution, Dense, Flatten, Layer, MaxPooling, ReLU, check_gradients
from dpcnn.nn.contract import ContractError, checked, rehearse
from dpcnn.nn.network import Network
from dpcnn.nn.plan import Plan
from tests.networks import with_swish
from tests.reference import Array

SHAPE = (1, 8, 8)


class Scaled(Layer):
    """weight * x + bias, a pair for each feature or map; the base of the faulty ones."""

    def build(self, input_shape: tuple[int, ...]) -> tuple[int, ...]:
        self.parameter_shapes = {"W": (input_shape[0],), "b": (input_shape[0],)}
        self.ones = (1,) * len(input_shape)
        return input_shape

    def initialize(self, rng: np.random.Generator) -> None:
        self.W[...] = rng.standard_normal(self.W.shape)

    def column(self, values: Array) -> Array:
        return values.reshape(-1, *self.ones)

    def over_images(self, values: Array) -> Array:
        return values.sum(axis=tuple(range(1, values.ndim)))

    def forward(self, x: Array) -> Array:
        self.x = x
        return self.column(self.W) * x + self.column(self.b)

    def backward(self, dy: Array) -> Any:
        self.dW[...] = self.over_images(dy * self.x)
        self.db[...] = self.over_images(dy)
        return self.column(self.W) * dy


class WrongSign(Scaled):
    def backward(self, dy: Array) -> Any:
        dx = super().backward(dy)
        self.dW *= -1
        return dx


class ForgottenGradient(Scaled):
    def backward(self, dy: Array) -> Any:
        self.dW[...] = self.over_images(dy * self.x)
        return self.column(self.W) * dy


class LostView(Scaled):
    def backward(self, dy: Array) -> Any:
        dx = super().backward(dy)
        self.dW = self.over_images(dy * self.x)
        return dx


class WrongShapeForward(Scaled):
    def forward(self, x: Array) -> Array:
        return super().forward(x)[:, :-1]


class WrongShapeBackward(Scaled):
    def backward(self, dy: Array) -> Any:
        return super().backward(dy)[:, 1:]


class LyingBuild(Scaled):
    def build(self, input_shape: tuple[int, ...]) -> tuple[int, ...]:
        super().build(input_shape)
        return (input_shape[0], input_shape[1] - 1, input_shape[2])


class GivesNaN(Scaled):
    def forward(self, x: Array) -> Array:
        return np.sqrt(super().forward(x) - 100)


class Float64(Scaled):
    def forward(self, x: Array) -> Array:
        return super().forward(x).astype(np.float64)


class ChangesItsInput(Scaled):
    overwrites_x = False

    def forward(self, x: Array) -> Array:
        x *= 2
        return super().forward(x)


class KeepsState(Scaled):
    def forward(self, x: Array) -> Array:
        self.calls = getattr(self, "calls", 0) + 1
        return super().forward(x) * np.float32(self.calls)


class ReturnsNone(Scaled):
    def backward(self, dy: Array) -> Any:
        super().backward(dy)


class WrongInputGradient(Scaled):
    def backward(self, dy: Array) -> Any:
        return super().backward(dy) + dy


class AddsUp(Scaled):
    def backward(self, dy: Array) -> Any:
        dx = super().backward(dy)
        self.db += self.over_images(dy)
        return dx


class ChangesTheGradient(Scaled):
    overwrites_dy = False

    def backward(self, dy: Array) -> Any:
        dy *= 2
        return super().backward(dy)


class GivesAView(Scaled):
    overwrites_x = False

    def forward(self, x: Array) -> Array:
        self.x = x
        return x[:]


class OtherWeights(Scaled):
    def forward(self, x: Array) -> Array:
        self.W = self.W + 0
        return super().forward(x)


# What the one line says after the layer's name; the last: whether a run sees it before its start.
FAULTS = [
    (WrongSign, "wrongsign1/W: analytic", False),
    (ForgottenGradient, "forgottengradient1: backward wrote nothing into self.db", True),
    (LostView, "lostview1: backward put another array in the place of self.dW", True),
    (WrongShapeForward, "returned shape (1, 5, 6, 3), expected (1, 6, 6, 3)", True),
    (WrongShapeBackward, "backward returned shape (1, 5, 6, 3), expected (1, 6, 6, 3)", True),
    (LyingBuild, "shape (1, 6, 6, 3), expected (1, 5, 6, 3) (..., N), as build promised", True),
    (GivesNaN, "givesnan1: forward gave its result the value nan, expected finite", False),
    (Float64, "float641: forward returned float64, expected float32", True),
    (ChangesItsInput, "changesitsinput1: forward changed x in place", True),
    (KeepsState, "keepsstate1 gives other values for the same input", False),
    (ReturnsNone, "returnsnone1: backward returned None, expected an array of shape", True),
    (WrongInputGradient, "wronginputgradient1/input: analytic", False),
    (AddsUp, "addsup1/b: analytic", False),
    (ChangesTheGradient, "changesthegradient1: backward changed dy in place", True),
    (GivesAView, "givesaview1: forward returned a view of its input", True),
    (OtherWeights, "otherweights1: forward put another array in the place of self.W", True),
]


def around(layer: Layer) -> list[Layer]:
    """Return a network with a layer in the middle of others."""
    return [Convolution(1, 3), layer, ReLU(), Flatten(), Dense(3)]


def rehearsed(layers: list[Layer], **settings: Any) -> Network:
    network = Network(Plan(layers, SHAPE))
    network.initialize(0)
    rehearse(network, 3, **settings)
    return network


def test_a_sound_layer_of_ones_own_passes() -> None:
    network = rehearsed(around(Scaled()))
    assert not network.sums.any()
    assert check_gradients(around(Scaled()), SHAPE)


@pytest.mark.parametrize(("fault", "message", "_seen"), FAULTS)
def test_check_names_the_fault_in_one_line(fault: type[Layer], message: str, _seen: bool) -> None:
    with pytest.raises(DpcnnError) as caught:
        dpcnn.check(around(fault()), SHAPE)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("fault", "message", "seen"), FAULTS)
def test_a_run_names_what_it_can_see_before_its_first_step(
    fault: type[Layer], message: str, seen: bool
) -> None:
    if seen:
        with pytest.raises(ContractError) as caught:
            rehearsed(around(fault()))
        assert message in str(caught.value)
    else:
        rehearsed(around(fault()))


def test_the_layers_compute_as_before_afterwards() -> None:
    layers = with_swish()
    network = Network(Plan(layers, (1, 28, 28)))
    rehearse(network, 2, own=False)
    assert all(not {"forward", "backward"} & set(vars(layer)) for layer in layers)


def test_layers_that_are_looked_at_twice_are_as_before_afterwards() -> None:
    network = rehearsed(around(Scaled()))
    [convolution, *_] = network.layers
    with checked(network):
        outer = convolution.forward
        with checked(network):
            assert convolution.forward is not outer
        assert convolution.forward is outer
    assert all(not {"forward", "backward"} & set(vars(layer)) for layer in network.layers)


def test_a_value_that_is_not_finite_is_told_with_what_it_was_made_of() -> None:
    network = rehearsed(around(Scaled()))
    x = np.full((*SHAPE, 3), np.nan, np.float32)
    with checked(network), pytest.raises(ContractError) as caught:
        network.forward(x, training=True)
    expected = "convolution1: forward was given x with the value nan, expected finite values"
    assert str(caught.value) == expected
    network.layers[1].W[...] = np.inf
    with checked(network), pytest.raises(ContractError) as caught:
        network.forward(np.ones((*SHAPE, 3), np.float32), training=True)
    message = str(caught.value)
    assert message.startswith("scaled1: forward gave its result the value ")
    assert re.search(r"expected finite values for x up to \d", message)


def test_layers_of_dpcnn_alone_cost_no_rehearsal(monkeypatch: pytest.MonkeyPatch) -> None:
    network = Network(Plan([Convolution(1, 3), MaxPooling(2), Flatten(), Dense(3)], SHAPE))
    monkeypatch.setattr(network, "forward", None)
    rehearse(network, 2)


def test_a_run_is_refused_before_its_directory_is_made(tmp_path: Any) -> None:
    with pytest.raises(ContractError, match=r"lostview1: backward put another array"):
        dpcnn.train(
            [Convolution(2, 5), LostView(), Flatten(), Dense(10)],
            dataroot="digits",
            train_limit=64,
            test_limit=16,
            run_dir=str(tmp_path / "run"),
            progress="silent",
        )
    assert not (tmp_path / "run").exists()
