"""The trainer on ranks as threads: any number of them, dying anywhere, gives the bits of one."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dpcnn.data.dataset import Dataset, Images
from dpcnn.data.sources import synthetic
from dpcnn.models.build import plan_network
from dpcnn.nn import BatchNorm, Convolution, Dense, Dropout, Flatten, Layer, ReLU
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
# What a run comes to: the SHA-256 of its weights and state, and its metrics without times.
Outcome = tuple[str, list[dict[str, Any]]]
Networks = Callable[[], list[Layer]] | None


def with_state() -> list[Layer]:
    """Return layers with running statistics, of maps and of single values, and random masks."""
    return [
        *(Convolution(2, 4, stride=2), BatchNorm(), ReLU(), Dropout(0.3)),
        *(Flatten(), Dense(12), BatchNorm(momentum=0.5), ReLU(), Dropout(0.5), Dense(10)),
    ]


NETWORKS: list[Networks] = [None, with_state]


@cache
def dataset() -> Dataset:
    sets = [synthetic.draw(IMAGES, seed=0), synthetic.draw(TESTED, seed=1)]
    return Dataset(*(Images(images[:, None], labels) for images, labels in sets), "digits", 10)


def train(
    comm: Communicator, minibatch: int, microbatch: int, evaluate_on: str, layers: Networks = None
) -> Outcome:
    """Train two epochs of a small network, the tutorial's or these layers."""
    options = of_mnist(
        dataroot="digits",
        n_filter=2,
        epochs=2,
        minibatch_size=minibatch,
        microbatch_size=microbatch,
        evaluate_on=evaluate_on,
        watch=True,
    )
    plan = plan_network(options, own=None if layers is None else layers())
    state = initial_state(options, plan, dataset(), "")
    trainer = Trainer(Config.of(options), state, dataset(), comm, Log(), Recovery(), StopRequests())
    assert trainer.run() == 0
    lines = [{key: line[key] for key in line if key not in TIMES} for line in state.metrics]
    return hashlib.sha256(state.network.values.tobytes()).hexdigest(), lines


@cache
def expected(minibatch: int, microbatch: int, layers: Networks = None) -> Outcome:
    return train(Communicator(), minibatch, microbatch, "rank0", layers)


@settings(max_examples=40, deadline=None)
@given(
    *(st.integers(1, 8), SIZES, st.sampled_from(["rank0", "all"])),
    *(st.sampled_from(NETWORKS), st.integers(0, 2**16)),
)
def test_any_number_of_ranks_gives_the_bits_of_one(
    ranks: int, sizes: tuple[int, int], evaluate_on: str, layers: Networks, seed: int
) -> None:
    outcomes = on_ranks(ranks, lambda comm: train(comm, *sizes, evaluate_on, layers), seed)
    assert outcomes == [expected(*sizes, layers)] * ranks


@pytest.mark.parametrize("ranks", [1, 2, 3, 5])
@pytest.mark.parametrize("sizes", [(64, 16), (43, 7)], ids=str)
def test_batch_statistics_and_masks_are_the_same_on_any_number_of_ranks(
    ranks: int, sizes: tuple[int, int]
) -> None:
    """The last step of an epoch has 2 images, or is left out, for 1 has no variance."""
    outcomes = on_ranks(ranks, lambda comm: train(comm, *sizes, "rank0", with_state), 0)
    assert outcomes == [expected(*sizes, with_state)] * ranks


@settings(max_examples=60, deadline=None)
@given(
    *(st.data(), st.integers(2, 5), SIZES, st.sampled_from(["rank0", "all"])),
    st.sampled_from(NETWORKS),
)
def test_ranks_that_die_anywhere_change_no_bit(
    data: st.DataObject, ranks: int, sizes: tuple[int, int], evaluate_on: str, layers: Networks
) -> None:
    """Up to all but one rank die, each at a collective of its own: in a step, an evaluation,
    a recovery, at the start or at the end."""
    dying = data.draw(st.lists(st.integers(0, ranks - 1), max_size=ranks - 1, unique=True))
    last = 3 + 2 * -(-IMAGES // sizes[0]) + 6
    deaths = {rank: data.draw(st.integers(1, last)) for rank in dying}
    outcomes = on_mortal_ranks(ranks, lambda comm: train(comm, *sizes, evaluate_on, layers), deaths)
    for rank, outcome in enumerate(outcomes):
        if isinstance(outcome, DeathError):
            assert rank in deaths
        else:
            assert outcome == expected(*sizes, layers)


@pytest.mark.parametrize("layers", NETWORKS)
def test_the_world_of_one_that_is_left_goes_on(layers: Networks) -> None:
    outcomes = on_mortal_ranks(3, lambda comm: train(comm, 64, 16, "rank0", layers), {0: 3, 1: 5})
    assert [type(outcome) for outcome in outcomes[:2]] == [DeathError, DeathError]
    assert outcomes[2] == expected(64, 16, layers)


def test_another_seed_gives_other_bits() -> None:
    """The comparison above can fail."""
    assert expected(64, 16)[0] != expected(50, 7)[0]
    assert np.isfinite(expected(64, 16)[1][-1]["loss"])
