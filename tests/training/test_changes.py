"""A run whose learning rate is changed on resuming: its bits, its files, and their verification."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import dpcnn
from dpcnn.api.verification import VerificationError
from dpcnn.errors import CheckpointError, OptionError
from dpcnn.models.build import plan_network
from dpcnn.options import Change, Options, change_from, resumed, resumed_with_changes
from dpcnn.parallel.communicator import Communicator
from dpcnn.report import history
from dpcnn.run import checkpoint as checkpoints
from dpcnn.run.checkpoint import Checkpoint
from dpcnn.run.directory import RunDirectory
from dpcnn.training.config import Config
from dpcnn.training.log import Log
from dpcnn.training.optimization import changed_rate
from dpcnn.training.recovery import Recovery
from dpcnn.training.setup import initial_state, restore
from dpcnn.training.signals import StopRequests
from tests.networks import of_mnist
from tests.parallel.ranks import on_ranks
from tests.training.test_optimization import StoppedTrainer
from tests.training.test_thread_ranks import dataset, with_state

CHANGE = frozenset({"resume_with"})


def train(
    comm: Communicator,
    options: Options,
    changes: Sequence[Change] = (),
    start: Checkpoint | None = None,
    last: float = math.inf,
) -> Checkpoint:
    """Return the state after step `last` of a run with such changes, from a checkpoint if given."""
    plan = plan_network(options, own=with_state())
    state = initial_state(options, plan, dataset(), "", changes)
    config, stops = Config.of(options), StopRequests()
    trainer = StoppedTrainer(config, state, dataset(), comm, Log(), Recovery(), stops)
    if start is not None:
        restore(trainer, start)
    trainer.last = last
    assert trainer.run() == 0
    return trainer.state.checkpoint().copy()


def shown(checkpoint: Checkpoint) -> list[tuple[float, float, str]]:
    keys = ("learning_rate", "test_loss", "weights_sha256")
    return [tuple(line[key] for key in keys) for line in checkpoint.metrics]


def test_a_changed_run_is_a_function_of_its_options_and_changes_on_any_number_of_ranks() -> None:
    """Changed after step 4 of 9, stopped after 7, resumed without asking again, on 1, 3, 2."""
    sizes = {"minibatch_size": 50, "microbatch_size": 7, "epochs": 3}
    begun = of_mnist(dataroot="digits", lr=0.1, schedule="cosine", momentum=0.9, **sizes)
    first = train(Communicator(), begun, last=4)
    asked = Options(resume="auto", resume_with="lr=0.02,schedule=linear,epochs=4")
    before, after = resumed_with_changes(asked, CHANGE, first.options)
    changes = [change_from(before, 4)]
    [second, *_] = on_ranks(3, lambda comm: train(comm, after, changes, first, 7))
    kept = resumed(Options(), frozenset(), second.options)
    whole = train(Communicator(), after, changes)
    rates = [0.1 * (1 + math.cos(math.pi * 2 / 9)) / 2, *(0.02 * (1 - n / 12) for n in (5, 8, 11))]
    assert [line["learning_rate"] for line in whole.metrics] == pytest.approx(rates)
    for found in on_ranks(2, lambda comm: train(comm, kept, second.changes, second)):
        assert shown(found) == shown(whole)
    unchanged = train(Communicator(), begun)
    assert shown(unchanged)[0] == shown(whole)[0]
    assert shown(unchanged)[1] != shown(whole)[1]


def test_a_plateau_begins_anew_with_another_lr_and_goes_on_where_that_stays() -> None:
    begun = of_mnist(lr=0.1, schedule="plateau", plateau_patience=0)
    reduced = [{"step": 10, "plateau_factor": 0.1, "plateau_best": 1.0, "plateau_waited": 0}]
    after = [{"step": 20, "plateau_factor": 0.1, "plateau_best": 1.0, "plateau_waited": 0}]
    for options, rates in (
        (replace(begun, lr=0.04), [0.04, 0.004]),
        (replace(begun, gamma=0.5), [0.01, 0.01]),
        (replace(begun, lr=0.03, schedule="constant"), [0.03, 0.03]),
    ):
        rate = changed_rate(options, 10, [change_from(begun, 15)])
        assert rate(14, reduced) == pytest.approx(0.01)
        assert [rate(15, reduced), rate(25, after)] == pytest.approx(rates)
        line = {"loss": 2.0, "step": 20}
        factor = rate.memory(line, reduced).get("plateau_factor")
        expected = {0.04: 1.0, 0.1: 0.05, 0.03: None}[options.lr]
        assert factor == (expected if expected is None else pytest.approx(expected))


@pytest.fixture(scope="module")
def run(small: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of 3 epochs of 4 steps, whose lr is changed after step 6; that start makes no step."""
    path = tmp_path_factory.mktemp("changes") / "run"
    values: dict[str, Any] = {"run_dir": path, "progress": "silent"}
    new = {"train_limit": 256, "test_limit": 50, "n_filter": 2, "epochs": 3, "max_steps": 6}
    dpcnn.train(dataroot=small, **new, **values)
    dpcnn.train(resume="auto", resume_with="lr=0.05", **values)
    last = dpcnn.train(resume="auto", max_steps=12, **values)
    assert [line["learning_rate"] for line in last.metrics] == [0.01, 0.05, 0.05]
    return path


def test_a_change_is_kept_before_the_first_step_and_told_in_every_place(run: Path) -> None:
    lines = [json.loads(line) for line in (run / "events.jsonl").read_text().splitlines()]
    [change] = [line for line in lines if line["event"] == "change"]
    assert (change["step"], change["before"], change["after"]) == (6, {"lr": 0.01}, {"lr": 0.05})
    events = [event.sentence for session in history.sessions(lines) for event in session.milestones]
    assert "Changed after step 6: lr from 0.01 to 0.05" in events
    assert json.loads((run / "options.json").read_text())["lr"] == 0.05
    kept = checkpoints.read(RunDirectory(run).checkpoint_path(6))
    assert (kept.options["lr"], [each["step"] for each in kept.changes]) == (0.05, [6])


def test_a_changed_run_is_verified_and_not_one_without_its_change(
    run: Path, tmp_path: Path
) -> None:
    assert dpcnn.verify(run, all=True) == 12
    copy = Path(shutil.copytree(run, tmp_path / "copy"))
    path = RunDirectory(copy).checkpoint_path(12)
    checkpoints.write(path, replace(checkpoints.read(path), changes=[]))
    with pytest.raises(VerificationError, match="epoch 1"):
        dpcnn.verify(copy, all=True)
    checkpoints.write(path, replace(checkpoints.read(path), changes=[{"step": 3}]))
    with pytest.raises(CheckpointError, match="the checkpoint's changes have step"):
        dpcnn.verify(copy, all=True)


def test_a_new_run_has_nothing_to_change(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    for values in ({}, {"resume": "auto"}):
        with pytest.raises(OptionError, match=r"--resume_with is lr=0\.05, and no run is resumed"):
            dpcnn.train(dataroot="digits", resume_with="lr=0.05", progress="silent", **values)
    assert list(tmp_path.iterdir()) == []


def test_a_run_without_a_checkpoint_begins_with_the_change(
    small: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    values: dict[str, Any] = {"run_dir": tmp_path / "run", "max_steps": 1}
    dpcnn.train(dataroot=small, train_limit=64, test_limit=10, n_filter=2, **values)
    shutil.rmtree(tmp_path / "run" / "checkpoints")
    dpcnn.train(resume="auto", resume_with="lr=0.05,warmup=2ep", **values)
    assert "lr from 0.01 to 0.05, warmup from none to 2ep" in capfd.readouterr().out
    kept = checkpoints.read(RunDirectory(tmp_path / "run").checkpoint_path(1))
    assert (kept.options["warmup"], list(kept.changes)) == ("2ep", [])
