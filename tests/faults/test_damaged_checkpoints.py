"""Damaged checkpoints: no flipped byte and no truncation is taken for a sound one.

What comes before is found instead, and a real run goes on from there.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dpcnn.errors import CheckpointError
from dpcnn.run.checkpoint import Checkpoint
from dpcnn.run.directory import RunDirectory
from tests.launching import run
from tests.run.states import state

OPTIONS = ["--train_limit", 256, "--test_limit", 50, "--n_filter", 2, "--progress", "plain"]


@pytest.fixture
def saved(tmp_path: Path) -> RunDirectory:
    """A run directory with the checkpoints of steps 1 and 2."""
    directory = RunDirectory(tmp_path / "run")
    directory.create({}, {})
    for step in (1, 2):
        directory.save(state(step), keep=2)
    return directory


def the_newest_is_refused(directory: RunDirectory) -> Iterator[tuple[Path, Any]]:
    """Hold that the newest checkpoint is refused in one line; return those before it."""
    found = directory.read_checkpoints()
    path, refusal = next(found)
    assert isinstance(refusal, CheckpointError)
    assert str(path) in str(refusal)
    assert len(str(refusal).splitlines()) == 1
    return found


def the_one_before_is_found(directory: RunDirectory) -> None:
    """Hold that the newest checkpoint is refused, and the one before it is sound."""
    [(_, found)] = the_newest_is_refused(directory)
    assert isinstance(found, Checkpoint)
    assert found.progress["step"] == 1


def test_every_flipped_byte_is_found(saved: RunDirectory) -> None:
    path = saved.checkpoint_path(2)
    whole = path.read_bytes()
    flips = np.random.default_rng(0).integers(1, 256, len(whole)).tolist()
    with open(path, "r+b", buffering=0) as file:  # in place: to replace a file takes milliseconds
        for place, flip in enumerate(flips):
            os.pwrite(file.fileno(), bytes([whole[place] ^ flip]), place)
            check = the_newest_is_refused if place % 10 else the_one_before_is_found
            check(saved)
            os.pwrite(file.fileno(), whole[place : place + 1], place)
    assert path.read_bytes() == whole
    assert all(isinstance(found, Checkpoint) for _, found in saved.read_checkpoints())


def test_200_truncations_are_found(saved: RunDirectory) -> None:
    path = saved.checkpoint_path(2)
    for length in np.linspace(path.stat().st_size - 1, 0, 200).astype(int).tolist():
        os.truncate(path, length)
        the_one_before_is_found(saved)


@pytest.fixture(scope="module")
def trained(small: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A run of two epochs, and the SHA-256 of its weights."""
    cwd = tmp_path_factory.mktemp("trained")
    options = ["--dataroot", small, "--run_dir", cwd / "run", "--epochs", 2, *OPTIONS]
    return cwd / "run", run(None, *options, cwd=cwd).sha


@pytest.mark.parametrize("damage", ["a flipped byte", "a truncation"])
def test_a_run_goes_on_from_the_checkpoint_before_a_damaged_one(
    damage: str, trained: tuple[Path, str], tmp_path: Path
) -> None:
    sound, sha = trained
    directory = Path(shutil.copytree(sound, tmp_path / "run"))
    newest = RunDirectory(directory).checkpoint_path(8)
    whole = bytearray(newest.read_bytes())
    whole[len(whole) // 2] ^= 1
    newest.write_bytes(whole if damage == "a flipped byte" else whole[:-100])
    result = run(None, "--run_dir", directory, "--resume", "auto", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert f"{newest}: damaged or cut off" in result.stderr
    assert "taking the one before it" in result.stderr
    assert "after step 4, epoch 2" in result.stdout
    assert result.sha == sha
