"""What a person sees: the launch scripts in a real terminal of 80 columns, whatever happens."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.launching import ROOT, TIMEOUT, run

FORMS = (  # of the lines that a run may leave on a screen, each as a whole
    r"[a-zA-Z ]{5,14}  \S.*",  # the header's facts
    r"layer +what +output +parameters",
    r"(convolution|relu|flatten|dense)1 +\S.* +[\d,]+",
    r"Epoch \d+, Loss = [\d.]+, Training Accuracy = [\d.]+, Test Accuracy = [\d.]+",
    r"epoch \d+/\d+ +\d+%\|.*\| \d+/\d+, loss [\d.]+, [^|]*[\d,]+ images/s, [^|]*[\d:]+ left",
    r"Best epoch: \d+, Test Accuracy = [\d.]+, in checkpoints/best\.h5",
    r"warning: lost rank \d on .*",
    r"Stopped by SIGINT; step [\d,]+ is saved\. Go on with: .*",
    r"Weights SHA-256: [0-9a-f]{64}",
    r"exit code \d+",
)


class Terminal:
    """A tmux session of 80 x 24 that runs one command and shows its exit code."""

    def __init__(self, socket: str, command: list[str], cwd: Path) -> None:
        self.socket = socket
        shown = f"{shlex.join(command)}; echo exit code $?; read"
        self.tmux(
            "-f", "/dev/null", "new-session", "-d", "-x", "80", "-y", "24", "-c", str(cwd), shown
        )

    def tmux(self, *words: str) -> str:
        command = ["tmux", "-L", self.socket, *words]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    def lines(self) -> list[str]:
        """Return all that was printed, wrapped lines as one."""
        found = self.tmux("capture-pane", "-p", "-J", "-S", "-").splitlines()
        return [line.rstrip() for line in found if line.strip()]

    def wait_for(self, form: str) -> None:
        """Return once a line of that form is there."""
        deadline = time.monotonic() + TIMEOUT
        while not any(re.fullmatch(form, line) for line in self.lines()):
            assert time.monotonic() < deadline, self.lines()
            time.sleep(0.05)


@pytest.fixture
def socket(tmp_path: Path) -> Iterator[str]:
    """The name of a tmux server that ends with the test; skips without tmux or the environment."""
    if shutil.which("tmux") is None:
        pytest.skip("tmux is not installed")
    if Path(sys.prefix) != ROOT / ".venv":
        pytest.skip("not in the environment of the launch scripts: start with launch/test")
    name = f"dpcnn-{os.getpid()}-{tmp_path.name}"
    yield name
    subprocess.run(["tmux", "-L", name, "kill-server"], capture_output=True, check=False)


def strangers(lines: list[str]) -> list[str]:
    return [line for line in lines if not any(re.fullmatch(form, line) for form in FORMS)]


@pytest.mark.parametrize("launch", ["local", "elastic"])
def test_a_screen_of_80_columns_is_never_garbled_and_ctrl_c_says_how_to_go_on(
    launch, small, socket, tmp_path
):
    if launch == "elastic" and "DPCNN_OPENMPI" not in os.environ:
        pytest.skip("DPCNN_OPENMPI is not set: use launch/test")
    script = os.path.relpath(ROOT / "launch" / launch, tmp_path)
    options = ["--dataroot", str(small), "--run_dir", "a run"]
    terminal = Terminal(socket, [script, "-n", "4", *options, "--epochs", "400"], tmp_path)
    terminal.wait_for(r"Epoch 3, .*")
    terminal.tmux("send-keys", "C-c")
    terminal.wait_for(r"exit code \d+")
    lines = terminal.lines()
    assert strangers(lines) == []
    assert lines[-1] == "exit code 130"
    [stopped] = [line for line in lines if line.startswith("Stopped by")]
    cure = stopped.partition("Go on with: ")[2]
    assert cure == f"{script} -n 4 --run_dir 'a run' --resume auto"
    assert not any(line.startswith("epoch ") for line in lines), "a bar was left behind"
    if launch == "local":
        words = [*shlex.split(cure), "--max_steps", "1"]
        done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=TIMEOUT)
        assert done.returncode == 0, done.stderr
        assert "resumed" in done.stdout


def test_a_dumb_terminal_and_a_pipe_get_whole_lines_without_escapes(small, socket, tmp_path):
    script = str(ROOT / "launch/local")
    command = ["env", "TERM=dumb", script, "-n", "2", "--dataroot", str(small), "--epochs", "2"]
    terminal = Terminal(socket, command, tmp_path)
    terminal.wait_for(r"exit code \d+")
    assert strangers(terminal.lines()) == []
    piped = run(2, "--dataroot", small, "--epochs", 2, cwd=tmp_path)
    assert not set(piped.stdout + piped.stderr) & {"\r", "\x1b"}


def test_no_line_of_the_header_is_wider_than_80_columns(small, tmp_path):
    result = run(None, "--dataroot", small, "--max_steps", 1, cwd=tmp_path)
    table = result.stdout.partition("\nlayer ")[2].partition("\n\n")[0]
    assert max(len(f"layer {line}") for line in table.splitlines()[:1]) <= 80
    assert max(map(len, table.splitlines()[1:])) <= 80
