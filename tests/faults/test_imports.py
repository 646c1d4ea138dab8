"""What a file names is neither imported nor called, whichever command reads the file."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from dpcnn.evaluate import main as evaluate
from dpcnn.export import main as export
from dpcnn.predict import main as predict
from dpcnn.report.run import read as read_for_report
from dpcnn.run import checkpoint as checkpoints
from dpcnn.training import api
from dpcnn.verify import main as verify

SMALL = ["--train_limit", "128", "--test_limit", "10", "--n_filter", "2", "--progress", "none"]
HERE = Path(__file__).parents[1] / "data"

COMMANDS: dict[str, Callable[[str], int]] = {
    "evaluate": lambda run: evaluate([run]),
    "predict": lambda run: predict([run, str(HERE / "three.jpg")]),
    "export": lambda run: export([run, f"{run}/a.npz"]),
    "verify": lambda run: verify([run]),
    "resume": lambda run: api.main(["--resume", run, "--epochs", "2"]),
    "resume auto": lambda run: api.main(["--resume", "auto", "--run_dir", run, "--epochs", "2"]),
    "report": lambda run: 0 * len(read_for_report(Path(run)).metrics),
}


@pytest.fixture(scope="module")
def trained(small: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a run whose checkpoint and options name a module as their model."""
    run = tmp_path_factory.mktemp("imports") / "run"
    arguments = ["--dataroot", str(small), "--run_dir", str(run), "--epochs", "1", *SMALL]
    assert api.main(arguments) == 0
    path = run / "checkpoints" / "step-00000002.h5"
    sound = checkpoints.read(path)
    options = sound.options | {"model": "hostile_module:build"}
    checkpoints.write(path, replace(sound, options=options))
    (run / "options.json").write_text(json.dumps(options))
    return run


@pytest.fixture
def run(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, in a directory with that module, which would be found there."""
    marker = tmp_path / "imported"
    (tmp_path / "hostile_module.py").write_text(f"open({str(marker)!r}, 'w')\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    return Path(shutil.copytree(trained, tmp_path / "run"))


@pytest.mark.parametrize("command", COMMANDS)
def test_a_model_that_a_file_names_is_not_imported(command: str, run: Path) -> None:
    assert COMMANDS[command](str(run)) == 0
    assert "hostile_module" not in sys.modules
    assert not (run.parent / "imported").exists()


@pytest.mark.parametrize("layer", ["hostile_module.Layer", "hostile_module:build", "os.system"])
def test_a_layer_that_a_checkpoint_names_is_not_imported(layer: str, run: Path) -> None:
    path = run / "checkpoints" / "step-00000002.h5"
    sound = checkpoints.read(path)
    checkpoints.write(path, replace(sound, network=[*sound.network[:-1], {"layer": layer}]))
    assert COMMANDS["evaluate"](str(run)) == 2
    assert not (run.parent / "imported").exists()


def test_without_a_checkpoint_the_model_of_the_options_has_to_be_named_again(
    run: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree(run / "checkpoints")
    assert COMMANDS["resume auto"](str(run)) == 2
    assert "expected --model as it began, hostile_module:build" in capfd.readouterr().err
    assert not (run.parent / "imported").exists()
