"""A mistake is one line from rank 0 and one exit code; an exception on a rank ends all ranks."""

from __future__ import annotations

import os
import subprocess
import textwrap
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from tests.launching import TIMEOUT, launcher, refusals, run, supervised


def one_line(result):
    """The only line on standard error."""
    assert result.stderr.count("\n") == 1, result.stderr
    assert result.stderr.startswith("dpcnn: error: ")
    return result.stderr


def write_broken(path: Path, small: Path, key: str, change: Any) -> None:
    """Write a copy of the small dataset in which one array is replaced, or missing."""
    path.write_bytes(small.read_bytes())
    with h5py.File(path, "r+") as file:
        array = change(file[key][()])
        del file[key]
        if array is not None:
            file[key] = array


BAD_DATA = {
    "missing key": ("y_test", lambda y: None, "y_test"),
    "label out of range": ("y_test", lambda y: y * 0 + 14, "holds label 14, expected 0..9"),
    "float labels": ("y_train", lambda y: y * 1.5, "expected integers"),
    "lengths": ("y_train", lambda y: y[:-1], "999 labels"),
    "shape": ("x_test", lambda x: x[:, :, 1:], "has shape (200, 1, 27, 28)"),
    "NaN": ("x_test", lambda x: x * np.float32("nan"), "NaN"),
    "range": ("x_test", lambda x: x * np.float32(1.0), "values from 0 to 255"),
    "empty": ("x_train", lambda x: x[:0], "empty"),
    "few": ("x_train", lambda x: x[:2], ""),
}


def test_bad_data_is_one_line_on_three_ranks(small, tmp_path):
    paths = [tmp_path / f"{case}.hdf5" for case in BAD_DATA]
    for path, (key, change, _) in zip(paths, BAD_DATA.values(), strict=True):
        write_broken(path, small, key, change)
    lines = refusals(3, "dpcnn.train", [("--dataroot", path) for path in paths], tmp_path)
    for line, path, (_, _, part) in zip(lines, paths, BAD_DATA.values(), strict=True):
        assert str(path) in line
        assert part in line
    assert not (tmp_path / "runs").exists()


def test_fewer_images_than_ranks_are_refused(small, tmp_path):
    result = run(3, "--dataroot", small, "--train_limit", 2, cwd=tmp_path)
    assert result.returncode == 2
    assert "2 training images for 3 ranks" in one_line(result)


BAD_OPTIONS = {
    "that are read": {
        ("--epochz", "2"): "did you mean epochs?",
        ("--lr", "nan"): "--lr is",
    },
    "that are used": {
        ("--dataroot", "/no/such/file"): "/no/such/file: no such file",
        ("--stride", "2"): "(28 - 7 + 2*1)/2 + 1 = 12.5",
        ("--resume", "/no/such/checkpoint.h5"): "/no/such/checkpoint.h5",
        ("--run_dir", "/proc/run"): "--run_dir /proc/run",
    },
}


@pytest.mark.parametrize("kind", BAD_OPTIONS)
@pytest.mark.parametrize("mpi", ["mpich", "openmpi"])
def test_bad_options_are_one_line_on_three_ranks(kind, mpi, tmp_path, small):
    commands = [("--dataroot", small, *bad) for bad in BAD_OPTIONS[kind]]
    lines = refusals(3, "dpcnn.train", commands, tmp_path, mpi)
    for line, part in zip(lines, BAD_OPTIONS[kind].values(), strict=True):
        assert part in line
    assert not (tmp_path / "runs").exists()


def test_help_is_printed_once(tmp_path):
    result = run(3, "--help", cwd=tmp_path)
    assert result.returncode == 0
    assert result.stdout.count("usage:") == 1


@pytest.mark.parametrize("mpirun", ["mpich", "openmpi"])
def test_another_mpi_than_mpiruns_is_refused_naming_both(mpirun, small, tmp_path):
    """Python of one MPI's environment under the mpirun of the other."""
    python = launcher(1, "openmpi" if mpirun == "mpich" else "mpich")[-1]
    options = ("-m", "dpcnn.train", "--dataroot", small)
    wrapper = tmp_path / "python"
    wrapper.write_text(f'#!/bin/sh\nexec {python} "$@"\n')
    wrapper.chmod(0o755)
    command = [*launcher(2, mpirun)[:-1], str(wrapper), *map(str, options)]
    result = subprocess.run(
        command,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": os.getcwd()},
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
    )
    assert result.returncode == 2
    [line] = [each for each in result.stderr.splitlines() if each.startswith("dpcnn: error: ")]
    for part in ("started 2 ranks", "Open MPI", "MPICH"):
        assert part in line
    assert not (tmp_path / "runs").exists()


def test_a_world_of_one_is_refused_where_several_were_started(small, tmp_path):
    pytest.importorskip("mpi4py")
    launcher(1)
    environment = {"SLURM_PROCID": "0", "SLURM_STEP_NUM_TASKS": "4"}
    result = run(None, "--dataroot", small, cwd=tmp_path, **environment)
    assert result.returncode == 2
    assert "Slurm's srun started 4 ranks" in one_line(result)
    assert "a world of 1" in result.stderr


def test_one_process_needs_no_mpi4py(small, tmp_path):
    site = tmp_path / "site"
    (site / "mpi4py").mkdir(parents=True)
    (site / "mpi4py/__init__.py").write_text("raise ImportError('there is no mpi4py here')\n")
    path = {"PYTHONPATH": f"{site}:{os.getcwd()}"}
    options = ("--dataroot", small, "--max_steps", 2)
    assert run(None, *options, cwd=tmp_path, **path).returncode == 0
    several = run(2, *options, cwd=tmp_path, **path)
    assert several.returncode == 2
    assert "mpi4py cannot be used (there is no mpi4py here)" in one_line(several)


@pytest.mark.parametrize("mpi", ["mpich", "openmpi", "elastic"])
def test_a_bug_that_all_ranks_meet_is_one_traceback(mpi, small, tmp_path):
    (tmp_path / "buggy.py").write_text(
        textwrap.dedent("""
        from dpcnn.nn import Dense, Flatten
        from dpcnn.parallel.launcher import detect

        class Buggy(Dense):
            def forward(self, x):
                if self.context.step == 1 and detect().rank != 0:
                    raise ValueError("a bug")
                return super().forward(x)

        def build():
            return [Flatten(), Buggy(10)]
        """)
    )
    options = ("--dataroot", small, "--run_dir", "run", "--model", "buggy:build")
    # Open MPI may crash in a start under ULFM; that is started again, and a bug is not.
    under = supervised(9) if mpi == "elastic" else ()
    result = run(3, *options, cwd=tmp_path, mpi=mpi, under=under)
    assert result.returncode == 1
    assert result.stderr.count("Traceback") == 1
    assert "rank 1 on " in result.stderr
    assert "ValueError: a bug\nand on 1 more rank\n" in result.stderr
    kept = {path.name: path.read_text() for path in (tmp_path / "run/errors").iterdir()}
    assert sorted(kept) == ["rank-1.txt", "rank-2.txt"]
    assert all("ValueError: a bug" in text for text in kept.values())
    assert (tmp_path / "run/outcome.json").read_text() == '{"exit_code": 1}\n'


def test_divergence_is_one_line_and_keeps_the_last_good_step(small, tmp_path):
    options = ("--dataroot", small, "--lr", "1e6", "--run_dir", "run")
    result = run(3, *options, cwd=tmp_path)
    assert result.returncode == 1
    assert one_line(result).startswith("dpcnn: error: step 2: ")
    assert [path.name for path in (tmp_path / "run/checkpoints").iterdir()] == ["step-00000001.h5"]
