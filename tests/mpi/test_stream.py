"""Streaming: the bits are the order's, and ranks, stops, deaths and broken disks change none.

On a file of 1,000 images with windows of 161 (small_windows.py), under a real mpirun.
"""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from tests.launching import Result, end, metrics, run, start, supervised, wait_for

STEPS = ("--epochs", 3, "--run_dir", "run")
WORLDS = [(1, "mpich"), (2, "mpich"), (3, "mpich"), (2, "openmpi")]


def small_windows(ranks: int | None, *options: Any, **more: Any) -> Result:
    return run(ranks, *options, module="tests.mpi.small_windows", **more)


@pytest.fixture(scope="module")
def undisturbed(small, tmp_path_factory):
    """Three epochs of 16 steps in one process: the run directory and the SHA-256."""
    cwd = tmp_path_factory.mktemp("undisturbed")
    result = small_windows(None, "--dataroot", small, "--stream", *STEPS, cwd=cwd)
    assert "read in chunks of 23 images, shuffled in windows of 161" in result.stdout
    return cwd / "run", result.sha


@pytest.mark.parametrize(("ranks", "mpi"), WORLDS)
def test_any_ranks_give_the_bits_of_one_process(ranks, mpi, small, undisturbed, tmp_path):
    options = ("--dataroot", small, "--stream", *STEPS)
    result = small_windows(ranks, *options, cwd=tmp_path, mpi=mpi)
    assert result.sha == undisturbed[1]
    assert metrics(tmp_path / "run") == metrics(undisturbed[0])


def test_stops_and_other_ranks_change_nothing(small, undisturbed, tmp_path):
    options = ("--dataroot", small, "--stream", *STEPS, "--resume", "auto")
    for ranks, until in ((2, 3), (3, 21), (1, 32), (None, 47), (2, "none")):
        result = small_windows(ranks, *options, "--max_steps", until, cwd=tmp_path)
        assert result.returncode == 0, result.stderr
    assert result.sha == undisturbed[1]
    assert metrics(tmp_path / "run") == metrics(undisturbed[0])


@pytest.mark.parametrize(
    ("plan", "more"),
    [
        ("step 6 1 kill;step 20 0 kill", ()),
        ("step 21 1 disk", ()),
        ("step 6 1 kill", ("--respawn",)),
    ],
)
def test_a_rank_that_dies_or_whose_disk_breaks_changes_nothing(
    plan, more, small, undisturbed, tmp_path
):
    result = run(
        3,
        *("--dataroot", small, "--stream", *STEPS, "--checkpoint_every", "7st", *more),
        cwd=tmp_path,
        mpi="elastic",
        module="tests.faults.dying",
        under=supervised(3),
        SMALL_WINDOWS="1",
        DYING=plan,
        DYING_ONCE="1",
    )
    assert result.sha == undisturbed[1]
    assert "lost rank 1 on " in result.stderr
    assert ("; replaced; 3 ranks go on" in result.stderr) == ("--respawn" in more)
    assert metrics(tmp_path / "run") == metrics(undisturbed[0])
    if "disk" in plan:
        assert "cannot be read (Input/output error)" in result.stderr
        assert "Traceback" not in result.stderr


def test_without_elastic_a_broken_disk_ends_the_job_in_one_line(small, tmp_path):
    options = ("--dataroot", small, "--stream", *STEPS)
    environment = {"RUN": "tests.faults.dying", "DYING": "step 6 1 disk"}
    result = small_windows(2, *options, cwd=tmp_path, **environment)
    assert result.returncode == 1
    lines = [line for line in result.stderr.splitlines() if line.startswith("dpcnn: error: ")]
    assert lines == [f"dpcnn: error: {small}: cannot be read (Input/output error)"]
    assert "Traceback" not in result.stderr
    assert not (tmp_path / "run/outcome.json").exists()  # it may go well when it is tried again


def test_a_file_cut_off_while_it_is_read_ends_the_job_in_its_line(small, tmp_path):
    copy = shutil.copy(small, tmp_path / "copy.hdf5")
    options = ("--dataroot", copy, "--stream", "--epochs", 4000)
    job = start(2, *options, cwd=tmp_path, module="tests.mpi.small_windows")
    wait_for(job, "Epoch 1,")
    os.truncate(copy, os.path.getsize(copy) // 4)
    result = end(job)
    assert result.returncode == 1
    assert re.search(r"^dpcnn: error: \S*/copy.hdf5: ends at byte", result.stderr, re.MULTILINE)
    assert "Traceback" not in result.stderr


def test_streamed_runs_can_be_verified_and_evaluated_and_go_on_as_such_only(undisturbed, tmp_path):
    directory = shutil.copytree(undisturbed[0], tmp_path / "run")
    verified = small_windows(2, directory, "--all", cwd=tmp_path, RUN="dpcnn.verify")
    assert verified.stdout.splitlines()[-1] == "48 steps verified"
    options = (directory, "--split", "train")
    evaluated = run(2, *options, cwd=tmp_path, module="dpcnn.evaluate")
    assert "1,000 train images" in evaluated.stdout
    refused = run(None, "--resume", directory, "--stream", "false", cwd=tmp_path)
    assert refused.returncode == 2
    assert "--stream is false, expected true" in refused.stderr


def test_shuffle_and_stream_decide_the_bits(small, undisturbed, tmp_path):
    def sha(*options: Any) -> str:
        return small_windows(None, "--dataroot", small, *options, cwd=tmp_path).sha

    shuffles = [("--stream", "--shuffle", shuffle, "--epochs", 3) for shuffle in ("once", "none")]
    shas = {undisturbed[1], sha("--epochs", 3), *(sha(*options) for options in shuffles)}
    assert len(shas) == 4
    none = ("--shuffle", "none", "--epochs", 1)
    assert sha("--stream", *none) == sha(*none)  # the order of the file is the same


def test_other_forms_of_the_file_and_drawn_digits_are_streamed_to_the_same_bits(
    small, undisturbed, tmp_path
):
    folder = tmp_path / "tmp"
    folder.mkdir()
    with h5py.File(small) as file, h5py.File(tmp_path / "other.hdf5", "w") as other:
        for key in file:
            if key[0] == "x":
                x = (file[key][()] / 255).astype("f8")
                other.create_dataset(key, data=x, compression="gzip", shuffle=True)
            else:
                other[key] = file[key][()]
    options = ("--dataroot", tmp_path / "other.hdf5", "--stream", *STEPS)
    assert small_windows(2, *options, cwd=tmp_path, TMPDIR=str(folder)).sha == undisturbed[1]
    assert list(folder.iterdir()) == []
    digits = ("--dataroot", "digits", "--stream", "--max_steps", 2)
    assert run(2, *digits, cwd=tmp_path).returncode == 0


ROWS = 1_000_000  # of 784 bytes
MEMORY = 450 << 20  # of addresses of each rank, of which MPI and the libraries take 240 MB


def sparse(path: Path) -> Path:
    """Write a dataset of 784 MB of zeros, which takes next to no disk."""
    layout = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    layout.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    layout.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    space = h5py.h5s.create_simple((ROWS, 784))
    with h5py.File(path, "w") as file:
        h5py.h5d.create(file.id, b"x_train", h5py.h5t.STD_U8LE, space, layout)
        file["y_train"] = np.arange(ROWS, dtype=np.uint8) % 10
        file["x_test"] = np.zeros((10, 784), np.uint8)
        file["y_test"] = np.zeros(10, np.uint8)
    return path


def test_a_file_larger_than_the_memory_is_trained_on_with_stream_alone(tmp_path):
    path = sparse(tmp_path / "large.hdf5")
    assert path.stat().st_size > 1.6 * MEMORY
    under = ("prlimit", f"--as={MEMORY}")
    options = ("--dataroot", path, "--max_steps", 3)
    plain = run(2, *options, cwd=tmp_path, under=under)
    assert plain.returncode == 2
    assert "x_train does not fit in memory" in plain.stderr
    assert "train with --stream" in plain.stderr
    assert plain.stderr.count("\n") == 1
    streamed = run(2, *options, "--stream", "--run_dir", "run", cwd=tmp_path, under=under)
    assert streamed.returncode == 0, streamed.stderr
    assert streamed.sha == run(None, *options, "--stream", cwd=tmp_path).sha
