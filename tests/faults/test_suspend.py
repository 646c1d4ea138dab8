"""Ctrl-Z: the ranks stop with their supervisor and go on with it, however long that was."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest

from tests.launching import end, start, started, states, supervised, wait_until

PATIENCE = 2.0  # seconds, the --timeout


@pytest.mark.parametrize("mpi", ["mpich", "elastic"])
def test_ctrl_z_stops_the_ranks_and_fg_continues_them(
    mpi: str, small: Path, tmp_path: Path
) -> None:
    options = ("--dataroot", small, "--run_dir", "run", "--epochs", 10_000, "--timeout", PATIENCE)
    job = start(2, *options, cwd=tmp_path, mpi=mpi, under=supervised(0))
    lines = tmp_path / "run" / "metrics.jsonl"
    try:
        wait_until(lambda: lines.exists() and lines.stat().st_size)
        job.send_signal(signal.SIGTSTP)
        wait_until(lambda: states([job.pid, *started(job)]).count("T") == 3)  # with the supervisor
        size, stopped = lines.stat().st_size, time.monotonic()
        wait_until(lambda: time.monotonic() - stopped > 1.5 * PATIENCE)
        assert lines.stat().st_size == size
        job.send_signal(signal.SIGCONT)
        wait_until(lambda: lines.stat().st_size > size)
    finally:
        job.send_signal(signal.SIGCONT)
        job.send_signal(signal.SIGTERM)
        assert end(job).returncode == 143
