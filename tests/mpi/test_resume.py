"""However a run was stopped, and with however many ranks it goes on, it ends the same."""

from __future__ import annotations

import os
import shutil
import signal

import numpy as np
import pytest

from dpcnn.run.directory import RunDirectory
from tests.launching import ROOT, end, metrics, run, start, wait_for

RUN = ("--run_dir", "run")
AUTO = (*RUN, "--resume", "auto")


@pytest.fixture(scope="module")
def undisturbed(alone):
    """Four epochs of 16 steps in one process: the run directory and the SHA-256."""
    return alone("--epochs", 4)


def test_stops_at_random_steps_and_other_ranks_change_nothing(small, undisturbed, tmp_path):
    steps = sorted(np.random.default_rng(0).choice(np.arange(1, 64), 6, replace=False))
    for number, step in enumerate([*steps, None]):
        limit = ("--max_steps", "none" if step is None else step)
        ranks = (3, None, 2, 4)[number % 4]
        options = ("--dataroot", small, "--epochs", 4, *AUTO, *limit)
        result = run(ranks, *options, cwd=tmp_path)
        assert result.returncode == 0, result.stderr
    directory, sha = undisturbed
    assert result.sha == sha
    assert metrics(tmp_path / "run") == metrics(directory)


STOPS_ITSELF = """
import os, signal, sys
from dpcnn.training import api
from dpcnn.training.trainer import Trainer
step = Trainer.step
def stopped(self, minibatch):
    if f"{self.state.progress.step} {self.comm.rank}" == os.environ["STOP_AT"]:
        os.kill(os.getpid(), signal.SIGTERM)
    return step(self, minibatch)
Trainer.step = stopped
sys.exit(api.main())
"""


def test_sigterm_to_one_rank_at_ten_random_steps_and_other_ranks_change_nothing(
    small, undisturbed, tmp_path
):
    (tmp_path / "stops_itself.py").write_text(STOPS_ITSELF)
    rng = np.random.default_rng(1)
    steps = sorted(rng.choice(np.arange(63), 10, replace=False))
    options = ("--dataroot", small, "--epochs", 4, *AUTO)
    for number, step in enumerate(steps):
        ranks = (3, 1, 2, 4)[number % 4]
        environment = {
            "STOP_AT": f"{step} {rng.integers(ranks)}",
            "PYTHONPATH": f"{tmp_path}:{ROOT}",
        }
        job = start(ranks, *options, cwd=tmp_path, module="stops_itself", **environment)
        result = end(job)
        assert result.returncode == 128 + signal.SIGTERM, result.stderr
        assert f"Stopped by SIGTERM; step {step + 1} is saved" in result.stdout
    directory, sha = undisturbed
    assert run(3, *options, cwd=tmp_path).sha == sha
    assert metrics(tmp_path / "run") == metrics(directory)


def test_a_signal_saves_the_step_and_another_world_goes_on(small, tmp_path):
    """Six rounds, each ended by a signal after its header, and one that may finish.

    The last three signals end MPICH's mpirun, but for the supervisor of launch/local.
    """
    rounds = {"TERM": 3, "INT": 2, "USR1": 4, "USR2": None, "HUP": None, "XCPU": None}
    for name, ranks in rounds.items():
        number = getattr(signal, f"SIG{name}")
        job = start(ranks, "--dataroot", small, "--epochs", 400, *AUTO, cwd=tmp_path)
        wait_for(job, "dense1")
        os.kill(job.pid, number)
        result = end(job)
        assert result.returncode == 128 + number, result.stderr
        assert f"Stopped by SIG{name}" in result.stdout
    steps = RunDirectory(tmp_path / "run").checkpoint_steps()[0]
    until = (steps // 16 + 1) * 16
    options = ("--dataroot", small, "--epochs", 400, "--max_steps", until)
    resumed = run(2, *options, *AUTO, cwd=tmp_path)
    straight = run(None, *options, "--run_dir", "straight", cwd=tmp_path)
    assert resumed.sha == straight.sha
    assert metrics(tmp_path / "run") == metrics(tmp_path / "straight")


def test_a_whole_run_killed_in_epoch_3_goes_on_with_the_same_command(small, undisturbed, tmp_path):
    options = ("--dataroot", small, "--epochs", 4, "--checkpoint_every", "5st", *AUTO)
    job = start(4, *options, cwd=tmp_path)
    wait_for(job, "Epoch 2,")
    os.killpg(job.pid, signal.SIGKILL)
    job.communicate()
    result = run(4, *options, cwd=tmp_path)
    directory, sha = undisturbed
    assert result.sha == sha
    assert metrics(tmp_path / "run") == metrics(directory)


def test_the_newest_run_is_resumed_without_a_name(small, tmp_path):
    first = run(None, "--dataroot", small, "--epochs", 1, cwd=tmp_path)
    again = run(2, "--resume", "auto", "--epochs", 2, cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert first.sha != again.sha
    [directory] = (tmp_path / "runs").iterdir()
    assert [line["epoch"] for line in metrics(directory)] == [1, 2]


def test_a_checkpoint_goes_on_in_another_run_directory(undisturbed, tmp_path):
    directory, sha = undisturbed
    path = RunDirectory(directory).checkpoint_path(32)
    result = run(None, "--resume", path, "--run_dir", "other", cwd=tmp_path)
    assert result.sha == sha
    assert metrics(tmp_path / "other") == metrics(directory)


def test_a_damaged_newest_checkpoint_is_named_and_the_one_before_is_used(undisturbed, tmp_path):
    directory, sha = undisturbed
    shutil.copytree(directory, tmp_path / "run")
    newest = RunDirectory(tmp_path / "run").checkpoint_path(64)
    content = bytearray(newest.read_bytes())
    content[100_000] ^= 1
    newest.write_bytes(content)
    result = run(2, *AUTO, cwd=tmp_path)
    assert result.sha == sha
    assert result.stderr.startswith("warning: run/checkpoints/step-00000064.h5: damaged")


def test_options_that_contradict_the_checkpoint_are_all_named(undisturbed, mnist, tmp_path):
    shutil.copytree(undisturbed[0], tmp_path / "run")
    before = sorted(path.stat().st_mtime_ns for path in (tmp_path / "run").rglob("*"))
    wrong = ("--n_filter", 16, "--seed", 5, "--minibatch_size", 32)
    result = run(2, *AUTO, *wrong, cwd=tmp_path)
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1
    for words in ("--n_filter is 16, expected 32", "--seed is 5", "--minibatch_size is 32"):
        assert words in result.stderr
    other = run(2, *AUTO, "--dataroot", mnist, cwd=tmp_path)
    assert other.returncode == 2
    assert "not the data of the checkpoint" in other.stderr
    assert before == sorted(path.stat().st_mtime_ns for path in (tmp_path / "run").rglob("*"))


def test_a_directory_that_holds_a_run_is_not_overwritten(undisturbed, small, tmp_path):
    shutil.copytree(undisturbed[0], tmp_path / "run")
    result = run(2, "--dataroot", small, *RUN, cwd=tmp_path)
    assert result.returncode == 2
    assert "holds a run already" in result.stderr
    assert metrics(tmp_path / "run") == metrics(undisturbed[0])
