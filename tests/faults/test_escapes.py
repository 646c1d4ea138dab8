"""Escape sequences in what comes from elsewhere: no terminal gets to obey them."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dpcnn.evaluate import main as evaluate
from dpcnn.export import main as export
from dpcnn.predict import main as predict
from dpcnn.run import checkpoint as checkpoints
from dpcnn.system import text
from dpcnn.training import api
from dpcnn.verify import main as verify

ESCAPE = "\x1b]0;mine\x07\x1b[2J\x9b31m\u202e"
SMALL = ["--train_limit", "128", "--test_limit", "10", "--n_filter", "2", "--progress", "none"]


@pytest.fixture(scope="module")
def hostile(small: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run directory whose texts and names are full of escape sequences."""
    run = tmp_path_factory.mktemp("escapes") / f"run{ESCAPE}"
    arguments = ["--dataroot", str(small), "--run_dir", str(run), "--epochs", "1", *SMALL]
    assert api.main(arguments) == 0
    (run / ".lock").write_text(f"process 1 on {ESCAPE}\nmark\n")
    path = run / "checkpoints" / "step-00000002.h5"
    sound = checkpoints.read(path)
    options = sound.options | {"model": ESCAPE, "dataroot": f"nowhere{ESCAPE}"}
    dataset = sound.dataset | {"source": f"{ESCAPE}\nsource", "fingerprint": ESCAPE}
    checkpoints.write(path, replace(sound, options=options, dataset=dataset))
    np.save(run / f"images{ESCAPE}.npy", np.zeros((3, 28, 28)))
    (run / f"bad{ESCAPE}.npy").write_text("nothing")
    (run / f"options{ESCAPE}.toml").write_text('"\\u001b[2J\\u009b" = 1\n')
    return run


COMMANDS: dict[str, Callable[[Path, Path], int]] = {
    "evaluate": lambda run, small: evaluate([str(run)]),
    "evaluate on": lambda run, small: evaluate([str(run), "--dataroot", str(small)]),
    "predict": lambda run, small: predict([str(run), *map(str, run.glob("*.npy"))]),
    "export": lambda run, small: export([str(run), str(run / f"a{ESCAPE}.npz")]),
    "verify": lambda run, small: verify([str(run), "--dataroot", str(small)]),
    "resume": lambda run, small: api.main(["--resume", str(run)]),
    "resume on": lambda run, small: api.main(["--resume", str(run), "--dataroot", str(small)]),
    "run_dir": lambda run, small: api.main(["--run_dir", str(run)]),
    "config": lambda run, small: api.main(["--config", str(*run.glob("*.toml"))]),
}


@pytest.mark.parametrize("command", COMMANDS)
def test_a_terminal_is_told_nothing_to_obey(
    command: str, hostile: Path, small: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    COMMANDS[command](hostile, small)
    told = capfd.readouterr()
    printed = told.out + told.err
    assert "\\x1b" in printed or "?" in printed, "what is escaped is shown"
    assert all(each.isprintable() or each in "\n\t" for each in printed)


def test_letters_that_an_encoding_lacks_are_escaped() -> None:
    file = io.TextIOWrapper(io.BytesIO(), "ascii")
    text.say("Läufe\udcff", file)
    file.seek(0)
    assert file.read() == "L\\xe4ufe\\udcff\n"
