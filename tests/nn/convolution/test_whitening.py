"""The whitening convolution: its outputs have no correlation; only its bias is trained."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from dpcnn.errors import OptionError
from dpcnn.models.build import plan_network
from dpcnn.nn import Convolution, Dense, Flatten, ReLU, Whitening
from dpcnn.nn.config import from_config, to_config
from dpcnn.nn.network import Network
from dpcnn.nn.plan import Plan
from tests.networks import of_mnist
from tests.nn.layers import check_layer, draw


def fitted(layer: Whitening, x: Any) -> Network:
    network = Network(Plan([layer], x.shape[:-1]), np.float64)
    network.initialize(0)
    layer.fit(x)
    return network


@pytest.mark.parametrize("size", [2, (1, 3)])
def test_what_comes_out_is_white(size: Any) -> None:
    x = draw(2, 7, 8, 250)
    x[1] += 0.9 * x[0]  # channels that go together
    layer = Whitening(size, eps=1e-12)
    maps = fitted(layer, x).forward(x.copy()).reshape(layer.filters, -1)
    half = layer.filters // 2
    assert layer.filters == 2 * 2 * np.prod(layer.filter_size)
    np.testing.assert_allclose(maps[half:], -maps[:half], atol=1e-12)
    np.testing.assert_allclose(maps[:half] @ maps[:half].T / maps.shape[1], np.eye(half), atol=1e-9)


def test_filters_are_the_principal_components_the_largest_first() -> None:
    x = draw(1, 5, 6, 40)
    layer = Whitening(2, eps=0.01)
    fitted(layer, x)
    patches = np.array(
        [
            x[0, i : i + 2, j : j + 2, n].ravel()
            for i in range(4)
            for j in range(5)
            for n in range(40)
        ]
    )
    products = patches.T @ patches / len(patches)
    lengths = []
    for w in layer.W[:4].reshape(4, -1):
        eigenvalue = w @ products @ w / (w @ w)
        np.testing.assert_allclose(products @ w, eigenvalue * w, atol=1e-9)
        np.testing.assert_allclose(w @ w, 1 / (eigenvalue + 0.01))
        lengths.append(w @ w)
    assert lengths == sorted(lengths)


def test_constant_images_give_finite_filters() -> None:
    layer = Whitening()
    fitted(layer, np.zeros((3, 4, 4, 2)))
    assert np.isfinite(layer.W).all()


def test_only_the_bias_is_trained_and_the_filters_are_state() -> None:
    layer = Whitening()
    network = fitted(layer, draw(3, 6, 6, 20))
    assert network.parameters.size == 24
    assert network.state.size == layer.W.size
    before = layer.W.copy()
    y = network.forward(draw(3, 6, 6, 4), training=True)
    network.backward(np.ones_like(y))
    np.testing.assert_allclose(layer.db, 25 * 4)
    network.update_state()
    np.testing.assert_array_equal(layer.W, before)
    check_layer(Whitening((2, 3)), draw(2, 4, 5, 3))


def test_without_its_bias_nothing_before_the_next_parameters_has_a_gradient() -> None:
    layers = [Whitening(bias=False), ReLU(), Convolution(3, 2), Flatten(), Dense(2)]
    network = Network(Plan(layers, (1, 5, 5)))
    network.initialize(0)
    assert [layer.needs_dx for layer in layers] == [False, False, False, True, True]
    network.forward(draw(1, 5, 5, 3, dtype=np.float32), training=True)
    network.backward(np.ones((2, 3), np.float32))
    assert network.gradient.any()


def test_it_must_be_the_first_layer() -> None:
    with pytest.raises(OptionError, match=r"whitening1, .*, is fitted to the images: put it first"):
        plan_network(of_mnist(), own=[ReLU(), Whitening(), Flatten(), Dense(10)])


def test_a_config_gives_the_layer_it_was_made_from() -> None:
    plan = Plan([Whitening((1, 2), 0.01, bias=False)], (3, 8, 8))
    config = to_config(plan.layers)
    assert to_config(from_config(config)) == config
    assert config[0].keys() == {"layer", "filter_size", "eps", "bias", "algorithm"}
    assert repr(plan.layers[0]) == "Whitening(1x2, no bias)"


@pytest.mark.parametrize("eps", [0, -1, 2, "1", None])
def test_a_wrong_eps_is_refused(eps: Any) -> None:
    with pytest.raises(ValueError, match="Whitening's eps is "):
        from_config([{"layer": "Whitening", "eps": eps}])
