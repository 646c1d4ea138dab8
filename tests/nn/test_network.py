"""The network: flat vectors and their views, initialization, the whole gradient."""

from __future__ import annotations

import hashlib
import struct

import numpy as np

from dpcnn.nn import Convolution, Dense, Flatten, ReLU
from dpcnn.nn.losses import softmax_cross_entropy
from dpcnn.nn.network import Network
from dpcnn.nn.plan import Plan
from tests.gradients import check_gradient
from tests.reference import Array


def two_convolutions(dtype: type[np.floating] = np.float32) -> Network:
    layers = [
        Convolution(3, (3, 3), stride=1, padding=1),
        ReLU(),
        Convolution(2, (3, 2), stride=2, padding=1),
        ReLU(),
        Flatten(),
        Dense(4),
    ]
    return Network(Plan(layers, (2, 5, 6)), dtype)


def test_parameters_and_gradients_are_views_into_the_flat_vectors_in_layer_order() -> None:
    network = two_convolutions()
    network.parameters[...] = np.arange(network.parameters.size)
    network.gradient[...] = -network.parameters
    views = [
        (getattr(layer, name), getattr(layer, "d" + name))
        for layer in network.layers
        for name in layer.parameter_shapes
    ]
    for flat, arrays in zip(
        (network.parameters, network.gradient), zip(*views, strict=True), strict=True
    ):
        assert all(np.shares_memory(array, flat) for array in arrays)
        np.testing.assert_array_equal(np.concatenate([a.ravel() for a in arrays]), flat)


def test_parameters_are_named_by_layer() -> None:
    network = two_convolutions()
    named = network.named_values()
    assert {name: list(arrays) for name, arrays in named.items()} == {
        "convolution1": ["W", "b"],
        "convolution2": ["W", "b"],
        "dense1": ["W", "b"],
    }
    assert np.shares_memory(named["dense1"]["b"], network.parameters)


def test_initialize_depends_on_layers_and_seed_only() -> None:
    network, other = two_convolutions(), two_convolutions()
    network.initialize(seed=3)
    first = network.parameters.copy()
    network.initialize(seed=4)
    assert not np.array_equal(network.parameters, first)
    other.parameters.fill(7)
    other.initialize(seed=3)
    np.testing.assert_array_equal(other.parameters, first)


def test_activations_keep_their_size_through_many_convolutions() -> None:
    def spread(initializer: str) -> float:
        layers = [
            layer
            for _ in range(6)
            for layer in (Convolution(8, 3, padding=1, initializer=initializer), ReLU())
        ]
        network = Network(Plan(layers, (8, 10, 10)))
        network.initialize(seed=0)
        x = np.random.default_rng(0).standard_normal((8, 10, 10, 16)).astype(np.float32)
        return float(np.square(network.forward(x)).mean())

    assert 0.1 < spread("he_normal") < 10
    assert spread("tutorial") > 1e4


def test_the_gradient_through_two_convolutions() -> None:
    network = two_convolutions(np.float64)
    network.initialize(seed=0)
    rng = np.random.default_rng(0)
    network.parameters += 0.1 * rng.standard_normal(network.parameters.size)
    x, labels = rng.standard_normal((2, 5, 6, 3)), np.array([0, 3, 1])

    def loss(parameters: Array) -> float:
        network.parameters[...] = parameters
        return softmax_cross_entropy(network.forward(x), labels, minibatch_size=3).loss / 3

    parameters = network.parameters.copy()
    logits = network.forward(x, training=True)
    network.backward(softmax_cross_entropy(logits, labels, minibatch_size=3).dlogits)
    check_gradient(loss, parameters, network.gradient.copy())


def test_backward_overwrites_the_whole_gradient() -> None:
    network = two_convolutions()
    network.initialize(seed=0)
    x = np.random.default_rng(0).standard_normal((2, 5, 6, 3)).astype(np.float32)
    network.forward(x, training=True)
    network.backward(np.ones((4, 3), np.float32))
    first = network.gradient.copy()
    network.gradient.fill(np.nan)
    network.forward(x, training=True)
    network.backward(np.ones((4, 3), np.float32))
    np.testing.assert_array_equal(network.gradient, first)


def test_a_restored_network_has_the_same_parameters_and_hash() -> None:
    network, other = two_convolutions(), two_convolutions()
    network.initialize(seed=1)
    assert other.weights_sha256() != network.weights_sha256()
    other.restore(network.named_values())
    np.testing.assert_array_equal(other.parameters, network.parameters)
    assert not np.shares_memory(other.parameters, network.parameters)
    assert other.weights_sha256() == network.weights_sha256()


def test_the_hash_is_of_the_little_endian_float32_in_layer_order() -> None:
    network = two_convolutions()
    network.initialize(seed=1)
    values = [
        value
        for parameters in network.named_values().values()
        for array in parameters.values()
        for value in array.ravel().tolist()
    ]
    expected = hashlib.sha256(struct.pack(f"<{len(values)}f", *values)).hexdigest()
    assert network.weights_sha256() == expected


def test_layers_are_bound_to_the_newest_network_and_leave_the_one_before() -> None:
    first = two_convolutions()
    first.initialize(seed=0)
    expected = first.parameters.copy()
    second = Network(Plan(first.layers, (2, 5, 6)))
    second.initialize(seed=0)
    np.testing.assert_array_equal(second.parameters, expected)
    second.parameters.fill(0)
    logits = second.forward(np.ones((2, 5, 6, 3), np.float32), training=True)
    second.backward(np.ones_like(logits))
    np.testing.assert_array_equal(first.parameters, expected)
    assert not first.gradient.any()
    assert second.gradient.any()
