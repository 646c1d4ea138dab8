"""What killed runs leave behind goes with the next start, and nothing else."""

from __future__ import annotations

import mmap
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

from tests.launching import ROOT

DAY = 86400


def test_what_dead_owners_have_left_is_removed_and_nothing_else(tmp_path: Path) -> None:
    memory, temporary = tmp_path / "shm", tmp_path / "tmp"
    ended = subprocess.Popen(["true"])
    ended.wait()
    told = f"dpcnn-{'1' * 32}"
    left = [
        memory / "mpich_shm_1_0",
        temporary / "hydra_hwloc_xmlfile_1",
        temporary / f"ompi.{ended.pid}/pmix.{socket.gethostname()}.tool",
        temporary / f"dpcnn-{'0' * 32}/outcome.json",
    ]
    used = [
        memory / "mpich_shm_2_0",
        memory / "other",
        temporary / f"ompi.{os.getpid()}/pmix.{socket.gethostname()}.tool",
        temporary / f"ompi.{ended.pid + 1}/pmix.another-host.tool",
        temporary / f"{told}/outcome.json",
        temporary / "dpcnn-mine/file",
    ]
    fresh = [temporary / "hydra_hwloc_xmlfile_2", memory / "mpich_shm_3_0"]
    for path in (*left, *used, *fresh):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"something")
    long_ago = time.time() - 2 * DAY
    for path in (*left, *used):
        for old in {path, path.parent} - {memory, temporary}:
            os.utime(old, (long_ago, long_ago))
    code = "import sys, sweep, pathlib; sweep.sweep(*map(pathlib.Path, sys.argv[1:]))"
    with used[0].open("r+b") as file, mmap.mmap(file.fileno(), 0):
        subprocess.run(
            [sys.executable, "-c", code, memory, temporary],
            env=os.environ
            | {"PYTHONPATH": str(ROOT / "launch/lib"), "DPCNN_OUTCOME": f"{told}/outcome.json"},
            check=True,
        )
    assert [path for path in left if path.exists()] == []
    assert [path for path in (*used, *fresh) if not path.exists()] == []
