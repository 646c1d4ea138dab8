"""The known networks."""

from __future__ import annotations

import numpy as np
import pytest

from dpcnn.models.build import plan_network
from dpcnn.models.zoo import tutorial
from dpcnn.nn.config import to_config
from dpcnn.nn.network import Network
from dpcnn.nn.plan import Plan
from tests.networks import of_mnist


def test_the_tutorials_defaults_are_those_of_the_options() -> None:
    assert to_config(tutorial()) == to_config(plan_network(of_mnist()).layers)


def test_the_tutorial_has_185930_parameters() -> None:
    network = Network(Plan(tutorial(), (1, 28, 28)))
    assert network.parameters.size == 185_930 == 32 * 49 + 32 + 18432 * 10 + 10
    assert network.gradient.size == 185_930
    assert network.parameters.dtype == network.gradient.dtype == np.float32


def test_weights_are_drawn_as_the_tutorial_draws_them() -> None:
    network = Network(Plan(tutorial(), (1, 28, 28)))
    network.initialize(seed=0)
    named = network.named_values()
    for layer, deviation in (("convolution1", (32 / 2) ** -0.5), ("dense1", (18432 / 2) ** -0.5)):
        W, b = named[layer]["W"], named[layer]["b"]
        five_sigma = 5 / np.sqrt(W.size)
        assert W.std() == pytest.approx(deviation, rel=five_sigma)
        assert W.mean() == pytest.approx(0, abs=five_sigma * deviation)
        assert not b.any()
