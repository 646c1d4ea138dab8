"""A disk that takes no checkpoint costs a warning at each interval, and exit code 1 if it stays so.

Full: files past 100 kB cannot be written on rank 0 (RLIMIT_FSIZE).
"""

from __future__ import annotations

import pytest

from dpcnn.run.directory import RunDirectory
from tests.launching import metrics, run, supervised

STEPS = ("--epochs", 4, "--checkpoint_every", "10st", "--run_dir", "run")


def train(plan, small, cwd, mpi):
    options = ("--dataroot", small, *STEPS)
    under = supervised(0)
    module = "tests.faults.dying"
    result = run(3, *options, cwd=cwd, mpi=mpi, module=module, under=under, DYING=plan)
    warnings = [line for line in result.stderr.splitlines() if "is not saved (" in line]
    assert all(each.startswith("warning: step ") for each in warnings), result
    return result, warnings


@pytest.fixture(scope="module")
def undisturbed(small, tmp_path_factory):
    cwd = tmp_path_factory.mktemp("undisturbed")
    result = run(None, "--dataroot", small, *STEPS, cwd=cwd)
    return cwd / "run", result.sha


@pytest.mark.parametrize("mpi", ["mpich", "elastic"])
def test_a_disk_that_stays_full_ends_with_the_older_checkpoints(mpi, small, undisturbed, tmp_path):
    result, warnings = train("step 25 0 full", small, tmp_path, mpi)
    assert result.returncode == 1
    assert len(warnings) == 5, warnings  # steps 30, 40, 50, 60 and the end
    assert "training goes on" in warnings[0]
    assert "the last state of the run could not be saved" in result.stderr
    assert "Weights SHA-256" not in result.stdout
    assert RunDirectory(tmp_path / "run").checkpoint_steps() == [20, 10]
    assert metrics(tmp_path / "run") == metrics(undisturbed[0])


def test_a_disk_that_has_room_again_is_used_again(small, undisturbed, tmp_path):
    result, warnings = train("step 25 0 full;step 45 0 emptied", small, tmp_path, "mpich")
    assert result.returncode == 0
    assert result.sha == undisturbed[1]
    assert len(warnings) == 2, warnings
    assert RunDirectory(tmp_path / "run").checkpoint_steps() == [64, 60, 50]
