"""What options mean to the trainer: the micro-batch size, and when to save."""

from __future__ import annotations

import math

import pytest

from dpcnn.options import Options
from dpcnn.training.config import Config, Every, resolved
from dpcnn.training.state import Progress


@pytest.mark.parametrize(
    ("text", "every"),
    [
        ("1ep", Every(1, "ep")),
        ("500st", Every(500, "st")),
        ("007ep", Every(7, "ep")),
        ("2147483647st", Every(2**31 - 1, "st")),
    ],
)
def test_checkpoint_every_counts_epochs_or_steps(text: str, every: Every) -> None:
    assert Config.of(Options(checkpoint_every=text, microbatch_size=16)).save == every


def test_steps_are_due_at_their_multiples_and_at_the_ends_of_epochs_too() -> None:
    due = [step for step in range(1, 13) if Every(4, "st").due(Progress(step=step), False)]
    assert due == [4, 8, 12]
    assert Every(4, "st").due(Progress(step=8, epoch=2), True)
    assert not Every(4, "st").due(Progress(step=9, epoch=2), True)


def test_epochs_are_due_at_their_ends_alone() -> None:
    ended = [epoch for epoch in range(1, 10) if Every(3, "ep").due(Progress(epoch=epoch + 1), True)]
    assert ended == [3, 6, 9]
    assert not Every(1, "ep").due(Progress(epoch=2), False)


@pytest.mark.parametrize(
    ("minibatch", "ranks", "microbatch"), [(64, 4, 16), (64, 8, 9), (64, 64, 1), (8, 1, 8)]
)
def test_an_automatic_microbatch_leaves_no_rank_without_work(
    minibatch: int, ranks: int, microbatch: int
) -> None:
    options = resolved(Options(minibatch_size=minibatch), ranks)
    assert options.microbatch_size == microbatch
    assert resolved(options, 100).microbatch_size == microbatch


def test_no_limit_of_steps_is_an_infinite_one() -> None:
    assert Config.of(Options(microbatch_size=1)).max_steps == math.inf
    assert Config.of(Options(microbatch_size=1, max_steps=3)).max_steps == 3
