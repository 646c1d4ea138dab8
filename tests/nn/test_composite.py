"""Layers made of layers: values, gradients, names, and what they keep from each other."""

from __future__ import annotations

import json

import numpy as np
import pytest

from dpcnn.errors import OptionError
from dpcnn.nn import (
    AveragePooling,
    BatchNorm,
    Concatenate,
    Convolution,
    Dense,
    Flatten,
    Layer,
    MaxPooling,
    ReLU,
    Residual,
    Sequential,
)
from dpcnn.nn.config import from_config, to_config
from dpcnn.nn.network import Network
from dpcnn.nn.plan import Plan
from tests.gradients import check_gradient
from tests.reference import Array


def network_of(layers: list[Layer], shape: tuple[int, ...], needs_dx: bool = False) -> Network:
    network = Network(Plan(layers, shape, needs_dx), np.float64)
    network.parameters[...] = np.random.default_rng(0).standard_normal(network.parameters.size)
    return network


def nested() -> list[Layer]:
    """Branches and shortcuts whose first layers overwrite their input, or keep it."""
    return [
        Convolution(3, 3, padding=1),
        Residual([ReLU(), Convolution(3, 3, padding=1)]),
        Residual([ReLU(), Convolution(4, 1)], [ReLU(), Convolution(4, 1)]),
        Concatenate(ReLU(), [Convolution(2, 1), ReLU()], Residual([Convolution(4, 3, padding=1)])),
        *(Flatten(), Residual([Dense(250)]), Concatenate(Dense(3), [ReLU(), Dense(2)], Dense(2))),
    ]


def test_every_gradient_through_nested_composites() -> None:
    network = network_of(nested(), (2, 5, 5))
    network.parameters *= 0.3
    rng = np.random.default_rng(1)
    x, dy = rng.standard_normal((2, 5, 5, 3)), rng.standard_normal((7, 3))

    def loss(parameters: Array) -> float:
        network.parameters[...] = parameters
        return float(np.sum(network.forward(x.copy(), training=True) * dy))

    parameters = network.parameters.copy()
    loss(parameters)
    network.backward(dy.copy())
    check_gradient(loss, parameters, network.gradient.copy())


@pytest.mark.parametrize(
    "composite",
    [
        lambda: Residual(ReLU()),
        lambda: Residual([ReLU(), Convolution(2, 1)], [AveragePooling(1), ReLU()]),
        lambda: Concatenate(ReLU(), ReLU(), Convolution(1, 1)),
        lambda: Sequential(),
    ],
)
def test_the_input_gradient(composite) -> None:
    layer = composite()
    network = network_of([AveragePooling(1), layer], (2, 3, 3), needs_dx=True)
    rng = np.random.default_rng(1)
    x = rng.standard_normal((2, 3, 3, 2))
    dy = rng.standard_normal(layer.forward(x.copy()).shape)
    network.forward(x.copy(), training=True)
    dx = layer.backward(dy.copy())
    check_gradient(lambda x: float(np.sum(dy * layer.forward(x.copy()))), x, dx.copy())


@pytest.mark.parametrize(
    "composite",
    [
        lambda: Residual([Convolution(4, 1), BatchNorm(), ReLU(), Convolution(2, 1), BatchNorm()]),
        lambda: Residual([Convolution(2, 1), BatchNorm()], [MaxPooling(1), Convolution(2, 1)]),
        lambda: Concatenate(Convolution(1, 1), [MaxPooling(1), Convolution(1, 1)]),
    ],
)
def test_what_its_layers_leave_as_it_is_is_not_copied(composite) -> None:
    layer = composite()
    network = network_of([AveragePooling(1), layer], (2, 3, 3), needs_dx=True)
    network.context.training = True
    x, dy = (np.random.default_rng(seed).standard_normal((2, 3, 3, 4)) for seed in (1, 2))
    first_x, first_dy = x.copy(), dy.copy()
    layer.forward(x)
    np.testing.assert_array_equal(x, first_x)
    assert layer.backward(dy) is not None
    np.testing.assert_array_equal(dy, first_dy)
    assert not any(copy.size for (name, _), copy in layer._buffers.items() if "kept" in name)


def test_a_residual_adds_its_input_and_branches_follow_each_other() -> None:
    x = np.random.default_rng(0).standard_normal((2, 3, 3, 4))
    relu = np.maximum(x, 0)
    network = network_of([Residual(ReLU())], (2, 3, 3))
    np.testing.assert_array_equal(network.forward(x.copy()), relu + x)
    network = network_of([Concatenate(ReLU(), Sequential(), ReLU())], (2, 3, 3))
    np.testing.assert_array_equal(network.forward(x.copy()), np.concatenate([relu, x, relu]))


def test_names_are_paths() -> None:
    assert list(Plan(nested(), (2, 5, 5)).leaves) == [
        "convolution1",
        "residual1/relu1",
        "residual1/convolution1",
        "residual2/relu1",
        "residual2/convolution1",
        "residual2/shortcut/relu1",
        "residual2/shortcut/convolution1",
        "concatenate1/branch1/relu1",
        "concatenate1/branch2/convolution1",
        "concatenate1/branch2/relu1",
        "concatenate1/branch3/residual1/convolution1",
        "flatten1",
        "residual3/dense1",
        "concatenate2/branch1/dense1",
        "concatenate2/branch2/relu1",
        "concatenate2/branch2/dense1",
        "concatenate2/branch3/dense1",
    ]


def test_a_config_gives_the_composites_it_was_made_from() -> None:
    config = json.loads(json.dumps(to_config(nested())))
    again = from_config(config)
    assert list(map(repr, again)) == list(map(repr, nested()))
    assert to_config(again) == config


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ([Residual(Convolution(3, 3))], r"residual1, Residual.*\(3, 3, 3\), expected \(2, 5, 5\)"),
        (
            [Residual([Sequential(Convolution(2, 9))])],
            r"^residual1/sequential1/convolution1, Convolution\(2 x 9x9.*height",
        ),
        ([Concatenate(ReLU(), Convolution(3, 3))], "concatenate1, .* the same but for C"),
    ],
)
def test_what_does_not_fit_is_named_by_its_path(layers: list[Layer], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        Plan(layers, (2, 5, 5))


@pytest.mark.parametrize("wrong", [3, "ReLU", [3], None, [ReLU], {}])
def test_only_layers_make_a_composite(wrong: object) -> None:
    with pytest.raises(OptionError, match="expected a layer"):
        Residual(wrong)  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="expected a layer"):
        Concatenate(wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("pooling", [MaxPooling(2), MaxPooling(3, 2, 1)], ids=repr)
def test_relu_behind_the_pooling_that_follows_it_gives_the_same_bits(pooling: MaxPooling) -> None:
    """Also where values are equal or none is positive; and NaN stays, whatever its gradient."""
    rng = np.random.default_rng(0)
    x = rng.integers(-2, 3, (2, 9, 8, 3)).astype(float)
    row = network_of([ReLU(), pooling], x.shape[:-1], needs_dx=True)
    relu, alone = ReLU(), MaxPooling(**pooling.config())
    for layer in (relu, alone):
        layer.dtype, layer.context.training = np.float64, True
        layer.build(x.shape[:-1])
    y = row.forward(x.copy(), training=True)
    np.testing.assert_array_equal(y, alone.forward(relu.forward(x.copy())))
    assert relu.positive.size > row.layers[0].positive.size
    dy = rng.standard_normal(y.shape)
    dx = row.plan.root.backward(dy.copy())
    expected = alone.backward(dy.copy())
    assert expected is not None
    np.testing.assert_array_equal(dx, relu.backward(expected))
    x[0, 4, 4, 0] = np.nan
    np.testing.assert_array_equal(row.forward(x.copy()), alone.forward(relu.forward(x.copy())))
