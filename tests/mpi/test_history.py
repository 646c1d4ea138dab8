"""A run keeps what happened to it, and what each rank spent its time on."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.launching import ROOT, run, start, supervised, wait_for

RUN = ("--run_dir", "run")
SHARES = ("compute", "communication", "waiting", "evaluation", "saving")
KEYS = {"rank", "host", "process", "steps", "images", "seconds"}
KEYS |= {f"{name}_seconds" for name in SHARES}


def lines(directory: Path, name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (directory / name).read_text().splitlines()]


def events(directory: Path, *ignored: str) -> list[dict[str, Any]]:
    return [each for each in lines(directory, "events.jsonl") if each["event"] not in ignored]


def kinds(found: list[dict[str, Any]]) -> list[str]:
    return [each["event"] for each in found]


def test_the_seconds_of_every_rank_add_up(small, tmp_path):
    assert run(3, "--dataroot", small, "--epochs", 2, *RUN, cwd=tmp_path).returncode == 0
    for line in lines(tmp_path / "run", "metrics.jsonl"):
        assert [each["rank"] for each in line["ranks"]] == [0, 1, 2]
        assert {each["steps"] for each in line["ranks"]} == {16}
        assert sum(each["images"] for each in line["ranks"]) == 1000
        for each in line["ranks"]:
            assert each.keys() == KEYS
            shares = [each[f"{name}_seconds"] for name in SHARES]
            assert min(shares) >= 0
            assert each["compute_seconds"] > 0
            assert sum(shares) <= each["seconds"]
    first = line["ranks"][0]
    assert first["evaluation_seconds"] > 0
    assert first["saving_seconds"] > 0, "the state after epoch 1 is saved in epoch 2"


SLOW = """
import sys, time
from dpcnn.training import trainer
from dpcnn.training.api import main
evaluate = trainer.evaluate
def slow(*arguments):
    time.sleep(1)
    return evaluate(*arguments)
trainer.evaluate = slow
sys.exit(main())
"""


def test_ranks_wait_for_rank_0_while_it_evaluates(small, tmp_path):
    (tmp_path / "slow.py").write_text(SLOW)
    options = ("--dataroot", small, "--epochs", 1, "--evaluate_on", "rank0", *RUN)
    path = f"{tmp_path}:{ROOT}"
    assert run(2, *options, cwd=tmp_path, module="slow", PYTHONPATH=path).returncode == 0
    [line] = lines(tmp_path / "run", "metrics.jsonl")
    first, second = line["ranks"]
    assert first["evaluation_seconds"] > 1 > second["evaluation_seconds"]
    assert second["waiting_seconds"] > first["waiting_seconds"]


def test_a_resumed_epoch_says_which_of_its_steps_the_seconds_are_of(small, tmp_path):
    for ranks, steps in ((2, 20), (3, 32)):
        options = ("--dataroot", small, "--max_steps", steps, *RUN, "--resume", "auto")
        assert run(ranks, *options, cwd=tmp_path).returncode == 0
    _, line = lines(tmp_path / "run", "metrics.jsonl")
    assert [each["steps"] for each in line["ranks"]] == [12, 12, 12]
    found = events(tmp_path / "run")
    assert kinds(found) == ["start", "epoch", "end", "resume", "epoch", "end"]
    assert [each["step"] for each in found] == [0, 16, 20, 20, 32, 32]
    assert [each["world_size"] for each in found] == [2, 2, 2, 3, 3, 3]
    assert found[-1]["exit_code"] == 0


def test_a_killed_run_has_no_end_and_a_stopped_one_its_signal(small, tmp_path):
    options = ("--dataroot", small, "--epochs", 400, *RUN, "--resume", "auto")
    job = start(2, *options, cwd=tmp_path)
    wait_for(job, "Epoch 2,")
    os.killpg(job.pid, signal.SIGKILL)
    job.communicate()
    job = start(2, *options, cwd=tmp_path)
    wait_for(job, "Epoch")
    os.kill(job.pid, signal.SIGTERM)
    job.communicate()
    found = events(tmp_path / "run", "epoch")
    assert kinds(found) == ["start", "resume", "stop", "end"]
    assert (found[2]["signal"], found[3]["exit_code"]) == ("SIGTERM", 143)


def test_restarts_are_counted(small, tmp_path):
    options = ("--dataroot", small, "--epochs", 2, *RUN)
    dying = {"module": "tests.faults.dying", "DYING": "checkpoint 2 0 kill", "DYING_ONCE": "1"}
    result = run(2, *options, cwd=tmp_path, under=supervised(2), **dying)
    assert result.returncode == 0, result
    found = events(tmp_path / "run", "epoch")
    assert kinds(found) == ["start", "resume", "end"]
    assert [each.get("restart") for each in found] == [0, 1, None]


def test_a_death_is_kept_by_those_who_go_on(small, tmp_path):
    options = ("--dataroot", small, "--epochs", 2, *RUN)
    dying = {"module": "tests.faults.dying", "DYING": "step 20 0 kill", "DYING_ONCE": "1"}
    result = run(3, *options, cwd=tmp_path, mpi="elastic", under=supervised(3), **dying)
    assert result.returncode == 0, result
    found = events(tmp_path / "run", "epoch")
    assert (kinds(found)[0], kinds(found)[-1]) == ("start", "end")
    last = lines(tmp_path / "run", "metrics.jsonl")[-1]
    ranks = {each["rank"] for each in last["ranks"]}
    if "resume" in kinds(found):  # Open MPI 5.0.11 can crash in the survivors
        assert [each.get("restart") for each in found if each["event"] == "resume"] == [1]
        assert ranks == {0, 1, 2}
    else:
        first = next(each for each in found if each["event"] == "death")
        assert [each["rank"] for each in first["ranks"]] == [0]
        assert first["world_size"] == 2
        assert ranks <= {1, 2}, "a loaded machine may lose another"


@pytest.mark.parametrize("ranks", [None, 2])
def test_a_run_that_diverges_says_so(ranks, small, tmp_path):
    result = run(ranks, "--dataroot", small, "--lr", 1e6, *RUN, cwd=tmp_path)
    assert result.returncode == 1
    found = events(tmp_path / "run", "epoch")
    assert kinds(found) == ["start", "divergence", "end"]
    assert found[1]["error"] in result.stderr
    assert found[2]["exit_code"] == 1
