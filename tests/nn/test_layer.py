"""What holds for every layer: buffers that are made once, and no gradient that nobody reads."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from dpcnn.models.zoo import tutorial
from dpcnn.nn import Convolution, Dense, Flatten, Layer, ReLU
from dpcnn.nn.losses import softmax_cross_entropy
from dpcnn.nn.network import Network
from dpcnn.nn.plan import Plan
from tests.nn.layers import draw
from tests.reference import Array

algorithms = pytest.mark.parametrize("algorithm", ["mec", "im2col"])


@pytest.mark.parametrize(
    ("layer", "shape"), [(Convolution(2, (3, 3)), (1, 4, 4)), (Dense(2), (3,))], ids=repr
)
def test_the_first_layer_computes_no_input_gradient(layer: Layer, shape: tuple[int, ...]) -> None:
    network = Network(Plan([layer], shape))
    z = network.forward(draw(*shape, 2, dtype=np.float32))
    assert layer.backward(np.ones_like(z)) is None
    assert network.gradient.any()


def test_a_second_forward_returns_the_same_memory() -> None:
    network = Network(Plan(tutorial(n_filter=3), (1, 10, 10)))
    for layer in network.layers:
        x = draw(*layer.input_shape, 4, dtype=np.float32)
        first = layer.forward(x)
        assert np.shares_memory(layer.forward(x), first), layer


def test_a_step_allocates_nothing_large() -> None:
    assert peak_of_a_step(tutorial()) < 100_000


@algorithms
def test_a_step_of_two_convolutions_allocates_nothing_large(algorithm: str) -> None:
    convolutions = [
        Convolution(32, 7, padding=1, algorithm=algorithm),
        ReLU(),
        Convolution(8, 3, algorithm=algorithm),
    ]
    # NumPy takes buffers of 100 KB for sums of strided arrays; the layers' have up to 9 MB.
    assert peak_of_a_step([*convolutions, Flatten(), Dense(10)]) < 150_000


def peak_of_a_step(layers: list[Layer]) -> int:
    """Return how many bytes a second step has allocated at most."""
    network = Network(Plan(layers, (1, 28, 28)))
    network.initialize(seed=0)
    images, labels = draw(1, 28, 28, 16, dtype=np.float32), np.arange(16) % 10

    def step() -> None:
        loss = softmax_cross_entropy(network.forward(images, training=True), labels, 64)
        network.backward(loss.dlogits)

    step()
    tracemalloc.start()
    try:
        step()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    return peak


@algorithms
def test_mixed_micro_batch_sizes_give_what_fresh_networks_give(algorithm: str) -> None:
    def build() -> Network:
        layers = [
            Convolution(3, (3, 3), padding=1, algorithm=algorithm),
            ReLU(),
            Convolution(4, (3, 3), 2, padding=2, algorithm=algorithm),
        ]
        network = Network(Plan([*layers, ReLU(), Flatten(), Dense(5)], (2, 7, 7)))
        network.initialize(seed=0)
        return network

    def step(network: Network, seed: int, n: int) -> tuple[Array, Array]:
        x = draw(2, 7, 7, n, dtype=np.float32, seed=seed)
        logits = network.forward(x, training=True).copy()
        network.backward(draw(5, n, dtype=np.float32, seed=seed))
        return logits, network.gradient.copy()

    used = build()
    for seed, n in enumerate((16, 5, 16, 1, 5)):
        for ours, fresh in zip(step(used, seed, n), step(build(), seed, n), strict=True):
            np.testing.assert_array_equal(ours, fresh)
