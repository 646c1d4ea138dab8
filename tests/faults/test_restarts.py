"""Supervised starts: what was broken off goes on, and only what is done counts as done."""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import signal
import subprocess
import time
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from dpcnn.run.directory import RunDirectory
from tests.launching import (
    Result,
    end,
    metrics,
    run,
    session_of,
    start,
    started,
    supervised,
    wait_for,
    wait_until,
)

# Standard output as a full disk, and as a pipe whose reader has gone.
LOGS = {
    "full": "exec >/dev/full",
    "closed": "coproc true; exec >&${COPROC[1]}; wait $COPROC_PID",
}
STEPS = ("--epochs", 4, "--checkpoint_every", "5st")


@pytest.fixture(scope="module")
def undisturbed(alone):
    """The run directory and SHA-256 of one process."""
    return alone("--epochs", 4)


def supervise(restarts: int, *arguments: Any, **more: Any) -> subprocess.Popen[str]:
    """Start a module under supervision, as launch/local and launch/elastic do."""
    return start(*arguments, under=supervised(restarts), **more)


def end_dying(plan: str, restarts: int, ranks: int, small: Path, cwd: Path, mpi: str) -> Result:
    """Wait for a supervised job in which this plan of deaths comes true at every start."""
    options = ("--dataroot", small, *STEPS, "--run_dir", "run")
    module = "tests.faults.dying"
    return end(supervise(restarts, ranks, *options, cwd=cwd, mpi=mpi, module=module, DYING=plan))


def newest_step(run_dir: Path) -> int:
    return max(RunDirectory(run_dir).checkpoint_steps(), default=-1)


def kill_all_again_and_again(times: int, seed: int, small: Path, cwd: Path) -> Result:
    """Kill everything but the supervisor: two times of three after progress, one in start-up."""
    rng = random.Random(seed)
    options = ("--dataroot", small, *STEPS, "--run_dir", "run")
    job = supervise(times, 2, *options, cwd=cwd)
    seen = -1
    for kill in range(times):
        if kill % 3 == seed % 3:
            while len(started(job)) < 4 and job.poll() is None:  # Output's reader, mpirun, ranks
                time.sleep(0.005)
            time.sleep(rng.random() * 2)
        else:
            while newest_step(cwd / "run") <= seen and job.poll() is None:
                time.sleep(0.005)
            time.sleep(rng.random() * 0.1)
        seen = newest_step(cwd / "run")
        for pid in started(job):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    return end(job)


def check_kills(times: int, seed: int, small: Path, undisturbed: tuple[Path, str], cwd: Path):
    result = kill_all_again_and_again(times, seed, small, cwd)
    assert result.returncode == 0, result
    assert result.sha == undisturbed[1], result
    assert metrics(cwd / "run") == metrics(undisturbed[0])


@pytest.mark.parametrize("seed", range(2))
def test_a_job_killed_five_times_ends_with_the_same_bits(seed, small, undisturbed, tmp_path):
    """A third of the kills are in the start-up."""
    check_kills(5, seed, small, undisturbed, tmp_path)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(2, 20))
def test_more_killed_jobs_end_with_the_same_bits(seed, small, undisturbed, tmp_path):
    check_kills(5, seed, small, undisturbed, tmp_path)


@pytest.mark.parametrize("mpi", ["mpich", "elastic"])
def test_without_restarts_left_a_killed_job_is_no_success(mpi, small, tmp_path):
    plan = ";".join(f"step 40 {rank} kill" for rank in range(3))
    result = end_dying(plan, 0, 3, small, tmp_path, mpi)
    assert result.returncode == 1
    [line] = [each for each in result.stderr.splitlines() if each.startswith("dpcnn: error: ")]
    assert re.search(
        r"interrupted after saving step \d+; resume it with: .*--run_dir run --resume auto", line
    )
    assert run(2, "--run_dir", "run", "--resume", "auto", cwd=tmp_path).returncode == 0


@pytest.mark.parametrize("mpi", ["mpich", "elastic"])
def test_a_job_that_gets_nowhere_is_given_up(mpi, small, tmp_path):
    plan = ";".join(f"step 3 {rank} kill" for rank in range(2))
    result = end_dying(plan, 2, 2, small, tmp_path, mpi)
    assert result.returncode == 1
    assert result.stderr.count("restart 1 of 2") == result.stderr.count("restart 2 of 2") == 1
    assert "before its first checkpoint, 2 restarts later too; resume it with: " in result.stderr


@pytest.mark.parametrize("exchange", [1, 4])
def test_a_rank_that_dies_before_training_is_one_line_and_a_restart(exchange, small, tmp_path):
    result = end_dying(f"exchange {exchange} 1 kill", 1, 3, small, tmp_path, "elastic")
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    assert result.stderr.count("dpcnn: error: lost a rank ") == 2
    assert "restart 1 of 1" in result.stderr


@pytest.mark.parametrize("mpi", ["mpich", "elastic"])
def test_an_error_that_would_come_again_is_not_tried_again(mpi, small, tmp_path):
    result = end_dying("step 3 1 bug", 9, 2, small, tmp_path, mpi)
    assert result.returncode == 1
    assert result.stderr.count("Traceback") == 1
    assert "restart" not in result.stderr
    wrong = end(supervise(9, 2, "--lr", "nan", cwd=tmp_path, mpi=mpi))
    assert wrong.returncode == 2
    assert "restart" not in wrong.stderr
    asked = end(supervise(9, 2, "--help", cwd=tmp_path, mpi=mpi))
    assert (asked.returncode, "usage:" in asked.stdout) == (0, True)


@pytest.mark.parametrize(
    ("name", "mpi"),
    [
        *product(["SIGTERM", "SIGINT", "SIGUSR1"], ["mpich", "openmpi", "elastic"]),
        *(("SIGHUP", "mpich"), ("SIGUSR2", "elastic"), ("SIGXCPU", "openmpi")),
    ],
)
def test_a_signal_to_the_supervisor_saves_and_stops(name, mpi, small, tmp_path):
    number = getattr(signal, name)
    options = ("--dataroot", small, "--epochs", 4000, "--run_dir", "run")
    job = supervise(9, 2, *options, cwd=tmp_path, mpi=mpi)
    assert job.stdout is not None
    for line in job.stdout:
        if line.startswith("Epoch 1,"):
            break
    job.send_signal(number)
    result = end(job)
    assert result.returncode == 128 + number, result
    assert f"Stopped by {name}" in result.stdout
    assert "restart" not in result.stderr
    [step] = re.findall(r"Stopped by \w+; step ([\d,]+) is saved", result.stdout)
    assert newest_step(tmp_path / "run") == int(step.replace(",", ""))


@pytest.mark.parametrize(("mpi", "log"), [("mpich", "full"), ("elastic", "closed")])
def test_a_log_that_cannot_be_written_costs_the_log_alone(mpi, log, small, tmp_path, undisturbed):
    options = ("--dataroot", small, "--epochs", 4, "--run_dir", "run")
    under = ("bash", "-c", f'{LOGS[log]}; exec "$@"', "bash", *supervised(0))
    result = end(start(2, *options, cwd=tmp_path, mpi=mpi, under=under))
    assert (result.returncode, result.stdout) == (0, "")
    assert result.stderr.count("warning: standard output cannot be written any more") == 1
    assert metrics(tmp_path / "run") == metrics(undisturbed[0])


@pytest.mark.parametrize("mpi", ["mpich", "elastic"])
def test_what_ranks_print_does_not_depend_on_mpirun(mpi, small, tmp_path, undisturbed):
    """Open MPI's may hang after a death, and keep what it has read from the others."""
    result = end_dying("step 6 0 stop_mpirun", 0, 2, small, tmp_path, mpi)
    assert result.returncode == 0, result
    assert re.findall(r"^Epoch (\d),", result.stdout, re.MULTILINE) == list("1234")
    assert result.stdout.splitlines()[-1] == f"Weights SHA-256: {undisturbed[1]}"


@pytest.mark.parametrize("mpi", ["mpich", "elastic"])
def test_ranks_whose_supervisor_was_killed_save_and_stop(mpi, small, tmp_path):
    options = ("--dataroot", small, "--epochs", 4000, "--run_dir", "run")
    job = supervise(9, 2, *options, cwd=tmp_path, mpi=mpi)
    wait_for(job, "Epoch 1,")
    ranks = [pid for pid in started(job) if session_of(pid) == job.pid]
    job.kill()
    wait_until(lambda: not any(session_of(pid) == job.pid for pid in ranks))
    code = 128 + signal.SIGTERM
    assert json.loads((tmp_path / "run/outcome.json").read_text()) == {"exit_code": code}
    result = run(2, "--run_dir", "run", "--resume", "auto", "--max_steps", 1, cwd=tmp_path)
    assert result.returncode == 0, result
