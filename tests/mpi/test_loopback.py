"""On one machine mpirun and the ranks can be reached through the loopback interface alone."""

from __future__ import annotations

import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.launching import end, processes, session_of, start, supervised

LIMIT = 30.0  # seconds
LOOPBACK = ("127.", "[::1]", "0.0.0.0%lo:", "[::]%lo:", "*%lo:")


def listening(session: int) -> list[str]:
    """Return the addresses at which processes of a session listen."""
    pids = {pid for pid in processes() if session_of(pid) == session}
    lines = subprocess.run(["ss", "-ltnpH"], capture_output=True, text=True, check=True).stdout
    return [
        line.split()[3] for line in lines.splitlines() if any(f"pid={pid}," in line for pid in pids)
    ]


@pytest.mark.parametrize("mpi", ["mpich", "elastic"])
def test_a_run_on_one_machine_listens_on_loopback_alone(
    mpi: str, small: Path, tmp_path: Path
) -> None:
    if shutil.which("ss") is None:
        pytest.skip("found no ss: install iproute2")
    options = ("--dataroot", small, "--run_dir", "run", "--epochs", 10_000, "--progress", "none")
    job = start(2, *options, cwd=tmp_path, mpi=mpi, under=supervised(0))
    begun = time.monotonic()
    beyond = ["nothing yet"]
    try:
        while beyond and time.monotonic() - begun < LIMIT and job.poll() is None:
            time.sleep(0.1)
            found = listening(job.pid)
            has_begun = (tmp_path / "run" / "metrics.jsonl").exists()
            beyond = [each for each in found if not each.startswith(LOOPBACK)]
            beyond = beyond if found and has_begun else ["nothing yet"]
        assert beyond == []
    finally:
        job.send_signal(signal.SIGTERM)
        assert end(job).returncode == 143
