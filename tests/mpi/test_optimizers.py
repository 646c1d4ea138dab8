"""AdamW, one-cycle, clipping and averages: one SHA-256, whatever stops the run and goes on."""

from __future__ import annotations

import json
import signal

import numpy as np
import pytest

import dpcnn
from dpcnn.run import checkpoint
from tests.launching import ROOT, end, metrics, run, start
from tests.mpi.test_resume import STOPS_ITSELF

OPTIONS = (
    *("--epochs", 3, "--n_filter", 4, "--optimizer", "adamw", "--lr", 0.01, "--clip_norm", 1),
    *("--schedule", "onecycle", "--ema", 0.9, "--run_dir", "run"),
)


@pytest.fixture(scope="module")
def trained(small, tmp_path_factory):
    """48 steps in one process: the directory it ran in, and its result."""
    cwd = tmp_path_factory.mktemp("optimizers")
    result = run(None, "--dataroot", small, *OPTIONS, cwd=cwd)
    assert result.returncode == 0, result.stderr
    return cwd, result


@pytest.mark.parametrize(("ranks", "mpi"), [(3, "mpich"), (2, "openmpi"), (4, "elastic")])
def test_any_ranks_under_any_mpi_give_the_bits_of_one_process(trained, ranks, mpi, small, tmp_path):
    result = run(ranks, "--dataroot", small, *OPTIONS, cwd=tmp_path, mpi=mpi)
    assert result.sha == trained[1].sha
    assert metrics(tmp_path / "run") == metrics(trained[0] / "run")


def test_sigterm_at_random_steps_and_other_ranks_change_nothing(trained, small, tmp_path):
    (tmp_path / "stops_itself.py").write_text(STOPS_ITSELF)
    steps = sorted(np.random.default_rng(2).choice(np.arange(1, 47), 5, replace=False))
    options = ("--dataroot", small, *OPTIONS, "--resume", "auto")
    for number, step in enumerate(steps):
        ranks = (3, 1, 2, 4, 1)[number]
        environment = {"STOP_AT": f"{step} {ranks - 1}", "PYTHONPATH": f"{tmp_path}:{ROOT}"}
        job = start(ranks, *options, cwd=tmp_path, module="stops_itself", **environment)
        assert end(job).returncode == 128 + signal.SIGTERM
    assert run(2, *options, cwd=tmp_path).sha == trained[1].sha
    assert metrics(tmp_path / "run") == metrics(trained[0] / "run")


def test_a_rank_that_dies_and_is_replaced_changes_nothing(trained, small, tmp_path):
    result = run(
        *(3, "--dataroot", small, *OPTIONS, "--respawn"),
        cwd=tmp_path,
        mpi="elastic",
        module="tests.faults.dying",
        DYING="step 20 1 kill;step 30 0 kill",
        DYING_ONCE="1",
    )
    assert result.returncode == 0, result.stderr
    assert result.sha == trained[1].sha
    assert metrics(tmp_path / "run") == metrics(trained[0] / "run")


def test_verify_makes_it_again_and_names_a_changed_average_or_slot(trained, tmp_path):
    cwd, _ = trained
    result = run(2, cwd / "run", "--all", cwd=tmp_path, module="dpcnn.verify")
    assert result.stdout.splitlines()[-1] == "48 steps verified", result.stderr
    path = cwd / "run/checkpoints/step-00000048.h5"
    content = path.read_bytes()
    try:
        for name in ("average", "optimizer"):
            changed = checkpoint.read(path)
            arrays = {"average": changed.average["dense1"], "optimizer": changed.optimizer}[name]
            next(iter(arrays.values())).flat[0] += 1
            checkpoint.write(path, changed)
            result = run(None, cwd / "run", cwd=tmp_path, module="dpcnn.verify")
            assert result.returncode == 1
            assert f"epoch 3: {name}" in result.stderr
            path.write_bytes(content)
    finally:
        path.write_bytes(content)


def test_the_averages_are_what_is_evaluated_and_exported_under_the_trained_hash(trained, tmp_path):
    cwd, result = trained
    last = json.loads((cwd / "run/metrics.jsonl").read_text().splitlines()[-1])
    evaluated = run(None, cwd / "run", "--json", cwd=tmp_path, module="dpcnn.evaluate")
    found = json.loads(evaluated.stdout)
    assert (found["loss"], found["accuracy"]) == (last["test_loss"], last["test_accuracy"])
    assert found["weights_sha256"] == result.sha == last["weights_sha256"]
    assert found["ema"] == 0.9
    model = dpcnn.load(cwd / "run")
    average = model.checkpoint.average["dense1"]["W"]
    assert (average != model.checkpoint.model["dense1"]["W"]).any()
    np.testing.assert_array_equal(model.network.named_values()["dense1"]["W"], average)
    exported = run(None, cwd / "run", "model.npz", cwd=tmp_path, module="dpcnn.export")
    assert exported.returncode == 0, exported.stderr
    with np.load(tmp_path / "model.npz") as file:
        np.testing.assert_array_equal(file["dense1/W"], average)
        assert json.loads(str(file["metadata"]))["weights_sha256"] == result.sha


def test_a_run_from_python_returns_the_averages_that_it_has_saved(small, tmp_path):
    options = {"n_filter": 2, "max_steps": 20, "epochs": 2, "ema": 0.9, "momentum": 0.9}
    trained = dpcnn.train(dataroot=small, run_dir=tmp_path / "run", progress="silent", **options)
    saved = dpcnn.load(tmp_path / "run")
    np.testing.assert_array_equal(trained.model.network.values, saved.network.values)
    assert trained.weights_sha256 == trained.model.weights_sha256 == saved.weights_sha256
    assert trained.weights_sha256 != trained.model.network.weights_sha256()


def test_the_length_of_a_run_whose_learning_rates_depend_on_it_is_fixed(trained, tmp_path):
    path = trained[0] / "run/checkpoints/step-00000032.h5"
    options = ("--resume", path, "--epochs", 5, "--run_dir", "other")
    result = run(None, *options, cwd=tmp_path)
    assert result.returncode == 2
    assert (
        "--epochs is 5, expected 3, on which its learning rates or averages depend" in result.stderr
    )
    assert result.stderr.count("\n") == 1
