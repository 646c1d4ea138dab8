"""Saving in a thread: the state of its step, one at a time, and failures that cost a warning."""

from __future__ import annotations

import errno
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dpcnn.run import checkpoint as checkpoints
from dpcnn.run.directory import RunDirectory
from dpcnn.run.saver import NOTHING, Saver
from tests.run.states import state


class Slow(RunDirectory):
    """A directory whose disk writes when it is told to, and can be full."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.may_write, self.full, self.writing = threading.Event(), False, 0

    def save(self, *arguments: Any) -> Path:
        self.writing += 1
        assert self.writing == 1, "two at a time"
        self.may_write.wait()
        self.writing -= 1
        if self.full:
            raise OSError(errno.ENOSPC, "No space left on device")
        return super().save(*arguments)


@pytest.fixture
def directory(tmp_path: Path) -> Slow:
    directory = Slow(tmp_path / "run")
    directory.create({}, {})
    return directory


@pytest.fixture
def warnings() -> list[str]:
    return []


@pytest.fixture
def saver(directory: Slow, warnings: list[str]) -> Saver:
    return Saver(directory, 3, warnings.append)


def test_what_is_written_is_the_state_of_its_step(saver: Saver, directory: Slow) -> None:
    checkpoint = state(5)
    expected = checkpoint.model["dense"]["weights"].copy()
    saver.start(checkpoint)
    checkpoint.model["dense"]["weights"][...] = 0
    checkpoint.progress["loss"] = -1.0
    checkpoint.metrics.append({"epoch": 9})
    saver.poll()
    assert saver.saved == NOTHING
    directory.may_write.set()
    saver.finish()
    assert saver.saved == (5, 2)
    found = checkpoints.read(directory.checkpoint_path(5))
    np.testing.assert_array_equal(found.model["dense"]["weights"], expected)
    assert found.progress["loss"] == 0.1 + 0.2
    assert found.metrics == []


def test_the_next_one_waits_for_the_one_before(saver: Saver, directory: Slow) -> None:
    saver.start(state(1))
    directory.may_write.set()
    saver.start(state(2))
    assert saver.saved == (1, 2)
    saver.finish()
    assert directory.checkpoint_steps() == [2, 1]


def test_a_saved_step_is_not_saved_again(saver: Saver, directory: Slow) -> None:
    directory.may_write.set()
    saver.start(state(1))
    saver.finish()
    saver.start(state(1))
    directory.checkpoint_path(1).unlink()
    saver.finish()
    assert directory.checkpoint_steps() == []


def test_a_full_disk_is_a_warning_and_the_next_interval_tries_again(
    saver: Saver, directory: Slow, warnings: list[str]
) -> None:
    directory.may_write.set()
    directory.full = True
    saver.start(state(1))
    saver.finish()
    assert saver.saved == NOTHING
    assert warnings == ["step 1 is not saved (No space left on device); training goes on"]
    directory.full = False
    saver.start(state(1))
    saver.finish()
    assert saver.saved == (1, 2)
    assert len(warnings) == 1
