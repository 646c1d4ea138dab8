"""Finds the traces of a run on this host: its processes and what it has recorded.

supervise.py uses it on its own host, and over ssh on the others:

    python launch/lib/traces.py ACTION TOLD [SIGNAL]

TOLD is the file in which the ranks tell their supervisor how the run ended (dpcnn/run/outcome.py).
Every process of the run has its path in its environment.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

OUTCOME = "DPCNN_OUTCOME"
# Launchers set one of these for every rank and for nothing else.
RANKS = ("PMI_RANK", "OMPI_COMM_WORLD_RANK")
# And one of these: how many ranks it starts on this host.
HERE = ("MPI_LOCALNRANKS", "OMPI_COMM_WORLD_LOCAL_SIZE")
ROUNDS, PAUSE = 100, 0.02  # how often killed processes are looked for, and how many seconds apart


def begin(told: Path) -> dict[str, Any]:
    """Make the directory in which ranks of this host tell how the run ended."""
    told.parent.mkdir(mode=0o700, exist_ok=True)  # hosts may share /tmp
    return {}


def look(told: Path) -> dict[str, Any]:
    """Return the process ids of all, of the ranks, and of those that a signal has stopped.

    And how many ranks this host is to have, 0 if there is none yet.
    """
    found = list(processes(told))
    ranks = {pid: variables for pid, variables in found if variables.keys() & set(RANKS)}
    stopped = [pid for pid in ranks if is_stopped(pid)]
    sizes = [size for each in ranks.values() for size in map(each.get, HERE) if size]
    expected = max((int(size) for size in sizes if size.isdecimal()), default=0)
    everyone = [pid for pid, _ in found]
    return {"all": everyone, "ranks": list(ranks), "stopped": stopped, "expected": expected}


def send(told: Path, number: str | int) -> dict[str, Any]:
    """Send a signal to the ranks; return them."""
    found = look(told)
    for pid in found["ranks"]:
        deliver(pid, int(number))
    return found


def kill(told: Path) -> dict[str, Any]:
    """Kill all processes of the run, mpirun included; return what was recorded.

    Again, as long as there are some: one may have started another meanwhile.
    """
    for _ in range(ROUNDS):
        found = [pid for pid, _ in processes(told)]
        for pid in found:
            deliver(pid, signal.SIGKILL)
        if not found:
            break
        time.sleep(PAUSE)
    return record(told)


def end(told: Path) -> dict[str, Any]:
    """Kill what is left of the run and remove its directory; return what was recorded."""
    found = kill(told)
    shutil.rmtree(told.parent, ignore_errors=True)
    return found


def record(told: Path) -> dict[str, Any]:
    """Return run directory, exit code and newest saved step, as far as this host knows them."""
    known = read(told)
    run_dir = known.get("run_dir")
    if run_dir is None:
        return known
    known = read(Path(run_dir) / "outcome.json") | known
    names = (path.name for path in Path(run_dir, "checkpoints").glob("step-*.h5"))
    steps = (re.fullmatch(r"step-(\d+)\.h5", name) for name in names)
    return known | {"saved": max((int(step[1]) for step in steps if step), default=None)}


def processes(told: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield each process of the run with its environment variables, mpirun first."""
    mark = f"{OUTCOME}={told}".encode()
    for entry in sorted(os.listdir("/proc"), key=lambda name: name.zfill(9)):
        try:
            variables = Path("/proc", entry, "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        if mark in variables:
            pairs = (each.decode(errors="replace").partition("=") for each in variables)
            yield int(entry), {name: value for name, _, value in pairs}


def own_name() -> str:
    """Return what names this process for good, to processes of its host: see dpcnn's signals.py."""
    started = Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19]
    return f"{socket.gethostname()} {os.readlink('/proc/self/ns/pid')} {os.getpid()} {started}"


def is_stopped(pid: int) -> bool:
    """Tell whether a signal has stopped a process, which may be gone."""
    try:
        text = Path("/proc", str(pid), "stat").read_text()
    except OSError:
        return False
    return text.rpartition(")")[2].split()[:1] == ["T"]


def deliver(pid: int, number: int) -> None:
    """Send a signal to a process, which may be gone."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


def read(path: Path) -> dict[str, Any]:
    """Return the JSON object in a file, empty if there is none."""
    try:
        facts = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return facts if isinstance(facts, dict) else {}


if __name__ == "__main__":
    action = {"begin": begin, "look": look, "send": send, "end": end}[sys.argv[1]]
    print(json.dumps(action(Path(sys.argv[2]), *sys.argv[3:])))
