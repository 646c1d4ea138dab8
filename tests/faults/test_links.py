"""Symbolic links in a run directory from elsewhere: nothing they lead to is read or changed."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from dpcnn.report.files import Files
from dpcnn.run.directory import RunDirectory
from dpcnn.training.api import main

SMALL = ["--train_limit", "128", "--test_limit", "10", "--n_filter", "2", "--progress", "none"]
SECRET = "export PATH=/bin  # not ours\n"


@pytest.fixture(scope="module")
def trained(small: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a run of one step."""
    run = tmp_path_factory.mktemp("links") / "run"
    arguments = ["--dataroot", str(small), "--run_dir", str(run), "--max_steps", "1", *SMALL]
    assert main(arguments) == 0
    return run


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    """A copy of it, to be given links to the files of a folder beside it."""
    folder = tmp_path / "outside"
    folder.mkdir()
    (folder / "profile").write_text(SECRET)
    for name in ("step-00000000.h5", ".step-00000001.h5.7.tmp"):
        (folder / name).write_text(SECRET)
    return Path(shutil.copytree(trained, tmp_path / "run"))


def outside(run: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in (run.parent / "outside").iterdir()}


def link(path: Path, target: Path) -> None:
    """Put a link in the place of a file or folder."""
    if path.is_dir():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
    path.symlink_to(target)


@pytest.mark.parametrize("name", [".lock", "events.jsonl", "errors", "tensorboard", "checkpoints"])
def test_a_link_where_a_run_writes_is_refused_by_name(
    name: str, run: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    link(run / name, run.parent / "outside" / ("profile" if "." in name else ""))
    before = outside(run)
    assert main(["--resume", str(run), "--max_steps", "2", "--progress", "none"]) == 2
    error = capfd.readouterr().err
    assert f"{name} is a symbolic link" in error
    assert outside(run) == before


def test_a_link_that_is_in_the_way_of_a_new_file_is_replaced(run: Path) -> None:
    names = ("options.json", "metrics.jsonl", f".metrics.csv.{os.getpid()}.tmp")
    for name in names:
        link(run / name, run.parent / "outside" / "profile")
    before = outside(run)
    assert main(["--resume", str(run), "--max_steps", "2", "--progress", "none"]) == 0
    assert outside(run) == before
    assert not any((run / name).is_symlink() for name in names)


def test_a_checkpoint_is_not_read_through_a_link(run: Path) -> None:
    path = run / "checkpoints" / "step-00000001.h5"
    link(path, Path(shutil.copy(path, run.parent)))
    warnings: list[str] = []
    assert RunDirectory(run).newest_checkpoint(warnings.append) is None
    assert "step-00000001.h5 is a symbolic link" in warnings[0]


def test_a_report_shows_no_file_that_a_link_leads_to(run: Path) -> None:
    link(run / "errors", run.parent / "outside")
    link(run / "metrics.jsonl", run.parent / "outside" / "profile")
    files = Files(run)
    assert files.lines("metrics.jsonl", lambda line: True) == []
    assert files.texts("errors/*") == {}
    assert all("is a symbolic link" in line for line in files.missing)


def test_a_fifo_in_a_run_directory_keeps_nobody_waiting(
    run: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (run / "events.jsonl").unlink()
    os.mkfifo(run / "events.jsonl")
    assert main(["--resume", str(run), "--max_steps", "2", "--progress", "none"]) in (0, 2)
    assert "events.jsonl" in capfd.readouterr().err
