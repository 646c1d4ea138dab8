"""The number of ranks, and the MPI, change how fast and never what."""

from __future__ import annotations

import h5py
import numpy as np
import pytest

from dpcnn.run import checkpoint
from tests.launching import metrics, run

WORLDS = [(1, "mpich"), (2, "mpich"), (3, "mpich"), (4, "mpich")]
WORLDS += [(ranks, "openmpi") for ranks in (1, 2, 3, 4)]
STEPS = ("--max_steps", 60)


@pytest.fixture(scope="module")
def part(mnist, tmp_path_factory):
    """A file of 4,000 + 500 images of MNIST: reading all of them takes a second a run."""
    path = tmp_path_factory.mktemp("part") / "mnist.hdf5"
    with h5py.File(mnist) as whole, h5py.File(path, "w") as file:
        for name in ("x_train", "y_train", "x_test", "y_test"):
            file[name] = whole[name][: 4000 if "train" in name else 500]
    return path


@pytest.fixture(scope="module")
def one_process(part, tmp_path_factory):
    """60 steps without MPI."""
    cwd = tmp_path_factory.mktemp("one")
    return run(None, "--dataroot", part, *STEPS, cwd=cwd).sha


@pytest.mark.parametrize(("ranks", "mpi"), WORLDS)
def test_any_ranks_under_any_mpi_give_the_bits_of_one_process(
    ranks, mpi, one_process, part, tmp_path
):
    assert run(ranks, "--dataroot", part, *STEPS, cwd=tmp_path, mpi=mpi).sha == one_process


def test_a_large_minibatch_on_uneven_and_many_ranks_gives_the_bits_of_one(part, tmp_path):
    options = ("--dataroot", part, "--minibatch_size", 256, "--max_steps", 10)
    worlds = [None, 2, 3, 5, 8]
    assert len({run(ranks, *options, cwd=tmp_path).sha for ranks in worlds}) == 1


def test_a_smaller_last_step_and_evaluation_by_all_change_no_bit(part, tmp_path):
    options = ("--dataroot", part, "--train_limit", 1000, "--test_limit", 405, "--epochs", 2)
    shas, lines = set(), []
    for ranks, where in ((None, "rank0"), (3, "all"), (4, "all"), (2, "rank0")):
        name = f"{ranks}-{where}"
        where = ("--evaluate_on", where, "--run_dir", name)
        shas.add(run(ranks, *options, *where, cwd=tmp_path).sha)
        lines.append(metrics(tmp_path / name))
    assert len(shas) == 1
    assert all(others == lines[0] for others in lines)
    assert lines[0][-1]["step"] == 2 * 16


def test_a_micro_batch_made_smaller_by_the_ranks_is_said_in_the_header(small, tmp_path):
    options = ("--dataroot", small, "--max_steps", 2)
    alone = run(None, *options, "--microbatch_size", 12, cwd=tmp_path)
    crowd = run(6, *options, cwd=tmp_path)
    assert "micro-batches of 12" in crowd.stdout
    assert "the bits differ from a run with 16" in crowd.stdout
    assert crowd.sha == alone.sha


def test_the_fast_reduction_is_close_to_exact_and_repeats_itself(small, tmp_path):
    def weights(ranks, reduce, name):
        options = ("--dataroot", small, "--max_steps", 20, "--threads", 1, "--reduce", reduce)
        assert run(ranks, *options, "--run_dir", name, cwd=tmp_path).returncode == 0
        found = checkpoint.read(tmp_path / name / "checkpoints/step-00000020.h5")
        return np.concatenate([a.ravel() for layer in found.model.values() for a in layer.values()])

    exact = weights(None, "exact", "exact")
    fast = {ranks: weights(ranks, "fast", f"fast-{ranks}") for ranks in (None, 2, 3, 4)}
    for found in fast.values():
        np.testing.assert_allclose(found, exact, rtol=0, atol=1e-5)
    np.testing.assert_array_equal(weights(3, "fast", "again"), fast[3])
