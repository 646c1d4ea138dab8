"""Alarms: a body that takes too long, and one that does not; a stopped process has no time."""

from __future__ import annotations

import threading
from typing import Any

from dpcnn.parallel import alarm


class Waits(threading.Event):
    """Notes how long it is waited for, and does not wait."""

    def __init__(self, ends: int) -> None:
        super().__init__()
        self.ends, self.periods = ends, list[Any]()

    def wait(self, timeout: float | None = None) -> bool:
        self.periods.append(timeout)
        return len(self.periods) == self.ends


def test_a_body_that_takes_too_long_is_told_of() -> None:
    rung = threading.Event()
    with alarm.after(0.01, rung.set):
        assert rung.wait(30)


def test_a_process_that_is_stopped_has_no_time() -> None:
    rung, over = threading.Event(), Waits(ends=9)
    alarm._count_down(2.5, over, rung.set)
    assert over.periods == [alarm.PERIOD, alarm.PERIOD, 2.5 - 2 * alarm.PERIOD]
    assert rung.is_set()


def test_a_body_that_ends_in_time_is_not_told_of() -> None:
    rung = threading.Event()
    alarm._count_down(2.5, Waits(ends=2), rung.set)
    assert not rung.is_set()
