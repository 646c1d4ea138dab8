"""Signals in the evaluation of an epoch, and what a supervisor remembers of a run it restarts."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from dpcnn.inference import evaluation
from dpcnn.run.directory import RunDirectory
from dpcnn.training import trainer
from dpcnn.training.api import main
from tests.launching import ROOT

Capture = pytest.CaptureFixture[str]


@pytest.mark.parametrize("signals", [[signal.SIGINT], [signal.SIGINT] * 2, [signal.SIGHUP]])
def test_a_signal_in_the_evaluation_is_acknowledged_and_the_epoch_is_saved(
    signals: list[signal.Signals],
    small: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: Capture,
) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    run = RunDirectory(tmp_path / "run")

    def evaluate(*arguments: Any) -> Any:
        while not run.checkpoint_path(2).exists():
            time.sleep(0.001)  # a thread writes it
        for number in signals:
            os.kill(os.getpid(), number)
        return evaluation.evaluate(*arguments)

    class Ended(BaseException):
        """In the place of os._exit."""

    def end(code: int) -> None:
        raise Ended

    monkeypatch.setattr(trainer, "evaluate", evaluate)
    monkeypatch.setattr(os, "_exit", end)
    arguments = ["--train_limit", "128", "--test_limit", "10", "--n_filter", "2"]
    arguments += ["--dataroot", str(small), "--run_dir", str(run.path), "--progress", "none"]
    try:
        code = main([*arguments, "--epochs", "3"])
    except Ended:
        code = -1
    finally:
        signal.signal(signal.SIGHUP, before)
    told = capfd.readouterr()
    assert "dpcnn: asked to stop: evaluating epoch 1 to its end, then saving it" in told.err
    if len(signals) == 1:
        assert code == 128 + signals[0]
        assert run.checkpoint_steps()[0] == 3
        assert f"Stopped by {signals[0].name}; step 3 is saved" in told.out
    else:
        assert "ended by a second Ctrl-C: the evaluation of epoch 1 lost" in told.err
        assert run.checkpoint_steps() == [2]


def supervised(script: list[dict[str, Any]], restarts: int) -> tuple[int, list[list[str]]]:
    """Return the exit code of a supervisor and the options that it added at each start.

    script: what the ranks have recorded after each start.
    """
    sys.path.insert(0, str(ROOT / "launch" / "lib"))
    try:
        import supervise
    finally:
        sys.path.pop(0)
    commands: list[list[str]] = []

    class Scripted(supervise.Supervisor):  # type: ignore[misc, name-defined, unused-ignore]
        def _listen(self) -> None:
            """Leave the signals of the tests alone."""

        def _start(self, command: list[str], restarts: int) -> None:
            commands.append(command[1:])
            self.records = [script[len(commands) - 1]]

    supervise.LONGEST_PAUSE = 0.0
    return Scripted(["mpirun"], restarts, Path("told"), []).run(), commands


AGAIN = ["--run_dir", "here", "--resume", "auto"]


def test_a_supervisor_remembers_the_run_over_starts_that_told_nothing(capfd: Capture) -> None:
    run = {"run_dir": "here"}
    script = [{}, {**run, "saved": 300}, {}, {}, {**run, "saved": 400}, {**run, "exit_code": 0}]
    code, commands = supervised(script, 9)
    assert code == 0
    assert commands == [[], [], AGAIN, AGAIN, AGAIN, AGAIN]
    assert "interrupted after saving step 300; restart 1 of 9" in capfd.readouterr().err


def test_a_supervisor_gives_up_a_run_that_gets_nowhere_and_says_what_is_saved(
    capfd: Capture,
) -> None:
    known = {"run_dir": "here", "saved": 300}
    code, commands = supervised([known, {}, known, known], 2)
    assert (code, len(commands)) == (1, 4)
    error = capfd.readouterr().err.splitlines()[-1]
    assert "interrupted after saving step 300, 2 restarts later too; resume it with" in error
    assert "--run_dir here --resume auto" in error
    code, commands = supervised([{}] * 4, 3)
    assert (code, len(commands)) == (1, 4)


def test_a_supervisor_does_not_count_restarts_that_are_killed_early() -> None:
    known = {"run_dir": "here", "saved": 300}
    code, commands = supervised([known, *[{}] * 10, {"run_dir": "here", "exit_code": 0}], 1)
    assert (code, len(commands)) == (0, 12)
    code, commands = supervised([known, *[{}] * 30], 1)
    assert (code, len(commands)) == (1, 22)


def test_a_supervisor_does_not_give_up_a_run_that_makes_progress() -> None:
    run = {"run_dir": "here"}
    script = [{**run, "saved": step} for step in range(50)] + [{**run, "exit_code": 0}]
    code, commands = supervised(script, 1)
    assert (code, len(commands)) == (0, 51)
