"""What a person sees: the launch scripts in a real terminal, whatever happens."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.launching import ROOT, TIMEOUT, descendants, run, states

FORMS = (  # of the lines that a run may leave on a screen, each as a whole
    r"\$( .*)?",  # the shell
    r"[a-zA-Z ]{5,14}  \S.*",  # the header's facts
    r"layer +what +output +parameters",
    r"(convolution|relu|flatten|dense)1 +\S.* +[\d,]+",
    r"Epoch \d+, Loss = [\d.]+, Training Accuracy = [\d.]+, Test Accuracy = [\d.]+"
    r"(, best .*?)?(, [\d.]+ s)?(, [\d,]+ images/s)?",
    r"Trained \d+ steps in [\d.:]+( s)?, to "
    r"(the end of epoch \d+|step \d+ of 16 in epoch \d+, which is not evaluated)",
    r"Best epoch: \d+, Test Accuracy = [\d.]+, in checkpoints/best\.h5",
    r"Run directory: .*; show it with: (dpcnn |.* -m dpcnn\.)(report|evaluate) .*",
    r"epoch \d+/\d+, (step|evaluated) [^|]*",  # where no bar is, every ten seconds
    r"warning: (lost rank \d on|steps are slow:) .*",
    r"Stopped by SIGINT; step [\d,]+ is saved\. Go on with: .*",
    r"Weights SHA-256: [0-9a-f]{64}",
    r"exit code \d+",
)
BAR = r"epoch (\d+)/\d+ \|.*\| (\d+/16.*, [\d:]+ left.*|\d+/16|evaluated \d+/200.*)"
STOPPED = r"\[1\]\+  Stopped .*"


class Terminal:
    """A tmux session of 80 x 24 with a shell, and a recording of all that is written in it."""

    def __init__(self, socket: str, cwd: Path) -> None:
        self.socket = socket
        self.recording = cwd / "recording"
        shell = ("env", "PS1=$ ", "bash", "--norc", "--noprofile", "--noediting")
        size = ("-x", "80", "-y", "24")
        self.tmux("-f", "/dev/null", "new-session", "-d", *size, "-c", str(cwd), *shell)
        self.tmux("pipe-pane", f"cat > {shlex.quote(str(self.recording))}")
        self.until(lambda lines: lines == ["$"])

    def tmux(self, *words: str) -> str:
        command = ["tmux", "-L", self.socket, *words]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    def type(self, text: str) -> None:
        """Type a line."""
        self.tmux("send-keys", "-l", text)
        self.tmux("send-keys", "Enter")

    def lines(self) -> list[str]:
        """Return all that was printed, wrapped lines as one."""
        found = self.tmux("capture-pane", "-p", "-J", "-S", "-").splitlines()
        return [line.rstrip() for line in found if line.strip()]

    def until(self, condition: Callable[[list[str]], object]) -> list[str]:
        """Wait until the lines are as they should be; return them."""
        deadline = time.monotonic() + TIMEOUT
        while not condition(lines := self.lines()):
            assert time.monotonic() < deadline, lines
            time.sleep(0.05)
        return lines

    def wait_for(self, form: str) -> list[str]:
        """Wait for a line of that form; return all lines."""
        return self.until(lambda lines: any(re.fullmatch(form, line) for line in lines))

    def end(self) -> tuple[list[str], str]:
        """Wait for the end of what was typed; return all lines, and its exit code."""
        lines = self.until(lambda lines: lines[-1] == "$")
        self.type("echo exit code $?")
        shown = self.wait_for(r"exit code \d+")
        [code] = [line for line in shown if line.startswith("exit code")]
        return lines, code.removeprefix("exit code ")

    def states(self) -> list[str]:
        """Return the states of the Python processes of the job; T is stopped."""
        shell = int(self.tmux("display-message", "-p", "#{pane_pid}"))
        return states(descendants(shell))


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


def test_a_window_that_changes_and_ctrl_z_and_ctrl_c_leave_no_garbled_line(
    launch: str, small: Path, socket: str, tmp_path: Path
) -> None:
    """One run is watched from its start to its end, and then resumed as it has said."""
    script = os.path.relpath(ROOT / "launch" / launch, tmp_path)
    terminal = Terminal(socket, tmp_path)
    start = f"{script} -n 2"
    terminal.type(f"{start} --dataroot {small} --run_dir 'a run' --epochs 400")
    terminal.wait_for("Epoch 1, .*")
    for width in (50, 110):
        bar = terminal.until(lambda lines: re.fullmatch(BAR, lines[-1]))[-1]
        terminal.tmux("resize-window", "-x", str(width))
        [before] = re.findall(r"epoch (\d+)/", bar)
        terminal.until(partial(_follows, width=width, epoch=int(before) + 1))
    terminal.tmux("send-keys", "C-z")
    before = terminal.wait_for(STOPPED)
    terminal.until(lambda _: terminal.states().count("T") == 3)  # with the supervisor
    terminal.type("fg")
    terminal.until(lambda lines: epochs(lines) > epochs(before))
    terminal.tmux("send-keys", "C-c")
    terminal.wait_for("Weights SHA-256: .*")
    lines, code = terminal.end()
    assert code == "130"
    # The bar of that moment stays where it was, and the shell names what it continues.
    [stopped] = [place for place, line in enumerate(lines) if re.fullmatch(STOPPED, line)]
    [continued] = [place for place, line in enumerate(lines) if line.startswith(start)]
    assert strangers(lines[: stopped - 1] + lines[continued + 1 :]) == []
    assert "| evaluated 0/200" in terminal.recording.read_text()
    [told] = [line for line in lines if line.startswith("Stopped by")]
    cure = told.partition("Go on with: ")[2]
    assert cure == f"{start} --run_dir 'a run' --resume auto"
    if launch == "local":
        words = [*shlex.split(cure), "--max_steps", "1"]
        done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=TIMEOUT)
        assert done.returncode == 0, done.stderr
        assert "resumed" in done.stdout
        [told] = re.findall(r"^Nothing left to train: .*", done.stdout, re.MULTILINE)
        assert told.endswith("; a larger --max_steps goes on")


def _follows(lines: list[str], width: int, epoch: int) -> bool:
    """Tell whether one bar is there, of the width of the window, in that epoch or a later one."""
    match = re.fullmatch(BAR, lines[-1])
    if match is None or len(lines[-1]) != width - 1 or int(match[1]) < epoch:
        return False
    return strangers(lines[:-1]) == []


def epochs(lines: list[str]) -> int:
    return sum(line.startswith("Epoch ") for line in lines)


@pytest.fixture(params=["local", "elastic"])
def launch(request: pytest.FixtureRequest) -> str:
    if request.param == "elastic" and "DPCNN_OPENMPI" not in os.environ:
        pytest.skip("DPCNN_OPENMPI is not set: use launch/test")
    return str(request.param)


def test_a_dumb_terminal_gets_whole_lines_and_the_end_says_what_was_done(
    small: Path, socket: str, tmp_path: Path
) -> None:
    terminal = Terminal(socket, tmp_path)
    options = f"--dataroot {small} --epochs 2 --run_dir run"
    terminal.type(f"TERM=dumb {ROOT}/launch/local -n 2 {options}")
    terminal.wait_for("Weights SHA-256: .*")
    lines, code = terminal.end()
    assert code == "0"
    assert strangers(lines) == []
    trained, best, where = lines[-5:-2]
    assert re.fullmatch(r"Trained 32 steps in .*, to the end of epoch 2", trained)
    assert best.startswith("Best epoch: 2, ")
    command = shlex.split(where.partition("show it with: ")[2])
    assert command[-1] == "run"
    shown = subprocess.run([*command[:-1], "--help"], cwd=tmp_path, capture_output=True, text=True)
    assert "usage: " in shown.stdout


def test_a_pipe_and_a_file_get_no_control_characters(small: Path, tmp_path: Path) -> None:
    """Also where a person watches only standard error."""
    piped = run(2, "--dataroot", small, "--epochs", 2, cwd=tmp_path)
    options = ("--dataroot", small, "--max_steps", 20)
    watched = run(None, *options, cwd=tmp_path, DPCNN_TERMINAL="1")
    assert not set(piped.stdout + piped.stderr + watched.stdout) & {"\r", "\x1b"}
    assert "| evaluated 0/200" in watched.stderr
    assert ", to step 4 of 16 in epoch 2, which is not evaluated\n" in watched.stdout


def test_no_line_of_the_header_is_wider_than_80_columns(small, tmp_path):
    result = run(None, "--dataroot", small, "--max_steps", 1, cwd=tmp_path)
    table = result.stdout.partition("\nlayer ")[2].partition("\n\n")[0]
    assert max(len(f"layer {line}") for line in table.splitlines()[:1]) <= 80
    assert max(map(len, table.splitlines()[1:])) <= 80
