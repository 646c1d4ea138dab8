"""The recipe of CIFAR-10: the same bits on any number of ranks, through a stop and a death."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import cache

import numpy as np

from dpcnn.cli.arguments import parse_keywords
from dpcnn.data.dataset import Dataset, Images
from dpcnn.data.normalize import standard
from dpcnn.models.zoo import airbench
from dpcnn.nn import Layer
from dpcnn.parallel.communicator import Communicator
from dpcnn.run.checkpoint import Checkpoint
from dpcnn.training.measure import silent_trainer
from dpcnn.training.trainer import Trainer
from tests.parallel.mortal_ranks import DeathError, on_mortal_ranks
from tests.parallel.ranks import on_ranks

IMAGES = 18  # two steps of 8 an epoch: the last two images are dropped
STEPS = 30


def narrow(shape: tuple[int, int, int], classes: int) -> list[Layer]:
    """Return the recipe's network with few filters."""
    return airbench(4, 8, 8)(shape, classes)


@cache
def dataset() -> Dataset:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (IMAGES, 3, 32, 32), np.uint8)
    train = Images(pixels, np.arange(IMAGES) % 10)
    made = Dataset(train, train.first(3), "random", 10)
    return made.normalized(standard(train.blocks()))


class StoppedTrainer(Trainer):
    """A trainer that stops after some step, as a signal would make it."""

    last = math.inf

    def done(self) -> bool:
        return super().done() or self.state.progress.step >= self.last


def train(
    comm: Communicator, start: Checkpoint | None = None, last: float = math.inf
) -> tuple[str, list[float], Checkpoint]:
    """Return the SHA-256, the accuracies and the state of a run that goes on from `start`."""
    recipe = parse_keywords({"recipe": "cifar10", "dataroot": "digits"}).options
    sizes = {"minibatch_size": 8, "microbatch_size": 2, "epochs": STEPS // 2}
    options = replace(recipe, model="tests.training.test_recipes:narrow", **sizes)
    trainer = silent_trainer(options, dataset(), comm)
    trainer.__class__ = StoppedTrainer
    trainer.last = last  # type: ignore[attr-defined]
    if start is not None:
        trainer.state.restore(start)
    assert trainer.run() == 0
    state = trainer.state
    accuracies = [line["test_accuracy"] for line in state.metrics]
    return state.network.weights_sha256(), accuracies, state.checkpoint().copy()


@cache
def alone() -> tuple[str, list[float], Checkpoint]:
    return train(Communicator())


def test_two_and_four_ranks_give_the_bits_of_one() -> None:
    for ranks in (2, 4):
        found = on_ranks(ranks, train)
        assert [each[:2] for each in found] == [alone()[:2]] * ranks


def test_stopped_on_two_ranks_and_resumed_on_one_it_has_the_bits_of_one() -> None:
    [(_, _, stopped), _] = on_ranks(2, lambda comm: train(comm, last=13))
    assert stopped.progress["step"] == 13
    assert train(Communicator(), stopped)[:2] == alone()[:2]


def test_a_rank_that_dies_in_the_middle_changes_no_bit() -> None:
    died, survived = on_mortal_ranks(2, train, {0: 25})
    assert isinstance(died, DeathError)
    assert not isinstance(survived, Exception)
    assert survived[:2] == alone()[:2]
