"""The ranks of a node share one copy of the images."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from tests.launching import ROOT, run, start, wait_for

MEGABYTE = 1024  # in kB, which smaps_rollup counts
IMPORTS = "import dpcnn.parallel.mpi; print('ready', flush=True); input()"


def pss(pid: int) -> int:
    """Return a process's proportional set size in kB: shared pages count by their share."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))


def ranks_below(pid: int) -> list[int]:
    """Return the Python processes among the descendants of a process."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    found = [int(child) for child in children if b"dpcnn.train" in cmdline(int(child))]
    return found or [rank for child in children for rank in ranks_below(int(child))]


def cmdline(pid: int) -> bytes:
    return Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0python")[0].replace(b"mpirun", b"")


def test_four_ranks_on_mnist_use_little_more_than_their_imports(mnist, tmp_path):
    idle = subprocess.Popen(
        [sys.executable, "-c", IMPORTS],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert idle.stdout is not None
    assert idle.stdout.readline() == "ready\n"
    imports = pss(idle.pid)
    idle.communicate("\n")
    job = start(4, "--dataroot", mnist, "--epochs", 9, "--train_limit", 6400, cwd=tmp_path)
    wait_for(job, "Epoch 1,")
    ranks = ranks_below(job.pid)
    total = sum(map(pss, ranks))
    os.killpg(job.pid, signal.SIGKILL)
    job.communicate()
    assert len(ranks) == 4
    assert total < 4 * imports + 200 * MEGABYTE, f"{total} kB, imports {imports} kB"


def test_nothing_is_left_of_the_shared_copy(small, tmp_path):
    folder = tmp_path / "tmp"
    folder.mkdir()
    result = run(3, "--dataroot", small, "--max_steps", 1, cwd=tmp_path, TMPDIR=str(folder))
    assert result.returncode == 0, result.stderr
    assert list(folder.iterdir()) == []
