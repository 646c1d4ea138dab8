"""Runs mpirun, and again from the newest checkpoint when a run ends without saying how.

    python launch/supervise.py MAX_RESTARTS mpirun ... python -m dpcnn.train ...

mpirun's exit code is not trusted: under ULFM it is 0 even where every rank was killed. A run that
ends by itself records its exit code (dpcnn/outcome.py), and that is the exit code here. One that
was killed records nothing; it is started again with --resume auto, up to MAX_RESTARTS times, but
not twice from the same checkpoint. A signal to this process goes to the ranks, which save and
stop; a second Ctrl-C kills them. Uses the standard library only, so that nothing that breaks a
run breaks this.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

OUTCOME = "DPCNN_OUTCOME"
COMMAND = "DPCNN_COMMAND"
RESTART = "DPCNN_RESTART"
# Launchers set one of these for each rank, and for nothing else.
RANKS = ("PMI_RANK", "OMPI_COMM_WORLD_RANK")
STOPS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
GONE = 3  # seconds without a rank after which mpirun is not waited for
LONGEST_PAUSE = 2.0  # seconds before a restart


class Supervisor:
    """One run of training, in as many starts as it takes."""

    def __init__(self, command: list[str], max_restarts: int, folder: Path) -> None:
        self.command, self.max_restarts = command, max_restarts
        self.told = folder / "outcome.json"
        self.mpirun: subprocess.Popen[bytes] | None = None
        self.stops: list[int] = []

    def run(self) -> int:
        """Start the run until it has ended by itself or goes no further; return the exit code."""
        for stop in STOPS:
            signal.signal(stop, self._stop)
        command, restarts, saved = self.command, 0, None
        while True:
            self._start(command, restarts)
            code = self._exit_code()
            if code is not None:
                return code
            if self.stops:
                return 128 + self.stops[0]
            before, saved = saved, self._saved()
            reason = f"the run was broken off {after(saved)}"
            if restarts == self.max_restarts or (restarts and saved == before):
                return self._give_up(reason, restarts, saved == before)
            restarts += 1
            print(f"dpcnn: {reason}; restart {restarts} of {self.max_restarts}", file=sys.stderr)
            time.sleep(min(0.1 * restarts, LONGEST_PAUSE))
            command = self._resuming()

    def _start(self, command: list[str], restarts: int) -> None:
        """Run mpirun to its end, and see that it leaves no process behind."""
        self.told.unlink(missing_ok=True)
        if self.stops:
            return
        # A process group of its own: Ctrl-C is for this process, which passes it on once.
        self.mpirun = subprocess.Popen(
            command,
            env=os.environ | {OUTCOME: str(self.told), RESTART: str(restarts)},
            process_group=0,
        )
        self._wait(self.mpirun)
        self._kill()
        self.mpirun.wait()

    def _wait(self, mpirun: subprocess.Popen[bytes]) -> None:
        """Wait for mpirun, or until its ranks are gone: Open MPI's (5.0.11) can hang then."""
        begun, gone = False, 0
        while mpirun.poll() is None and gone < GONE:
            with contextlib.suppress(subprocess.TimeoutExpired):
                mpirun.wait(timeout=1)
            ranks = any(names & set(RANKS) for _, names in self._processes())
            begun = begun or ranks
            gone = gone + 1 if begun and not ranks else 0

    def _give_up(self, reason: str, restarts: int, stuck: bool) -> int:
        """Say why the run is not started again; return the exit code."""
        why = f" after {restarts} of {self.max_restarts} restarts" if restarts else ""
        why += " without progress" if restarts and stuck else ""
        cure = self._resuming()[len(self.command) :]
        cure = f"; go on with: {os.environ.get(COMMAND, '...')} {shlex.join(cure)}" if cure else ""
        print(f"dpcnn: error: {reason}{why}{cure}", file=sys.stderr)
        return 1

    def _stop(self, number: int, frame: object) -> None:
        """Pass a signal on to the ranks of this machine; the second SIGINT kills them."""
        if number == signal.SIGINT in self.stops:
            self._kill()
        self.stops.append(number)
        ranks = [pid for pid, names in self._processes() if names & set(RANKS)]
        if not ranks and self.mpirun is not None:
            ranks = [self.mpirun.pid]
        for pid in ranks:
            send(pid, number)

    def _kill(self) -> None:
        """Kill whatever mpirun has started, and mpirun."""
        for pid, _ in self._processes():
            send(pid, signal.SIGKILL)

    def _processes(self) -> Iterator[tuple[int, set[str]]]:
        """Yield each process of this run with the names in its environment, mpirun first."""
        mark = f"{OUTCOME}={self.told}".encode()
        for entry in sorted(os.listdir("/proc"), key=lambda name: name.zfill(9)):
            try:
                variables = Path("/proc", entry, "environ").read_bytes().split(b"\0")
            except OSError:
                continue
            if mark in variables:
                names = {each.partition(b"=")[0].decode(errors="replace") for each in variables}
                yield int(entry), names

    def _exit_code(self) -> int | None:
        """Return the exit code that the run has recorded, or None."""
        run_dir = self._run_dir()
        for facts in (read(self.told), read(run_dir / "outcome.json") if run_dir else {}):
            if isinstance(facts.get("exit_code"), int):
                return int(facts["exit_code"])
        return None

    def _saved(self) -> int | None:
        """Return the step of the newest checkpoint, None where there is none."""
        run_dir = self._run_dir()
        paths = (run_dir / "checkpoints").glob("step-*.h5") if run_dir else ()
        steps = (re.fullmatch(r"step-(\d+)\.h5", path.name) for path in paths)
        return max((int(step[1]) for step in steps if step), default=None)

    def _resuming(self) -> list[str]:
        """Return the command that goes on with the run; the same where it had not begun."""
        run_dir = self._run_dir()
        return self.command + (["--run_dir", str(run_dir), "--resume", "auto"] if run_dir else [])

    def _run_dir(self) -> Path | None:
        """Return the run directory, None where the run had not come so far."""
        path = read(self.told).get("run_dir")
        return Path(path) if path else None


def after(step: int | None) -> str:
    """Return where the newest checkpoint stands, in words."""
    return "before its first checkpoint" if step is None else f"and is saved up to step {step:,}"


def send(pid: int, number: int) -> None:
    """Send a signal to a process that may be gone."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


def read(path: Path) -> dict[str, Any]:
    """Return the JSON object of a file, empty where there is none."""
    try:
        facts = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return facts if isinstance(facts, dict) else {}


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="dpcnn-") as folder:
        sys.exit(Supervisor(sys.argv[2:], int(sys.argv[1]), Path(folder)).run())
