"""The line that names the doctor: where steps are slow because of the ranks, and only there."""

from __future__ import annotations

from pathlib import Path

import pytest

from dpcnn.data.sources import find
from dpcnn.training import slowness
from dpcnn.training.api import main
from dpcnn.training.slowness import Slowness, cause


def rank(number: int, compute: float, waiting: float, images: int = 1000, **other: object) -> dict:
    """The timings of a rank that took 20 seconds for 100 steps."""
    phases = {"compute_seconds": compute, "waiting_seconds": waiting}
    phases["communication_seconds"] = 20 - compute - waiting
    return {"rank": number, "host": "a", "steps": 100, "images": images} | phases | other


def test_a_rank_that_takes_much_longer_for_as_much_is_named():
    ranks = [rank(0, 7, 12, 990), rank(1, 19, 0.5, host="b"), rank(2, 8, 11)]
    assert cause(ranks) == "rank 1 on b computes 2.7 times as long as rank 0 on a"
    assert cause([rank(0, 19, 0), rank(1, 4, 15), rank(2, 0.1, 19, 0)]).startswith("rank 0 on a ")


def test_steps_that_are_mostly_messages_are_named():
    expected = "no rank computes for more than 40% of a step: the rest is messages"
    assert cause([rank(0, 7, 5), rank(1, 8, 4)]) == expected


@pytest.mark.parametrize(
    "ranks",
    [
        [rank(0, 20, 0)],
        [rank(0, 17, 1), rank(1, 13, 5)],
        [rank(0, 19, 0, 2000), rank(1, 9, 10), rank(2, 8, 11)],  # three micro-batches' shares
        [rank(0, 19, 0, 64), *(rank(n, 1, 18, 0) for n in range(1, 4))],  # more ranks than those
        [rank(0, 1, 0, communication_seconds=1), rank(1, 9, 0)],  # a short epoch
        [rank(0, 4, 15, steps=9), rank(1, 19, 0, steps=9)],  # and one of few steps
        [rank(0, 4, 15), rank(1, 19, 0, steps=40)],  # one that came later
        [rank(0, 17, 1), rank(1, 15, 40)],  # which waits for the evaluation, too
    ],
)
def test_a_healthy_run_is_not(ranks):
    assert cause(ranks) == ""


def test_it_is_told_once_after_two_such_epochs_running():
    slow, well = [rank(0, 4, 15), rank(1, 19, 0)], [rank(0, 18, 1), rank(1, 18, 1)]
    run = Slowness()
    told = [run.after(ranks) != "" for ranks in (slow, well, slow, slow, slow, well, slow)]
    assert told == [False, False, False, True, False, False, False]


def test_training_names_the_doctor_in_one_line(tmp_path: Path, monkeypatch, capfd):
    monkeypatch.setattr(slowness, "cause", lambda ranks: f"{len(ranks)} rank is slow")
    monkeypatch.setattr(find, "DIGITS_TRAIN", 64)
    monkeypatch.setattr(find, "DIGITS_TEST", 10)
    options = ["--dataroot", "digits", "--n_filter", "2", "--epochs", "4"]
    assert main([*options, "--run_dir", str(tmp_path / "run")]) == 0
    line = "warning: steps are slow: 1 rank is slow; start python -m dpcnn.doctor in place of "
    assert capfd.readouterr().err == f"{line}dpcnn.train to see why\n"
