"""Everything that real networks need at once: one SHA-256, whatever trains it, stops it or dies."""

from __future__ import annotations

import hashlib
import json
import signal

import numpy as np
import pytest

from dpcnn.run import checkpoint
from tests.launching import ROOT, end, metrics, run, start, supervised
from tests.mpi.test_resume import STOPS_ITSELF

# 930 images to train on and 70 to validate on: 14 steps of 64 and one of 34, thrice.
OPTIONS = (
    *("--model", "tests.mpi.real_network:network", "--epochs", 3, "--validation", 70),
    *("--augment", "flip,crop:2,rotate:10,scale:0.1,cutout:6,brightness:0.2,mixup:0.2"),
    *("--normalize", "standard", "--label_smoothing", 0.1, "--class_weights", "balanced"),
    *("--optimizer", "adamw", "--lr", 0.01, "--weight_decay", 0.05, "--clip_norm", 1),
    *("--schedule", "onecycle", "--ema", 0.9, "--run_dir", "run"),
)
STEPS = 45


def digests(directory, step=STEPS):
    """Return the SHA-256 of all arrays of a checkpoint: trained, averaged and of the optimizer."""
    found = checkpoint.read(directory / f"checkpoints/step-{step:08}.h5")
    groups = {"optimizer": {"slots": found.optimizer}} | {
        "model": found.model, "average": found.average
    }  # fmt: skip
    return {
        name: hashlib.sha256(
            b"".join(array.tobytes() for arrays in group.values() for array in arrays.values())
        ).hexdigest()
        for name, group in groups.items()
    }


@pytest.fixture(scope="module")
def trained(small, tmp_path_factory):
    """45 steps in one process: the run directory, and the result."""
    cwd = tmp_path_factory.mktemp("real")
    result = run(None, "--dataroot", small, *OPTIONS, cwd=cwd)
    assert result.returncode == 0, result.stderr
    return cwd / "run", result


def check_same(result, directory, trained):
    """Hold that a run in this directory has the weights, averages, statistics and metrics."""
    assert result.returncode == 0, result.stderr
    assert result.sha == trained[1].sha
    assert digests(directory) == digests(trained[0])
    assert metrics(directory) == metrics(trained[0])


@pytest.mark.parametrize(
    ("ranks", "mpi", "evaluators"),
    [
        (1, "openmpi", "rank0"),
        (2, "mpich", "rank0"),
        (3, "openmpi", "all"),
        (4, "mpich", "all"),
    ],
)
def test_any_ranks_under_any_mpi_give_the_bits_of_one_process(
    trained, ranks, mpi, evaluators, small, tmp_path
):
    options = ("--dataroot", small, *OPTIONS, "--evaluate_on", evaluators)
    check_same(run(ranks, *options, cwd=tmp_path, mpi=mpi), tmp_path / "run", trained)


def test_sigterm_at_random_steps_and_other_ranks_change_nothing(trained, small, tmp_path):
    (tmp_path / "stops_itself.py").write_text(STOPS_ITSELF)
    steps = sorted(np.random.default_rng(3).choice(np.arange(1, STEPS - 1), 5, replace=False))
    options = ("--dataroot", small, *OPTIONS, "--resume", "auto")
    for number, step in enumerate(steps):
        ranks, mpi = ((3, "mpich"), (2, "openmpi"), (1, "mpich"), (4, "mpich"))[number % 4]
        environment = {"STOP_AT": f"{step} {ranks - 1}", "PYTHONPATH": f"{tmp_path}:{ROOT}"}
        job = start(ranks, *options, cwd=tmp_path, mpi=mpi, module="stops_itself", **environment)
        result = end(job)
        assert f"Stopped by SIGTERM; step {step + 1} is saved" in result.stdout, result.stderr
        assert result.returncode == 128 + signal.SIGTERM
    check_same(run(2, *options, cwd=tmp_path), tmp_path / "run", trained)


def test_two_ranks_that_die_and_are_replaced_change_nothing(trained, small, tmp_path):
    result = run(
        *(3, "--dataroot", small, *OPTIONS, "--respawn"),
        cwd=tmp_path,
        mpi="elastic",
        module="tests.faults.dying",
        under=supervised(3),
        DYING="step 9 1 kill;step 26 0 kill",
        DYING_ONCE="1",
    )
    check_same(result, tmp_path / "run", trained)
    [*_, last] = map(json.loads, (tmp_path / "run/events.jsonl").read_text().splitlines())
    assert last["world_size"] == 3


def test_verify_makes_it_again_on_other_ranks(trained, tmp_path):
    model = ("--model", "tests.mpi.real_network:network")
    result = run(2, trained[0], "--all", *model, cwd=tmp_path, module="dpcnn.verify")
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[-1] == f"{STEPS} steps verified"


def test_a_network_of_the_zoo_gives_the_same_bits_under_both_mpis(small, tmp_path):
    options = (
        *("--model", "resnet8", "--dataroot", small, "--train_limit", 50, "--test_limit", 20),
        *("--epochs", 3, "--minibatch_size", 32, "--microbatch_size", 8, "--augment", "shift:2"),
        *("--normalize", "per_image", "--validation", 0.1),
        *("--momentum", 0.9, "--nesterov", "--weight_decay", 1e-4, "--schedule", "cosine"),
        *("--warmup", "2st"),
    )  # fmt: skip
    found = []
    for ranks, mpi in ((None, "mpich"), (2, "mpich"), (3, "openmpi")):
        directory = tmp_path / f"{ranks}-{mpi}"
        sha = run(ranks, *options, "--run_dir", directory, cwd=tmp_path, mpi=mpi).sha
        found.append((sha, metrics(directory), digests(directory, 6)))
    assert found == [found[0]] * 3
