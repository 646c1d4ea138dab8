"""Runs to report, and a browser to look at what comes of it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.browser import Browser
from tests.launching import run, supervised


@pytest.fixture(scope="session")
def whole(small: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two ranks, killed as it saves an evaluated epoch, started again: three epochs."""
    cwd = tmp_path_factory.mktemp("runs")
    dying = {"module": "tests.faults.dying", "DYING": "checkpoint 2 0 kill", "DYING_ONCE": "1"}
    options = ("--dataroot", small, "--epochs", 3, "--n_filter", 4, "--run_dir", "whole")
    result = run(2, *options, cwd=cwd, under=supervised(1), **dying)
    assert result.returncode == 0, result
    return cwd / "whole"


@pytest.fixture
def copy(whole: Path, tmp_path: Path) -> Path:
    """A copy of that run, to be broken."""
    return Path(shutil.copytree(whole, tmp_path / "copy"))


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """One browser for all tests."""
    with Browser() as browser:
        yield browser
