"""Normalisation: gradients, running statistics, single values, refusals; PyTorch's comparison is in
test_against_torch.py."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from dpcnn.errors import LayerError, OptionError
from dpcnn.models.build import check_microbatch, plan_network
from dpcnn.nn import BatchNorm, Convolution, Dense, Flatten, GroupNorm, Layer, LayerNorm
from dpcnn.nn.config import from_config, to_config
from dpcnn.nn.network import Network
from dpcnn.nn.plan import Plan
from tests.networks import of_mnist
from tests.nn.layers import alone, check_layer, draw

LAYERS = [
    BatchNorm(eps=1e-3),
    BatchNorm(scale=False),
    BatchNorm(shift=False),
    GroupNorm(1),
    GroupNorm(3, 1e-2),
    LayerNorm(),
]
layers = pytest.mark.parametrize("layer", LAYERS, ids=repr)


@layers
@pytest.mark.parametrize("shape", [(6, 3, 2, 4), (6, 5), (6, 1, 1, 2)], ids=str)
def test_gradients(layer: Layer, shape: tuple[int, ...]) -> None:
    check_layer(layer, draw(*shape) + 2)


@pytest.mark.parametrize("shape", [(4,), (4, 1, 1)], ids=str)
def test_a_single_value_a_channel_is_normalised_by_constants(shape: tuple[int, ...]) -> None:
    """One image of 1x1 has no variance: it changes no running statistic."""
    layer = BatchNorm(eps=1e-3)
    check_layer(layer, draw(*shape, 1))
    network = alone(layer, shape)
    mean, variance, x = layer.mean.copy(), layer.variance.copy(), draw(*shape, 1, seed=5)
    y = network.forward(x.copy(), training=True).copy()
    expected = (x.ravel() - mean) / np.sqrt(variance + 1e-3) * layer.scale + layer.shift
    np.testing.assert_allclose(y.ravel(), expected, rtol=1e-12)
    np.testing.assert_allclose(network.forward(x.copy()).ravel(), expected, rtol=1e-12)
    network.forward(x.copy(), training=True)
    network.backward(np.ones_like(y))
    np.testing.assert_array_equal(layer.dscale, ((x.ravel() - mean) * layer.inverse))
    network.update_state(1.0)
    np.testing.assert_allclose(layer.mean, mean, rtol=1e-15)
    np.testing.assert_allclose(layer.variance, variance, rtol=1e-15)


def test_the_running_statistics_take_each_microbatch_by_its_images() -> None:
    """A step of 7 images of 10 moves them by 0.7 of the momentum, to means weighted by images."""
    layer = BatchNorm(momentum=0.2)
    network = alone(layer, (3, 2, 2))
    network.initialize(0)
    parts = [draw(3, 2, 2, images, seed=images) for images in (4, 3)]
    total = np.zeros_like(network.sums)
    for part in parts:
        dy = network.forward(part.copy(), training=True)
        network.backward(dy, part.shape[-1] / 7)
        total += network.sums
    network.sums[...] = total
    network.update_state(7 / 10)
    mean = sum(part.shape[-1] / 7 * part.mean(axis=(1, 2, 3)) for part in parts)
    variance = sum(part.shape[-1] / 7 * part.var(axis=(1, 2, 3), ddof=1) for part in parts)
    np.testing.assert_allclose(layer.mean, 0.2 * 0.7 * mean, rtol=1e-12)
    np.testing.assert_allclose(layer.variance, 1 + 0.2 * 0.7 * (variance - 1), rtol=1e-12)


@pytest.mark.parametrize("layer", [BatchNorm(), GroupNorm(2), LayerNorm()], ids=repr)
def test_a_large_mean_costs_no_digits_of_the_variance(layer: Layer) -> None:
    """E[x^2] - mean^2 would have none left."""
    values = draw(4, 8, 8, 16)
    x = (values + 1000).astype(np.float32)
    y = alone(layer, x.shape[:-1], np.float32).forward(x.copy(), training=True).copy()
    expected = alone(layer, x.shape[:-1]).forward(x.astype(float), training=True)
    np.testing.assert_allclose(y, expected, atol=1e-3)


def test_evaluation_depends_on_no_other_image() -> None:
    network = alone(BatchNorm(), (3, 2, 2), np.float32)
    x = draw(3, 2, 2, 5, dtype=np.float32)
    whole = network.forward(x.copy()).copy()
    for image in range(5):
        part = np.ascontiguousarray(x[..., image : image + 1])
        np.testing.assert_array_equal(network.forward(part), whole[..., image : image + 1])


@layers
def test_a_config_gives_the_layer_it_was_made_from(layer: Layer) -> None:
    Plan([layer], (6, 2, 2))  # sets parameters, whose names are those of arguments
    [again] = from_config(to_config([layer]))
    assert to_config([again]) == to_config([layer])
    assert repr(again) == repr(layer)


WRONG: dict[str, list[Any]] = {
    "momentum": [-0.1, 1.5, float("nan"), "0.1", None, True, [0.1]],
    "eps": [0, -1e-5, 2.0, float("inf"), float("nan"), "1e-5", None],
    "scale": [1, 0, "true", None, [True]],
    "shift": [1, 0, "true", None, [True]],
    "groups": [0, -1, 1.0, True, "2", None, [1]],
}


@pytest.mark.parametrize(
    ("layer", "name"),
    [
        *(("BatchNorm", name) for name in ("momentum", "eps", "scale", "shift")),
        *(("GroupNorm", "groups"), ("GroupNorm", "eps"), ("LayerNorm", "eps")),
    ],
)
def test_a_wrong_argument_is_refused_by_name(layer: str, name: str) -> None:
    sound = {"groups": 2} if layer == "GroupNorm" else {}
    from_config([{"layer": layer} | sound])
    for value in WRONG[name]:
        with pytest.raises(ValueError, match=f"{layer}'s {name} is "):
            from_config([{"layer": layer} | sound | {name: value}])


@pytest.mark.parametrize(
    ("layer", "shape", "message"),
    [
        (GroupNorm(4), (6, 2, 2), "4 groups of 6 channels, expected a divisor of them"),
        (BatchNorm(), (6, 2), r"BatchNorm takes maps .* or flat input, not \(6, 2\)"),
        (LayerNorm(), (1, 2, 3, 4), r"LayerNorm takes maps .* or flat input, not \(1, 2, 3, 4\)"),
    ],
)
def test_what_it_cannot_normalise_is_refused(
    layer: Layer, shape: tuple[int, ...], message: str
) -> None:
    with pytest.raises(OptionError, match=message):
        Plan([layer], shape)


def test_microbatches_of_a_single_value_a_channel_are_refused() -> None:
    layers = [Convolution(2, 3), BatchNorm(), Flatten(), Dense(10), BatchNorm()]
    plan = Plan(layers, (1, 4, 4))
    plan.check_microbatch(2)
    with pytest.raises(LayerError, match=r"^batchnorm2, BatchNorm.*1 image has 1 value a channel"):
        plan.check_microbatch(1)
    options = of_mnist(minibatch_size=8, microbatch_size=1, img_height=4, img_width=4)
    plan = plan_network(options, own=layers)
    with pytest.raises(OptionError, match=r"^--microbatch_size 1: batchnorm2, .*expected at least"):
        check_microbatch(options, plan)
    Plan([Convolution(2, 3), BatchNorm()], (1, 4, 4)).check_microbatch(1)  # 2x2 values


@pytest.mark.parametrize("layer", [BatchNorm(), GroupNorm(4), LayerNorm()], ids=repr)
@pytest.mark.parametrize("shape", [(16, 40, 40, 16), (64, 8, 8, 4)], ids=str)
def test_the_memory_needed_is_known_and_taken_once(layer: Layer, shape: tuple[int, ...]) -> None:
    layer = from_config(to_config([layer]))[0]
    plan = Plan([layer], shape[:-1])
    needed = plan.bytes_needed(shape[-1])
    network = Network(plan)
    x = np.zeros(shape, np.float32)
    for _ in range(2):
        network.backward(np.zeros_like(network.forward(x, training=True)))
        buffers = sum(each.nbytes for each in layer._buffers.values())
        taken = x.nbytes + buffers + 4 * network.values.nbytes
        assert 0.8 * taken < needed <= taken
