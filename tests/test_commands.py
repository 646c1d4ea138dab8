"""All commands as one: `dpcnn COMMAND`, and `dpcnn run` for several ranks."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from dpcnn.__main__ import COMMANDS, main
from dpcnn.cli import ranks
from dpcnn.version import __version__
from tests.launching import ROOT, TIMEOUT, end, launcher, start, started, states, wait_until


def call(*arguments: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    """Return the exit code, the output and the errors of `dpcnn ARGUMENTS`, here."""
    code = main(arguments)
    captured = capsys.readouterr()
    return code, captured.out, captured.err


@pytest.fixture(autouse=True)
def _typed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["/environment/bin/dpcnn"])


@pytest.mark.parametrize("arguments", [[], ["--help"], ["-h"], ["help"]])
def test_help_lists_every_command(arguments: list[str], capsys: Any) -> None:
    code, out, _ = call(*arguments, capsys=capsys)
    assert code == 0
    assert out.startswith("usage: dpcnn COMMAND ...\n")
    assert re.findall(r"^  ([a-z]+) +[a-z]", out, re.MULTILINE) == list(COMMANDS)
    assert max(map(len, out.splitlines())) <= 80


def test_version(capsys: Any) -> None:
    assert call("--version", capsys=capsys) == (0, f"dpcnn {__version__}\n", "")


@pytest.mark.parametrize(
    ("typed", "cure"),
    [
        ("trian", "did you mean train?"),
        ("zzzzzz", "expected one of train, run, evaluate"),
        ("--epochs", "expected a command before it, such as train --epochs"),
    ],
)
def test_an_unknown_command_is_one_line_with_the_cure(typed: str, cure: str, capsys: Any) -> None:
    code, out, error = call(typed, "3", capsys=capsys)
    assert (code, out) == (2, "")
    assert error.count("\n") == 1
    assert cure in error


@pytest.mark.filterwarnings("ignore:.*found in sys.modules:RuntimeWarning")
@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_of_a_command_shows_what_was_typed(command: str, capsys: Any) -> None:
    with pytest.raises(SystemExit) as ended:
        main([command, "--help"])
    assert not ended.value.code
    assert capsys.readouterr().out.startswith(f"usage: dpcnn {command} ")


@pytest.mark.parametrize(
    ("words", "started"),
    [
        ([], ["train"]),
        (["--epochs", "3"], ["train", "--epochs", "3"]),
        (["evaluate", "runs/first", "--json"], ["evaluate", "runs/first", "--json"]),
    ],
)
@pytest.mark.parametrize("mpi", ["mpich", "openmpi"])
def test_run_becomes_mpirun_on_this_machine(
    words: list[str], started: list[str], mpi: str, monkeypatch: Any
) -> None:
    mpirun = launcher(3, mpi)[0]
    become: list[str] = []
    monkeypatch.setattr(sys, "argv", ["dpcnn run"])
    monkeypatch.setattr(ranks, "find_mpirun", lambda: mpirun)
    kept_from_the_terminal: list[bool] = []

    def become_it(command: list[str], past: bool) -> int:
        become.extend(command)
        kept_from_the_terminal.append(past)
        return 0

    monkeypatch.setattr("dpcnn.cli.foreground.run", become_it)
    monkeypatch.delenv("DPCNN_COMMAND", raising=False)
    assert ranks.main([*words, "-n", "3"]) == 0
    assert become[0] == mpirun
    assert kept_from_the_terminal == [mpi == "openmpi"]
    assert any("localhost" in word for word in become)
    assert become[become.index("-n") + 1] == "3"
    assert become[become.index(sys.executable) :] == [sys.executable, "-P", "-m", "dpcnn", *started]
    assert os.environ.get("DPCNN_COMMAND") == ("dpcnn run -n 3" if started[0] == "train" else None)


@pytest.mark.parametrize("count", ["0", "-3", "x", "1.5"])
def test_run_refuses_another_number_of_ranks(count: str, capsys: Any) -> None:
    assert ranks.main(["-n", count]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "-n" in error


def test_run_without_an_mpirun_says_what_to_install(monkeypatch: Any, capsys: Any) -> None:
    monkeypatch.setattr(ranks, "find_mpirun", lambda: None)
    assert ranks.main([]) == 2
    error = capsys.readouterr().err
    assert "pip install dpcnn[mpich]" in error


def test_run_trains_on_the_ranks_and_the_resume_command_is_its_own(tmp_path: Path) -> None:
    train = ["--dataroot", "digits", "--train_limit", "128", "--test_limit", "32", "--epochs", "2"]
    command = [sys.executable, "-m", "dpcnn", "run", "-n", "2", *train, "--run_dir", "run"]
    result = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, timeout=TIMEOUT, check=False
    )
    assert result.returncode == 0, result.stderr
    assert "ranks          2 (2 on" in result.stdout
    assert "Epoch 2," in result.stdout


def test_ctrl_z_stops_the_ranks_of_run_and_fg_continues_them(small: Path, tmp_path: Path) -> None:
    """And what else is sent to it reaches them."""
    options = ("--dataroot", small, "--epochs", 10_000, "--run_dir", "run")
    job = start(None, "run", "-n", 2, *options, cwd=tmp_path, module="dpcnn")
    lines = tmp_path / "run/metrics.jsonl"
    everyone = [job.pid]
    try:
        wait_until(lambda: lines.exists() and lines.stat().st_size)
        everyone += started(job)
        job.send_signal(signal.SIGTSTP)
        wait_until(lambda: states(everyone) == ["T"] * 3)  # with this command
        size = lines.stat().st_size
        job.send_signal(signal.SIGCONT)
        wait_until(lambda: lines.stat().st_size > size)
    finally:
        job.send_signal(signal.SIGCONT)
        job.send_signal(signal.SIGTERM)
        result = end(job)
    assert "Stopped by SIGTERM" in result.stdout


@pytest.mark.parametrize(("code", "expected"), [("exit 3", 3), ("kill -9 $$", 137), (":", 0)])
def test_a_command_in_the_foreground_gives_its_exit_code(code: str, expected: int) -> None:
    command = f"from dpcnn.cli import foreground as f; import sys; sys.exit(f.run({code!r}))"
    command = command.replace(repr(code), repr(["sh", "-c", code]))
    assert subprocess.run([sys.executable, "-c", command], cwd=ROOT).returncode == expected


RANK = """
import signal, sys
signal.signal(signal.SIGINT, lambda *_: sys.exit(5))
print("ready", flush=True)
signal.pause()
"""


def test_ctrl_c_reaches_what_the_command_has_started_and_not_the_command() -> None:
    """Like Open MPI's mpirun, this one would end its own way if it were told."""
    mpirun = ["sh", "-c", f"trap 'exit 9' INT; {shlex.join([sys.executable, '-c', RANK])}; exit $?"]
    command = f"from dpcnn.cli import foreground as f; import sys; sys.exit(f.run({mpirun}, True))"
    job = subprocess.Popen(
        [sys.executable, "-c", command],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,  # as a terminal has a group in its foreground
    )
    assert job.stdout is not None
    assert job.stdout.readline() == "ready\n"
    os.killpg(job.pid, signal.SIGINT)
    assert job.wait(TIMEOUT) == 5
    job.stdout.close()
