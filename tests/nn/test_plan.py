"""The plan: what layers in a row come to, known before any memory is taken."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from dpcnn.errors import OptionError
from dpcnn.models.zoo import tutorial
from dpcnn.nn import Convolution, Dense, Flatten, Layer, MaxPooling, ReLU
from dpcnn.nn.network import Network
from dpcnn.nn.plan import Plan
from tests.networks import two_convolutions


def test_names_are_unique_and_numbered_in_layer_order() -> None:
    plan = Plan(two_convolutions(), (1, 28, 28))
    assert list(plan.leaves) == [
        *("convolution1", "relu1", "maxpooling1", "convolution2", "relu2", "averagepooling1"),
        *("flatten1", "dense1", "relu3", "dense2"),
    ]


def test_shapes_and_parameters_are_known() -> None:
    plan = Plan(tutorial(), (1, 28, 28))
    assert plan.input_shape == (1, 28, 28)
    assert plan.output_shape == (10,)
    shapes = [layer.output_shape for layer in plan.layers]
    assert shapes == [(32, 24, 24), (32, 24, 24), (18432,), (10,)]
    assert [(slot.layer.name, slot.key, slot.shape) for slot in plan.slots] == [
        ("convolution1", "W", (32, 1, 7, 7)),
        ("convolution1", "b", (32,)),
        ("dense1", "W", (18432, 10)),
        ("dense1", "b", (10,)),
    ]
    assert plan.parameter_count == 185_930


def test_the_table_shows_shapes_and_parameter_counts() -> None:
    rows = [tuple(row) for row in Plan(tutorial(), (1, 28, 28)).table()]
    assert rows == [
        ("convolution1", "Convolution(32 x 7x7, stride 1, padding 1)", (32, 24, 24), 1600),
        ("relu1", "ReLU()", (32, 24, 24), 0),
        ("flatten1", "Flatten()", (18432,), 0),
        ("dense1", "Dense(10)", (10,), 184_330),
    ]


def test_each_layer_is_built_exactly_once() -> None:
    class Counting(ReLU):
        built = 0

        def build(self, input_shape: tuple[int, ...]) -> tuple[int, ...]:
            self.built += 1
            return super().build(input_shape)

    layers: list[Layer] = [Counting(), Counting()]
    plan = Plan(layers, (3, 4, 5))
    network = Network(plan)
    network.forward(np.zeros((3, 4, 5, 2), np.float32))
    plan.table()
    plan.bytes_needed(16)
    assert [layer.built for layer in layers if isinstance(layer, Counting)] == [1, 1]


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ([ReLU(), Dense(3)], r"dense1, Dense\(3\): Dense takes flat input"),
        ([ReLU(), Flatten(), MaxPooling()], r"maxpooling1, .*: MaxPooling takes maps"),
        ([Convolution(1, 3), Convolution(1, 4)], r"convolution2, .* = 0, expected a positive"),
    ],
)
def test_a_layer_that_does_not_fit_is_named(layers: list[Layer], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        Plan(layers, (1, 5, 5))


def test_a_plan_takes_no_memory() -> None:
    layers = [Convolution(1000, 9, algorithm="im2col"), Flatten(), Dense(65536)]
    tracemalloc.start()
    try:
        plan = Plan(layers, (1, 28, 28))
        needed = plan.bytes_needed(1000)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert needed > 2**38
    assert peak < 2**20


@pytest.mark.parametrize("algorithm", ["mec", "im2col"])
@pytest.mark.parametrize("images", [1, 16])
@pytest.mark.parametrize(
    ("shape", "sizes"), [((1, 28, 28), (32, (7, 7))), ((3, 20, 30), (5, (9, 15)))]
)
def test_the_memory_needed_is_known_before_it_is_taken(
    shape: tuple[int, int, int], sizes: tuple[int, tuple[int, int]], images: int, algorithm: str
) -> None:
    convolution = Convolution(*sizes, padding=1, algorithm=algorithm)
    plan = Plan([convolution, ReLU(), Flatten(), Dense(10)], shape)
    needed = plan.bytes_needed(images)
    network = Network(plan)
    x = np.zeros((*shape, images), np.float32)
    network.backward(np.zeros_like(network.forward(x, training=True)))
    buffers = [each for layer in network.layers for each in layer._buffers.values()]
    taken = sum(each.nbytes for each in (x, *buffers)) + 4 * network.parameters.nbytes
    assert 0.8 * taken < needed <= taken
