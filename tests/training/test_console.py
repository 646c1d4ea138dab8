"""What is printed: whole lines for files, a bar for people, nothing on other ranks."""

from __future__ import annotations

import re
import sys
import time

import pytest

from dpcnn.system import terminal
from dpcnn.system.terminal import CUT, ERASE, WRAP
from dpcnn.training.console import (
    BarConsole,
    Console,
    PlainConsole,
    QuietConsole,
    console,
)
from dpcnn.training.meter import Outlook

Captured = pytest.CaptureFixture[str]
TABLE = [("convolution", "7x7", "32x24x24", "1,600"), ("dense", "10", "10", "184,330")]


class Clock:
    """A time that goes on only when told."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr(time, "monotonic", lambda: self.now)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def train(out: Console, clock: Clock, steps: int, seconds: float, done: int = 0) -> None:
    """Make an epoch's steps of 64 images, each of so many seconds."""
    out.header({"dataset": "digits", "run directory": "runs/x"}, TABLE)
    out.warn("careful")
    out.start_epoch(2, 5, steps, done)
    for step in range(done, steps):
        clock.now += seconds
        out.step(1 / (step + 1), 64, 0.0125, 32)
    out.end_progress()
    out.line("Epoch 2")


def test_other_ranks_print_nothing(clock: Clock, capsys: Captured) -> None:
    train(console("bar", rank=1), clock, 10, 20)
    assert tuple(capsys.readouterr()) == ("", "")


@pytest.mark.parametrize(("seconds", "lines"), [(0.01, 0), (1, 9), (4, 33), (10, 99), (25, 99)])
def test_plain_prints_a_line_at_least_every_ten_seconds(
    seconds: float, lines: int, clock: Clock, capsys: Captured
) -> None:
    train(PlainConsole(), clock, 100, seconds)
    progress = [line for line in capsys.readouterr().out.splitlines() if "step" in line]
    assert len(progress) == lines


def test_a_plain_line_tells_epoch_step_loss_speed_and_time_left(
    clock: Clock, capsys: Captured
) -> None:
    train(PlainConsole(), clock, 8, 5, done=4)
    assert (
        "epoch 2/5, step 6/8, loss 0.1833, accuracy 0.5000, lr 0.0125, 13 images/s, 00:10 left\n"
        in capsys.readouterr().out
    )


@pytest.mark.parametrize("kind", [PlainConsole, QuietConsole])
def test_plain_output_is_whole_lines(kind: type[Console], clock: Clock, capsys: Captured) -> None:
    train(kind(), clock, 10, 10)
    out, err = capsys.readouterr()
    assert err == "warning: careful\n"
    assert out.endswith("\nEpoch 2\n")
    assert "\r" not in out
    assert "\x1b" not in out


def test_none_prints_all_but_the_progress(clock: Clock, capsys: Captured) -> None:
    train(QuietConsole(), clock, 10, 10)
    out = capsys.readouterr().out
    assert "step" not in out
    assert "runs/x" in out
    assert "Epoch 2" in out


def test_the_header_aligns_facts_and_layers(capsys: Captured) -> None:
    PlainConsole().header({"dataset": "digits", "run directory": "runs/x"}, TABLE)
    lines = [line for line in capsys.readouterr().out.splitlines() if line]
    assert lines[0] == "dataset        digits"
    assert lines[1] == "run directory  runs/x"
    layers = lines[2:]
    assert layers[0].split() == ["layer", "what", "output", "parameters"]
    assert len({len(line) for line in layers}) == 1
    assert layers[1].endswith(" 1,600")


def drawn(written: str) -> list[str]:
    """Return the bars among what was written to standard error."""
    return [text.split(WRAP)[0] for text in written.split(CUT)[1:]]


def window(columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dpcnn.training.console.columns", lambda: columns)


def test_the_bar_tells_epoch_step_loss_speed_and_time_left_on_standard_error(
    clock: Clock, capfd: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    window(110, monkeypatch)
    train(BarConsole(), clock, 8, 5, done=4)
    out, err = capfd.readouterr()
    assert "warning: careful" in err
    [bar] = [text for text in drawn(err) if "6/8" in text]
    facts = "| 6/8, loss 0.1833, accuracy 0.5000, lr 0.0125, 13 images/s, 00:10 left"
    assert re.fullmatch(rf"epoch 2/5 \|.*{re.escape(facts)}", bar)
    assert len(bar) == 109
    assert not set(out) & {"\r", "\x1b"}
    assert out.endswith("Epoch 2\n")


def test_the_bar_follows_the_window_and_leaves_out_what_has_no_room(
    clock: Clock, capfd: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = BarConsole()
    window(200, monkeypatch)
    out.start_epoch(2, 20, 900, 0, Outlook(steps=900, best=0.5))
    facts = {}
    for columns in (*range(200, 20, -1), 90):
        window(columns, monkeypatch)
        clock.now += 1
        out.step(0.5, 64, 0.1, 32)
        bar = drawn(capfd.readouterr().err)[-1]
        facts[columns] = re.findall("loss|accuracy|lr|best|images|left|run", bar)
        assert len(bar) == columns - 1 or columns < 45
    assert facts[200] == ["loss", "accuracy", "lr", "best", "images", "left", "run"]
    assert facts[90] == ["loss", "accuracy", "lr", "left", "run"]
    assert facts[80] == ["loss", "accuracy", "left", "run"]
    assert facts[65] == ["loss", "left", "run"]
    assert facts[30] == ["left"]


def test_the_bar_is_gone_after_the_epoch(clock: Clock, capfd: Captured) -> None:
    train(BarConsole(), clock, 4, 5)
    assert capfd.readouterr().err.endswith(f"{ERASE}\r\r{ERASE}")
    assert not terminal.bottom_line.shown


@pytest.mark.parametrize("kind", [PlainConsole, BarConsole])
def test_an_evaluation_has_a_progress_too(
    kind: type[PlainConsole], clock: Clock, capfd: Captured
) -> None:
    out = kind()
    out.start_evaluation("epoch 2/5", 10_000)
    for _ in range(3):
        clock.now += 12
        out.evaluated(4_000)  # more than there are in the end, as all ranks count as rank 0
    out.end_progress()
    shown, err = capfd.readouterr()
    told = shown.splitlines() if kind is PlainConsole else drawn(err)
    told = [text for text in told if "4,000" in text or "| evaluated 4000" in text]
    assert told
    assert told[0].endswith("00:18 left")


def test_after_a_pause_the_time_left_is_that_of_the_steps_since(
    clock: Clock, capfd: Captured
) -> None:
    out = PlainConsole()
    out.start_epoch(1, 1, 1000, 0)
    for pause in (0, 3600):  # Ctrl-Z, and an hour later fg
        clock.now += pause
        for _ in range(100):
            clock.now += 1
            out.step(0.5, 64, 0.1)
    last = capfd.readouterr().out.splitlines()[-1]
    assert last.endswith(", 64 images/s, 13:29 left")


def test_where_a_window_is_narrow_a_line_ends_with_what_has_room(
    clock: Clock, capfd: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    for columns in (20, 19, 11):
        window(columns, monkeypatch)
        BarConsole().line("Epoch 1", ["best", "3.0 s"])
    PlainConsole().line("Epoch 1", ["best", "3.0 s"])
    lines = ["Epoch 1, best, 3.0 s", "Epoch 1, best", "Epoch 1", "Epoch 1, best, 3.0 s"]
    assert capfd.readouterr().out.splitlines() == lines


def test_an_epoch_that_ends_twice_is_no_error() -> None:
    out = BarConsole()
    out.end_progress()
    out.start_epoch(1, 1, 1, 0)
    out.end_progress()
    out.end_progress()


@pytest.mark.parametrize("terminal", [True, False])
@pytest.mark.parametrize("launchers", [None, "0", "1"])
def test_auto_is_a_bar_where_a_person_watches(
    terminal: bool, launchers: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("DPCNN_TERMINAL", raising=False)
    if launchers is not None:
        monkeypatch.setenv("DPCNN_TERMINAL", launchers)
    bar = terminal or launchers == "1"
    assert type(console("auto", rank=0)) is (BarConsole if bar else PlainConsole)


@pytest.mark.parametrize("term", ["dumb", None])
def test_a_terminal_that_moves_no_cursor_gets_lines(
    term: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.delenv("DPCNN_TERMINAL", raising=False)
    monkeypatch.delenv("TERM", raising=False)
    if term is not None:
        monkeypatch.setenv("TERM", term)
    assert type(console("auto", rank=0)) is PlainConsole


@pytest.mark.parametrize(
    ("progress", "kind"), [("bar", BarConsole), ("plain", PlainConsole), ("none", QuietConsole)]
)
def test_a_named_progress_is_taken(progress: str, kind: type[Console]) -> None:
    assert type(console(progress, rank=0)) is kind
    assert type(console(progress, rank=1)) is Console


def test_with_epochs_to_come_it_tells_the_time_of_the_run_and_the_best_accuracy(
    clock: Clock, capsys: Captured
) -> None:
    out = PlainConsole()
    out.start_epoch(2, 5, 8, 0, Outlook(steps=24, seconds=40, best=0.98765))
    for _ in range(2):
        clock.now += 10
        out.step(0.5, 64, 0.1, 60)
    assert capsys.readouterr().out.splitlines()[-1] == (
        "epoch 2/5, step 2/8, loss 0.5000, accuracy 0.9375, lr 0.1, best 0.9877, 6 images/s,"
        " 01:00 left, run 05:40"
    )


def test_a_bar_in_the_way_of_a_debugger_goes_and_is_back_with_the_next_step(
    clock: Clock, capfd: pytest.CaptureFixture[str]
) -> None:
    out = BarConsole()
    out.start_epoch(2, 5, 8, 0)
    out.pause()
    assert capfd.readouterr().err.endswith(f"\r{ERASE}")
    clock.now += 5
    out.step(1.0, 64, 0.0125)
    assert "1/8" in capfd.readouterr().err
    out.end_progress()
