"""On one machine mpirun and the ranks can be reached through the loopback interface alone."""

from __future__ import annotations

import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.launching import TIMEOUT, end, start, started, supervised


def listening(job: subprocess.Popen[str]) -> list[str]:
    """Return the addresses at which mpirun and all that it has started listen."""
    pids = started(job)
    lines = subprocess.run(["ss", "-ltnpH"], capture_output=True, text=True, check=True).stdout
    return [
        line.split()[3] for line in lines.splitlines() if any(f"pid={pid}," in line for pid in pids)
    ]


def is_on_loopback(address: str) -> bool:
    """Tell whether an address is of loopback, or its socket is bound to that interface."""
    return address.startswith(("127.", "[::1]")) or "%lo:" in address


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
        while beyond and time.monotonic() - begun < TIMEOUT and job.poll() is None:
            time.sleep(0.1)
            found = listening(job)
            has_begun = (tmp_path / "run" / "metrics.jsonl").exists()
            beyond = [each for each in found if not is_on_loopback(each)]
            beyond = beyond if found and has_begun else ["nothing yet"]
        assert beyond == []
    finally:
        job.send_signal(signal.SIGTERM)
        assert end(job).returncode == 143
