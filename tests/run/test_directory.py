"""The run directory: names, which checkpoints stay, which is sound, which run is the newest."""

from __future__ import annotations

import errno
import json
import os
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from dpcnn.errors import CheckpointError, OptionError
from dpcnn.run import checkpoint as checkpoints
from dpcnn.run import outcome
from dpcnn.run.checkpoint import Checkpoint
from dpcnn.run.directory import RUNS, RunDirectory
from dpcnn.run.lock import TakenOverError
from dpcnn.run.loggers import csv, jsonl
from tests.launching import told
from tests.run.states import state


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    run = RunDirectory(tmp_path / "run")
    run.create({"lr": 0.1}, {"python": "3"})
    return run


@pytest.fixture
def _inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def files(run: RunDirectory) -> list[str]:
    found = (path for path in run.path.rglob("*") if path.is_file())
    return sorted(path.relative_to(run.path).as_posix() for path in found)


def save(run: RunDirectory, steps: Any, keep: int = 3, **more: Any) -> None:
    for step in steps:
        run.save(state(step, **more), keep)


def test_naming_a_run_touches_nothing(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path / "run")
    assert not run.has_run()
    assert run.checkpoint_steps() == []
    assert list(run.read_checkpoints()) == []
    assert not run.path.exists()


def test_a_new_run_holds_options_and_environment(run: RunDirectory) -> None:
    assert files(run) == [
        ".lock",
        "environment.json",
        "metrics.csv",
        "metrics.jsonl",
        "network.json",
        "options.json",
    ]
    assert json.loads((run.path / "options.json").read_text()) == {"lr": 0.1}
    assert json.loads((run.path / "environment.json").read_text()) == {"python": "3"}
    assert run.has_run()


def test_a_checkpoint_alone_is_a_run(run: RunDirectory) -> None:
    save(run, [0])
    (run.path / "options.json").unlink()
    assert run.has_run()


def test_a_checkpoint_is_named_after_its_step(run: RunDirectory) -> None:
    path = run.save(state(938), keep=3)
    assert path == run.path / "checkpoints" / "step-00000938.h5"
    assert checkpoints.read(path).progress["step"] == 938


def test_only_the_newest_stay(run: RunDirectory) -> None:
    save(run, range(1, 8), keep=3)
    assert run.checkpoint_steps() == [7, 6, 5]


def test_the_best_stays_too(run: RunDirectory) -> None:
    save(run, range(1, 9), keep=2, accuracies={1: 0.5, 3: 0.9, 5: 0.9, 7: 0.8})
    assert run.checkpoint_steps() == [8, 7, 3]


def test_a_best_that_is_overtaken_goes(run: RunDirectory) -> None:
    save(run, [1, 2, 3], keep=1, accuracies={1: 0.5})
    save(run, [4, 5], keep=1, accuracies={1: 0.5, 4: 0.6})
    assert run.checkpoint_steps() == [5, 4]


def best(run: RunDirectory) -> int | None:
    """Return the step of the best checkpoint."""
    checkpoint = run.best_checkpoint()
    return None if checkpoint is None else int(checkpoint.progress["step"])


def train(run: RunDirectory, accuracies: dict[int, float], keep: int = 2) -> None:
    """Save after each of these epochs, by the step that is its last, as a run does."""
    for step in accuracies:
        run.save(state(step, {k: v for k, v in accuracies.items() if k <= step}), keep)


def test_the_best_has_a_name_of_its_own_which_follows_it(run: RunDirectory) -> None:
    assert best(run) is None
    train(run, {1: 0.5, 2: 0.9, 3: 0.9, 4: 0.8, 5: 0.7, 6: 0.6})
    assert run.checkpoint_steps() == [6, 5, 2]
    assert best(run) == 2
    assert run.best_path.samefile(run.checkpoint_path(2))
    train(run, {2: 0.9, 7: 0.95, 8: 0.1})
    assert best(run) == 7
    run.checkpoint_path(7).unlink()  # by hand: the name alone is enough
    assert best(run) == 7


def test_where_a_disk_has_no_hard_links_the_best_is_a_copy(
    run: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuses(*_: Any, **__: Any) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuses)
    train(run, {1: 0.5, 2: 0.9, 3: 0.1})
    assert best(run) == 2
    assert run.best_path.read_bytes() == run.checkpoint_path(2).read_bytes()


@pytest.mark.parametrize("left", ["the old one", "none", "a broken one"])
def test_a_kill_before_the_best_is_named_is_made_up_for(left: str, run: RunDirectory) -> None:
    train(run, {1: 0.5})
    before = run.best_path.read_bytes()
    train(run, {1: 0.5, 2: 0.9})
    run.best_path.unlink()  # it shares its bytes with the checkpoint of step 2
    if left != "none":
        run.best_path.write_bytes(before if left == "the old one" else b"broken")
    assert best(run) == 2
    run.release()
    run.create({}, {}, state(2, {1: 0.5, 2: 0.9}).metrics)
    assert run.best_path.samefile(run.checkpoint_path(2))


def test_a_run_that_goes_on_from_before_its_best_forgets_it(run: RunDirectory) -> None:
    train(run, {1: 0.5, 2: 0.6, 3: 0.9})
    run.release()
    run.create({}, {}, state(2, {1: 0.5, 2: 0.6}).metrics)
    assert run.best_path.samefile(run.checkpoint_path(2))
    run.release()
    run.create({}, {}, [])
    assert not run.best_path.exists()


def test_a_checkpoint_just_saved_stays_beside_those_of_later_steps(run: RunDirectory) -> None:
    save(run, [5, 10, 20, 30])
    for path in (run.checkpoint_path(step) for step in (20, 30)):
        path.write_bytes(b"broken")
    save(run, [11, 12, 13], keep=2)
    assert run.checkpoint_steps() == [30, 20, 13, 12]
    save(run, [20, 30], keep=2)
    assert run.checkpoint_steps() == [30, 20]


def test_other_files_are_no_checkpoints(run: RunDirectory) -> None:
    save(run, [3])
    for name in ("step-3.h5", ".step-00000004.h5.17.tmp", "step-00000005.h5.bak", "notes"):
        (run.checkpoints / name).touch()
    assert run.checkpoint_steps() == [3]


def test_checkpoints_are_read_newest_first_and_broken_ones_named(run: RunDirectory) -> None:
    save(run, [1, 2, 3])
    broken = run.checkpoint_path(2)
    broken.write_bytes(broken.read_bytes()[:-1])
    found = list(run.read_checkpoints())
    assert [path for path, _ in found] == [run.checkpoint_path(step) for step in (3, 2, 1)]
    assert [type(each) for _, each in found] == [Checkpoint, CheckpointError, Checkpoint]
    assert str(broken) in str(found[1][1])


def test_a_later_start_removes_what_a_killed_write_left(run: RunDirectory) -> None:
    save(run, [1])
    before = files(run)
    (run.checkpoints / ".step-00000002.h5.17.tmp").touch()
    (run.path / ".options.json.17.tmp").touch()
    run.release()
    run.create({"lr": 0.2}, {})
    assert files(run) == before
    assert json.loads((run.path / "options.json").read_text()) == {"lr": 0.2}


def test_a_directory_in_use_is_refused_and_names_who_uses_it(run: RunDirectory) -> None:
    with pytest.raises(OptionError, match=f"in use by another run .process {os.getpid()} on "):
        RunDirectory(run.path).create({"lr": 0.2}, {})
    assert json.loads((run.path / "options.json").read_text()) == {"lr": 0.1}


def test_a_successor_waits_for_the_lock_and_finishes_the_metrics(run: RunDirectory) -> None:
    successor = RunDirectory(Path("elsewhere"))
    successor.join(run.path)
    lines = [{"epoch": 1, "step": 1, "test_accuracy": 0.5}]
    thread = threading.Thread(target=successor.take_over, args=(lines,))
    thread.start()
    assert (run.path / jsonl.NAME).read_text() == ""
    run.release()
    thread.join()
    assert (run.path / jsonl.NAME).read_text() == jsonl.text(lines)
    assert (run.path / csv.NAME).read_bytes().decode() == csv.text(lines)


def test_a_successor_leaves_a_directory_alone_that_another_job_has_taken(
    run: RunDirectory,
) -> None:
    successors = [RunDirectory(run.path), RunDirectory(run.path)]
    for successor in successors:
        successor.join(run.path)
    run.release()
    successors[0].take_over(
        [{"epoch": 1, "step": 1, "test_accuracy": 0.5}]
    )  # of the same job: the next may follow
    successors[0].release()
    run.create({}, {})
    run.release()
    before = files(run)
    with pytest.raises(TakenOverError, match=f"another run .process {os.getpid()} on "):
        successors[1].take_over([{"epoch": 1, "step": 1, "test_accuracy": 0.9}])
    assert files(run) == before


def test_a_successor_on_another_disk_begins_the_directory_there(tmp_path: Path) -> None:
    successor = RunDirectory(Path("runs/now"))
    successor.join(tmp_path / "runs/now")
    lines = [{"epoch": 1, "step": 1, "test_accuracy": 0.5}]
    successor.take_over(lines)
    assert (tmp_path / "runs/now" / jsonl.NAME).read_text() == jsonl.text(lines)


def test_a_new_start_forgets_how_the_last_one_ended(
    run: RunDirectory, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv(outcome.VARIABLE, str(tmp_path / "told"))
    run.write_outcome(0)
    assert told(run.path / outcome.NAME) == {"exit_code": 0}
    assert told(tmp_path / "told") == {"exit_code": 0, "run_dir": str(run.path)}
    run.release()
    run.create({}, {})
    assert told(run.path / outcome.NAME) == {}


def test_metrics_are_cut_to_those_of_the_checkpoint(run: RunDirectory) -> None:
    lines = [{"epoch": epoch, "step": epoch, "test_accuracy": 0.1 * epoch} for epoch in range(1, 6)]
    for count in range(1, 6):
        run.add_metrics(lines[:count])
    with (run.path / jsonl.NAME).open("a") as file:
        file.write('{"epoch": 6, "lo')
    run.release()
    run.create({}, {}, lines[:3])
    text = (run.path / jsonl.NAME).read_text()
    assert [json.loads(line) for line in text.splitlines()] == lines[:3]
    run.add_metrics(lines[:4])
    assert (run.path / jsonl.NAME).read_text() == jsonl.text(lines[:4])


class Failing(jsonl.JsonLines):
    """A logger whose disk is full for the second epoch, and takes half of its line."""

    def append(self, directory: Path, line: Any) -> None:
        if line["epoch"] == 2:
            (directory / jsonl.NAME).write_text('{"epo')
            raise OSError(errno.ENOSPC, "No space left on device")
        super().append(directory, line)


def test_metrics_that_a_full_disk_has_cost_are_written_with_the_next_epoch(
    run: RunDirectory,
) -> None:
    run.loggers = [Failing(), *run.loggers[1:]]
    lines = [{"epoch": epoch, "step": epoch, "test_accuracy": 0.1 * epoch} for epoch in range(1, 5)]
    run.add_metrics(lines[:1])
    with pytest.raises(OSError, match="No space left"):
        run.add_metrics(lines[:2])
    for count in (3, 4):
        run.add_metrics(lines[:count])
        assert (run.path / jsonl.NAME).read_text() == jsonl.text(lines[:count])
        assert (run.path / csv.NAME).read_bytes().decode() == csv.text(lines[:count])


@pytest.mark.parametrize("name", ["file", "file/run", "x" * 300])
def test_a_directory_that_cannot_be_is_an_option_error(name: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    run = RunDirectory(tmp_path / name)
    assert not run.has_run()
    with pytest.raises(OptionError) as caught:
        run.create({}, {})
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    assert f"--run_dir {run.path}" in message


@pytest.mark.usefixtures("_inside")
def test_new_runs_have_names_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "strftime", lambda _: "20260101-120000")
    names = []
    for run in [RunDirectory.new() for _ in range(12)]:
        run.create({}, {})
        names.append(run.path.name)
    assert names[:3] == ["20260101-120000", "20260101-120000-2", "20260101-120000-3"]
    assert len(set(names)) == 12
    assert {path.name for path in RUNS.iterdir()} == set(names)


@pytest.mark.usefixtures("_inside")
def test_the_newest_run_is_the_one_started_or_saved_last() -> None:
    assert RunDirectory.newest_first() == []
    for name, started in (("a", 10), ("b", 20), ("c", 15)):
        run = RunDirectory(RUNS / name)
        run.create({}, {})
        os.utime(run.path / "options.json", (started, started))
    (RUNS / "no-run").mkdir()
    assert [run.path.name for run in RunDirectory.newest_first()] == ["b", "c", "a"]
    os.utime(RunDirectory(RUNS / "c").save(state(1), 3), (30, 30))
    assert RunDirectory.newest_first()[0].path == RUNS / "c"


def test_the_text_of_an_error_is_kept_by_rank(run: RunDirectory) -> None:
    run.write_error(3, "what happened")
    assert (run.path / "errors" / "rank-3.txt").read_text() == "what happened"


def test_an_error_that_cannot_be_kept_is_no_other_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    RunDirectory(tmp_path / "file").write_error(0, "what happened")
