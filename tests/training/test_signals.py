"""Stop requests: a signal sets a flag and nothing else, and the handlers go when training ends."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from dpcnn.training.signals import NAMES, STOPS, StopRequests, requested

HEAD = "import os, signal; from dpcnn.training.signals import StopRequests\n"


@pytest.fixture(autouse=True)
def _no_nohup() -> Iterator[None]:
    """Whatever started the tests may have SIGHUP ignored."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


def flags_of(*signals: signal.Signals) -> dict[str, float]:
    return {name: float(name in [each.name for each in signals]) for name in NAMES}


def test_no_signal_no_flag() -> None:
    with StopRequests() as requests:
        assert requests.flags() == flags_of()


@pytest.mark.parametrize("stop", STOPS)
def test_a_signal_sets_its_flag(stop: signal.Signals) -> None:
    with StopRequests() as requests:
        os.kill(os.getpid(), stop)
        assert requests.flags() == flags_of(stop)


def test_flags_of_several_signals_stay() -> None:
    with StopRequests() as requests:
        for stop in (signal.SIGTERM, signal.SIGUSR1, signal.SIGTERM):
            os.kill(os.getpid(), stop)
    assert requests.flags() == flags_of(signal.SIGTERM, signal.SIGUSR1)


def test_the_handlers_before_come_back() -> None:
    before = [signal.getsignal(stop) for stop in STOPS]
    with contextlib.suppress(ZeroDivisionError), StopRequests():
        assert not set(before) & {signal.getsignal(stop) for stop in STOPS}
        raise ZeroDivisionError
    assert [signal.getsignal(stop) for stop in STOPS] == before


def test_a_second_interrupt_ends_at_once() -> None:
    code = "with StopRequests():\n for _ in range(2): os.kill(os.getpid(), signal.SIGINT)"
    done = subprocess.run([sys.executable, "-c", HEAD + code], capture_output=True)
    assert done.returncode == 130
    assert done.stderr == b""


def test_what_nohup_has_ignored_stays_ignored() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with StopRequests() as requests:
        os.kill(os.getpid(), signal.SIGHUP)
        assert requests.flags() == flags_of()


def test_what_follows_is_told_at_the_first_signal_and_what_is_lost_at_the_last() -> None:
    told: list[str] = []
    with StopRequests() as requests:
        requests.first = lambda: told.append("first")
        requests.last = lambda: told.append("last")
        requests.at_once = lambda code: told.append(str(code))
        for stop in (signal.SIGTERM, signal.SIGINT, signal.SIGINT):
            os.kill(os.getpid(), stop)
    assert told == ["first", "last", "130"]


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGUSR1])
def test_after_training_a_signal_ends_the_process(stop: signal.Signals) -> None:
    code = f"with StopRequests(): pass\nos.kill(os.getpid(), {stop.value})"
    assert subprocess.run([sys.executable, "-c", HEAD + code]).returncode == -stop


@pytest.mark.parametrize(
    ("signals", "first"),
    [([], None), *(([stop], stop) for stop in STOPS), (list(STOPS), signal.SIGTERM)],
)
def test_the_reduced_flags_name_the_signal(
    signals: list[signal.Signals], first: signal.Signals | None
) -> None:
    many = {name: 3 * flag for name, flag in flags_of(*signals).items()}
    assert requested(many) is first
