"""The rest of an epoch: each of its images counts as much as the others, or as the user asks."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest

from dpcnn.data.dataset import Dataset, Images
from dpcnn.data.sources import synthetic
from dpcnn.errors import OptionError
from dpcnn.models.build import plan_network
from dpcnn.nn import BatchNorm, Dense, Flatten, Layer
from dpcnn.parallel.communicator import Communicator
from dpcnn.training.config import Config
from dpcnn.training.header import header
from dpcnn.training.log import Log
from dpcnn.training.recovery import Recovery
from dpcnn.training.setup import initial_state
from dpcnn.training.signals import StopRequests
from dpcnn.training.trainer import Trainer
from tests.networks import of_mnist

Array = Any


@cache
def digits() -> tuple[Array, Array]:
    images, labels = synthetic.draw(80, seed=0)
    return images[:, None], labels


def trainer(images: int, layers: list[Layer] | None = None, **options: Any) -> Trainer:
    """Return a trainer on so many images, in minibatches of 32 and micro-batches of 16."""
    resolved = of_mnist(
        **{"n_filter": 2, "epochs": 1, "minibatch_size": 32, "microbatch_size": 16} | options
    )
    pixels, labels = digits()
    dataset = Dataset(
        Images(pixels[:images], labels[:images]), Images(pixels, labels), "digits", 10
    )
    state = initial_state(resolved, plan_network(resolved, own=layers), dataset, "")
    config, stops = Config.of(resolved), StopRequests()
    made = Trainer(config, state, dataset, Communicator(), Log(), Recovery(), stops)
    made.attach()
    return made


def updates(images: int, **options: Any) -> list[Array]:
    """Return how each step of an epoch changes the parameters."""
    made = trainer(images, **options)
    changes = []
    for minibatch in made.loader.minibatches(1):
        before = made.network.parameters.astype(float)
        made.step(minibatch)
        changes.append(made.network.parameters - before)
    return changes


def test_the_last_images_of_an_epoch_move_the_weights_by_their_share() -> None:
    """4 left of 68 images: a step of full size would count each of them 8 times."""
    (*full, scaled), (*same, mean) = updates(68), updates(68, last_minibatch="mean")
    np.testing.assert_array_equal(full, same)
    assert np.abs(mean).max() > 1e-3
    np.testing.assert_allclose(scaled, mean * 4 / 32, rtol=1e-3, atol=1e-7)


def test_an_epoch_of_one_step_is_of_full_size() -> None:
    """No image counts more than another then."""
    [scaled], [mean] = updates(20), updates(20, last_minibatch="mean")
    np.testing.assert_array_equal(scaled, mean)


def test_a_last_minibatch_can_be_dropped() -> None:
    full, dropped = updates(64), updates(68, last_minibatch="drop", shuffle="none")
    assert len(full) == len(dropped) == 2
    np.testing.assert_array_equal(updates(64, shuffle="none"), dropped)
    with pytest.raises(OptionError, match="20 images to train on, expected at least 32"):
        updates(20, last_minibatch="drop")


def normalised() -> list[Layer]:
    """Layers which a single image gives no variance."""
    return [Flatten(), Dense(8), BatchNorm(), Dense(10)]


@pytest.mark.parametrize(
    ("images", "options", "sizes"),
    [
        (65, {}, [[16, 16], [16, 16]]),
        (66, {}, [[16, 16], [16, 16], [2]]),
        (49, {}, [[16, 16], [17]]),
        (66, {"minibatch_size": 33}, [[16, 17], [16, 17]]),
    ],
)
def test_no_micro_batch_is_too_small_for_batch_normalisation(
    images: int, options: dict[str, int], sizes: list[list[int]]
) -> None:
    loader = trainer(images, normalised(), **options).loader
    found = [[x.labels.size for x in step.microbatches] for step in loader.minibatches(1)]
    assert found == sizes


@pytest.mark.parametrize(
    ("images", "layers", "options", "expected"),
    [
        (64, None, {"last_minibatch": "mean"}, None),
        (68, None, {}, None),
        (68, None, {"last_minibatch": "mean"}, "4 images, in a step of full size"),
        (68, None, {"last_minibatch": "drop"}, "dropped: 4 images an epoch not used"),
        (65, normalised, {}, "dropped: 1 image an epoch not used"),
    ],
)
def test_the_header_says_what_becomes_of_it(
    images: int, layers: Any, options: dict[str, str], expected: str | None
) -> None:
    made = trainer(images, layers and layers(), **options)
    facts = header(of_mnist(microbatch_size=16, **options), made, made.comm, 1, "run")
    assert facts.get("last minibatch") == expected
