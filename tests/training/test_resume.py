"""What a run starts from: the options of the one it continues, the right run, the right data."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import dpcnn
from dpcnn.data.sources import download, find
from dpcnn.errors import DataError, OptionError
from dpcnn.nn import Dense, Flatten
from dpcnn.options import Options, resumed
from dpcnn.run.directory import RunDirectory
from dpcnn.training.api import main
from tests.launching import ROOT, TIMEOUT

SMALL = ["--train_limit", "128", "--test_limit", "10", "--n_filter", "2", "--progress", "none"]
Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def trained(small: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a run of one step, whose options are not the usual ones."""
    run = tmp_path_factory.mktemp("resume") / "run"
    arguments = ["--dataroot", str(small), "--run_dir", str(run), "--max_steps", "1", *SMALL]
    assert main([*arguments, "--lr", "0.125"]) == 0
    return run


@pytest.fixture
def run(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, the only run in runs/ of the current directory."""
    monkeypatch.chdir(tmp_path)
    return Path(shutil.copytree(trained, tmp_path / "runs" / "first")).relative_to(tmp_path)


def leave(run: Path) -> None:
    """Let another run of this process have the directory: the lock ends with a process."""
    (run / ".lock").unlink()


def options(run: Path) -> dict[str, Any]:
    return dict(json.loads((run / "options.json").read_text()))


def test_a_run_without_a_checkpoint_goes_on_with_its_options(run: Path, capfd: Capture) -> None:
    shutil.rmtree(run / "checkpoints")
    before = options(run)
    leave(run)
    auto = ["--run_dir", str(run), "--resume", "auto"]
    assert main([*auto, "--lr", "0.5", "--minibatch_size", "32"]) == 2
    error = capfd.readouterr().err
    assert "--lr is 0.5, expected 0.125; --minibatch_size is 32, expected 64" in error
    assert "as in the run that is resumed" in error
    assert main([*auto, "--progress", "none"]) == 0
    assert "from the beginning, with its options" in capfd.readouterr().out
    assert options(run) == before | {"resume": "auto", "run_dir": str(run)}


def test_a_run_without_a_checkpoint_goes_on_with_its_network(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of layers that were passed to dpcnn.train no option tells."""
    monkeypatch.chdir(tmp_path)
    run: dict[str, Any] = {"dataroot": str(small), "run_dir": "run", "progress": "silent"}
    run |= {"train_limit": 64, "test_limit": 10, "max_steps": 1}
    first = dpcnn.train([Flatten(), Dense(10)], **run)
    shutil.rmtree(first.directory / "checkpoints")
    with pytest.raises(OptionError) as caught:
        dpcnn.train(resume="auto", run_dir="run", progress="silent")
    assert "run began with another network: its layer 1 is {" in str(caught.value)
    assert not RunDirectory(first.directory).checkpoint_steps()
    again = dpcnn.train([Flatten(), Dense(10)], **run, resume="auto")
    assert again.weights_sha256 == first.weights_sha256


def test_a_run_whose_checkpoints_cannot_be_read_is_not_begun_anew(
    run: Path, capfd: Capture
) -> None:
    path = run / "checkpoints" / "step-00000001.h5"
    path.write_bytes(path.read_bytes()[:-1])
    before = {each: each.read_bytes() for each in run.rglob("*") if each.is_file()}
    assert main(["--resume", "auto"]) == 2
    assert "no checkpoint in runs/first can be read" in capfd.readouterr().err
    assert {each: each.read_bytes() for each in run.rglob("*") if each.is_file()} == before


def test_the_newest_run_is_named_and_one_in_use_is_skipped(
    run: Path, small: Path, capfd: Capture
) -> None:
    other = RunDirectory(Path("runs/second"))
    other.create({"dataroot": str(small)}, {})
    try:
        assert main(["--resume", "auto", "--max_steps", "2"]) == 0
    finally:
        other.release()
    told = capfd.readouterr()
    assert "runs/second is not resumed: in use by another run (process" in told.err
    assert "after step 1, epoch 1; the newest run in runs/" in told.out


def test_a_run_of_other_data_than_named_is_skipped(
    run: Path, capfd: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(find, "DIGITS_TRAIN", 200)
    arguments = ["--resume", "auto", "--dataroot", "digits", "--max_steps", "1", *SMALL]
    assert main(arguments) == 0
    told = capfd.readouterr()
    assert f"{run} is not resumed: it is of other data than digits" in told.err
    assert "resumed" not in told.out


def test_a_checkpoint_names_no_server_to_contact() -> None:
    mirror = "http://elsewhere.example/"
    recorded = Options(num_class=10, num_channel=1, img_height=28, img_width=28, mirror=mirror)
    assert resumed(Options(), frozenset(), recorded.as_dict()).mirror is None
    named = Options(mirror=mirror)
    assert resumed(named, frozenset({"mirror"}), recorded.as_dict()).mirror == mirror


def test_without_mnist_every_line_says_what_is_trained_on_instead(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Capture
) -> None:
    def fetch(*_: Any) -> Path:
        raise DataError("no network")

    monkeypatch.setattr(download, "fetch", fetch)
    monkeypatch.setenv("DPCNN_CACHE", str(tmp_path))
    (tmp_path / "below").mkdir()
    monkeypatch.chdir(tmp_path / "below")
    monkeypatch.setattr(find, "DIGITS_TRAIN", 200)
    monkeypatch.setattr(find, "DIGITS_TEST", 20)
    monkeypatch.setenv("DPCNN_FALL_BACK", "0")
    assert main([*SMALL, "--epochs", "1"]) == 2
    assert "no network" in capfd.readouterr().err
    monkeypatch.delenv("DPCNN_FALL_BACK")
    for arguments in ([*SMALL, "--epochs", "1"], ["--resume", "auto", "--epochs", "2"]):
        assert main(arguments) == 0
        *lines, remark, sha256 = capfd.readouterr().out.splitlines()
        epoch = [line for line in lines if line.startswith("Epoch")][-1]
        assert ", built-in digits, " in epoch
        assert remark.startswith("Trained on the built-in digits, not on MNIST")
        assert sha256.startswith("Weights SHA-256: ")
        [first] = Path("runs").iterdir()
        leave(first)
    assert options(first)["dataroot"] == "digits"
    (first / "options.json").write_text(json.dumps(options(first) | {"dataroot": "auto"}))
    shutil.rmtree(first / "checkpoints")
    assert main(["--resume", "auto"]) == 2, "a run that is resumed never changes its data"


def test_digits_that_were_named_are_still_called_so_after_a_resume(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Capture
) -> None:
    monkeypatch.setattr(find, "DIGITS_TRAIN", 200)
    monkeypatch.setattr(find, "DIGITS_TEST", 20)
    run = ["--run_dir", str(tmp_path / "run"), "--progress", "none"]
    assert main([*run, *SMALL, "--dataroot", "digits", "--max_steps", "1"]) == 0
    leave(tmp_path / "run")
    assert main([*run, "--resume", "auto", "--max_steps", "2"]) == 0
    told = capfd.readouterr().out
    assert told.count("built-in digits, drawn by the program\n") == 2
    assert "no dataset was named" not in told


def test_a_checkpoint_is_sound_under_any_locale(small: Path, tmp_path: Path) -> None:
    run = tmp_path / "Läufe"
    assert main(["--dataroot", str(small), "--run_dir", str(run), "--max_steps", "1", *SMALL]) == 0
    leave(run)
    code = "import sys; from dpcnn.training.api import main; sys.exit(main(sys.argv[1:]))"
    done = subprocess.run(
        [sys.executable, "-c", code, "--resume", "auto", "--run_dir", run, "--max_steps", "2"],
        env=os.environ
        | {"PYTHONPATH": str(ROOT), "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
        capture_output=True,
        timeout=TIMEOUT,
    )
    assert done.returncode == 0, done.stderr
    assert b"after step 1" in done.stdout
