"""The terminal of a rank: the supervisor's window, whatever the rank's own streams are."""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pytest

from dpcnn.system.supervisor import Supervisor
from tests.launching import ROOT

sys.path.insert(0, str(ROOT / "launch/lib"))
import traces

SHOW = """
import sys
from dpcnn.system.terminal import columns
for _ in sys.stdin:
    print(columns(), flush=True)
"""


def test_a_rank_sees_the_window_of_its_supervisor_as_it_is_now() -> None:
    primary, replica = pty.openpty()
    before = os.dup(2)
    os.dup2(replica, 2)  # of this process, which is the supervisor here
    try:
        rank = subprocess.Popen(
            [sys.executable, "-c", SHOW],
            env=os.environ
            | {"PYTHONPATH": str(ROOT), "DPCNN_SUPERVISOR": traces.own_name(), "COLUMNS": "77"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert rank.stdin is not None
        assert rank.stdout is not None
        found = []
        for columns in (0, 120, 50):
            fcntl.ioctl(replica, termios.TIOCSWINSZ, struct.pack("4H", 24, columns, 0, 0))
            print(file=rank.stdin, flush=True)
            found.append(int(rank.stdout.readline()))
        rank.stdin.close()
        assert rank.wait() == 0
    finally:
        os.dup2(before, 2)
        for each in (before, primary, replica):
            os.close(each)
    assert found == [77, 120, 50]


@pytest.mark.parametrize("name", ["", "elsewhere pid:[1] 1 1", "a b c"])
def test_without_a_supervisor_on_this_host_there_is_no_window(name: str) -> None:
    assert Supervisor(name).terminal is None


def test_a_supervisor_without_a_terminal_has_no_window(tmp_path: Path) -> None:
    before = os.dup(2)
    with (tmp_path / "log").open("w") as log:
        os.dup2(log.fileno(), 2)
        try:
            assert Supervisor(traces.own_name()).terminal is None
        finally:
            os.dup2(before, 2)
            os.close(before)
