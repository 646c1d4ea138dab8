"""A disk that takes no checkpoint costs a warning each time, and exit code 1 if it stays so."""

from __future__ import annotations

import subprocess

import pytest

from dpcnn.run.directory import RunDirectory
from tests.launching import metrics, run, supervised

STEPS = ("--epochs", 4, "--checkpoint_every", "10st", "--run_dir", "run")
# What rank 0 does to the run directory, what undoes it, and why it cannot be written to then.
# full: files past 100 kB cannot be written (RLIMIT_FSIZE); filled: a real disk of 4 MiB is.
TROUBLES = {
    "full": ("emptied", "File too large"),
    "filled": ("cleared", "No space left on device"),
    "read-only": ("writable", "Read-only file system"),
    "forbidden": ("allowed", "Permission denied"),
}
# In a namespace of its own, where mounts end with the job; what is on the disk is kept.
DISK = "mount -t tmpfs -o size=4m none run"
ALONE = ("unshare", "--mount", "sh", "-c")
KEEPING = '{} && "$@"; code=$?; cp -a run kept; exit $code'


def train(plan, small, cwd, mpi="mpich", before="true"):
    """Train, the command `before` first; return the result, the warnings and what is left."""
    under = supervised(0)
    if before != "true" or "read-only" in plan:
        if subprocess.run([*ALONE, "mount -t tmpfs none /mnt"], capture_output=True).returncode:
            pytest.skip("mounting needs the privilege to (root with CAP_SYS_ADMIN)")
        under = (*ALONE, KEEPING.format(before), "sh", *under)
    else:
        under = ("sh", "-c", KEEPING.format(before), "sh", *under)
    (cwd / "run").mkdir()
    options = ("--dataroot", small, *STEPS)
    module = "tests.faults.dying"
    result = run(3, *options, cwd=cwd, mpi=mpi, module=module, under=under, DYING=plan)
    warnings = [line for line in result.stderr.splitlines() if "is not saved (" in line]
    assert all(each.startswith("warning: step ") for each in warnings), result
    assert "Traceback" not in result.stderr
    return result, warnings, cwd / "kept"


@pytest.fixture(scope="module")
def undisturbed(alone):
    """The run directory and SHA-256 of one process."""
    return alone("--epochs", 4)


def before(trouble):
    return DISK if trouble == "filled" else "true"


def check_given_up(result, warnings, reason):
    assert result.returncode == 1
    assert len(warnings) == 5, warnings  # steps 30, 40, 50, 60 and the end
    assert all(f"({reason}); training goes on" in each for each in warnings)
    assert "the last state of the run could not be saved" in result.stderr
    assert "Weights SHA-256" not in result.stdout
    assert [line.split(",")[0] for line in result.stdout.splitlines() if "Loss = " in line] == [
        f"Epoch {epoch}" for epoch in (1, 2, 3, 4)
    ]


@pytest.mark.parametrize("trouble", TROUBLES)
def test_a_disk_that_stays_so_ends_with_the_older_checkpoints(trouble, small, tmp_path):
    plan = f"step 25 0 {trouble}"
    result, warnings, kept = train(plan, small, tmp_path, before=before(trouble))
    check_given_up(result, warnings, TROUBLES[trouble][1])
    assert RunDirectory(kept).checkpoint_steps() == [20, 10]


def test_a_full_disk_ends_an_elastic_run_alike(small, undisturbed, tmp_path):
    result, warnings, kept = train("step 25 0 full", small, tmp_path, "elastic")
    check_given_up(result, warnings, "File too large")
    assert RunDirectory(kept).checkpoint_steps() == [20, 10]
    assert metrics(kept) == metrics(undisturbed[0])


def test_a_run_directory_that_a_file_replaces_is_told_and_training_goes_on(small, tmp_path):
    result, warnings, _ = train("step 25 0 replaced", small, tmp_path)
    check_given_up(result, warnings, "Not a directory")


def test_a_run_directory_that_was_removed_is_made_again(small, undisturbed, tmp_path):
    result, warnings, kept = train("step 25 0 removed", small, tmp_path)
    assert result.returncode == 0, result
    assert result.sha == undisturbed[1]
    assert warnings == []
    assert "was removed, and is made again with this state" in result.stderr
    assert RunDirectory(kept).checkpoint_steps() == [64, 60, 50]
    assert metrics(kept) == metrics(undisturbed[0])


@pytest.mark.parametrize("trouble", TROUBLES)
def test_a_disk_that_can_be_written_to_again_is_used_again(trouble, small, undisturbed, tmp_path):
    plan = f"step 25 0 {trouble};step 45 0 {TROUBLES[trouble][0]}"
    result, warnings, kept = train(plan, small, tmp_path, before=before(trouble))
    assert result.returncode == 0, result
    assert result.sha == undisturbed[1]
    assert len(warnings) == 2, warnings
    assert RunDirectory(kept).checkpoint_steps() == [64, 60, 50]
    assert metrics(kept) == metrics(undisturbed[0])
