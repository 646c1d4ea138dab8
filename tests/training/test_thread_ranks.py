"""The trainer on ranks as threads: any number of them, dying anywhere, gives the bits of one."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from dpcnn.data.dataset import Dataset, Images
from dpcnn.data.sources import synthetic
from dpcnn.models.build import plan_network
from dpcnn.parallel.communicator import Communicator
from dpcnn.training.config import Config
from dpcnn.training.log import Log
from dpcnn.training.recovery import Recovery
from dpcnn.training.setup import initial_state
from dpcnn.training.signals import StopRequests
from dpcnn.training.trainer import Trainer
from tests.launching import TIMES
from tests.networks import of_mnist
from tests.parallel.mortal_ranks import DeathError, on_mortal_ranks
from tests.parallel.ranks import on_ranks

IMAGES, TESTED = 130, 20
SIZES = st.sampled_from([(130, 16), (64, 16), (50, 7), (30, 16), (8, 8), (7, 3)])
# What a run comes to: the SHA-256 of its weights, and its metrics without times.
Outcome = tuple[str, list[dict[str, Any]]]


@cache
def dataset() -> Dataset:
    sets = [synthetic.draw(IMAGES, seed=0), synthetic.draw(TESTED, seed=1)]
    return Dataset(*(Images(images[:, None], labels) for images, labels in sets), "digits", 10)


def train(comm: Communicator, minibatch: int, microbatch: int, evaluate_on: str) -> Outcome:
    """Train two epochs of a small network."""
    options = of_mnist(
        dataroot="digits",
        n_filter=2,
        epochs=2,
        minibatch_size=minibatch,
        microbatch_size=microbatch,
        evaluate_on=evaluate_on,
    )
    state = initial_state(options, plan_network(options), "digits", "")
    trainer = Trainer(Config.of(options), state, dataset(), comm, Log(), Recovery(), StopRequests())
    assert trainer.run() == 0
    lines = [{key: line[key] for key in line if key not in TIMES} for line in state.metrics]
    return state.network.weights_sha256(), lines


@cache
def expected(minibatch: int, microbatch: int) -> Outcome:
    return train(Communicator(), minibatch, microbatch, "rank0")


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 8), SIZES, st.sampled_from(["rank0", "all"]), st.integers(0, 2**16))
def test_any_number_of_ranks_gives_the_bits_of_one(
    ranks: int, sizes: tuple[int, int], evaluate_on: str, seed: int
) -> None:
    outcomes = on_ranks(ranks, lambda comm: train(comm, *sizes, evaluate_on), seed)
    assert outcomes == [expected(*sizes)] * ranks


@settings(max_examples=60, deadline=None)
@given(st.data(), st.integers(2, 5), SIZES, st.sampled_from(["rank0", "all"]))
def test_ranks_that_die_anywhere_change_no_bit(
    data: st.DataObject, ranks: int, sizes: tuple[int, int], evaluate_on: str
) -> None:
    """Up to all but one rank die, each at a collective of its own: in a step, an evaluation,
    a recovery, at the start or at the end."""
    dying = data.draw(st.lists(st.integers(0, ranks - 1), max_size=ranks - 1, unique=True))
    last = 3 + 2 * -(-IMAGES // sizes[0]) + 6
    deaths = {rank: data.draw(st.integers(1, last)) for rank in dying}
    outcomes = on_mortal_ranks(ranks, lambda comm: train(comm, *sizes, evaluate_on), deaths)
    for rank, outcome in enumerate(outcomes):
        if isinstance(outcome, DeathError):
            assert rank in deaths
        else:
            assert outcome == expected(*sizes)


def test_the_world_of_one_that_is_left_goes_on() -> None:
    outcomes = on_mortal_ranks(3, lambda comm: train(comm, 64, 16, "rank0"), {0: 3, 1: 5})
    assert [type(outcome) for outcome in outcomes[:2]] == [DeathError, DeathError]
    assert outcomes[2] == expected(64, 16)


def test_another_seed_gives_other_bits() -> None:
    """The comparison above can fail."""
    assert expected(64, 16)[0] != expected(50, 7)[0]
    assert np.isfinite(expected(64, 16)[1][-1]["loss"])
