"""Runs mpirun, and restarts it from the newest checkpoint when a run ends without saying how.

    python launch/lib/supervise.py MAX_RESTARTS mpirun ... python -m dpcnn.train ...

mpirun's exit code is not trusted: under ULFM it is 0 even if every rank was killed. A run that ends
by itself records its exit code (dpcnn/run/outcome.py), and the supervisor exits with that. A run
that is killed records nothing; it is restarted with --resume auto, up to MAX_RESTARTS times before
there is a new checkpoint. A restart that was killed before the run had begun again does not count.
Signals to this process are passed on to the ranks, which save and stop; a second Ctrl-C kills them.
DPCNN_HOSTS names the other hosts of the run, which are asked over ssh. Uses only the standard
library, so that whatever breaks a run does not break its supervisor.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path
from typing import Any

import ssh
import sweep
import traces
from loopback import Confinement
from output import Output, say
from patience import Patience, View

COMMAND = "DPCNN_COMMAND"
HOSTS = "DPCNN_HOSTS"
RESTART = "DPCNN_RESTART"
SUPERVISOR = "DPCNN_SUPERVISOR"
OUTPUT = "DPCNN_OUTPUT"
# Schedulers announce the end with the one or the other; a terminal that is closed sends SIGHUP.
STOPS = (
    *(signal.SIGTERM, signal.SIGINT, signal.SIGHUP),
    *(signal.SIGUSR1, signal.SIGUSR2, signal.SIGXCPU),
)
PERIOD = 1.0  # seconds between two looks for ranks on this host
PERIOD_AT_FIRST = 0.25  # the same until the run has begun
PERIOD_ELSEWHERE = 5.0  # the same if this host has none
ENDING = 10.0  # seconds for the system to end what was killed
LONGEST_PAUSE = 2.0  # seconds before a restart
EARLY = 20  # restarts in a row that do not count, of a run that began before


class Supervisor:
    """Runs one training, with as many restarts as it takes."""

    def __init__(self, command: list[str], max_restarts: int, told: Path, hosts: list[str]) -> None:
        self.command, self.max_restarts = command, max_restarts
        self.told, self.hosts = told, hosts
        self.mpirun: subprocess.Popen[bytes] | None = None
        self.stops: list[int] = []
        self.confinement = Confinement()
        # What each host has recorded about the run since its last start.
        self.records: list[dict[str, Any]] = []
        # What is known of the run from all starts: one that is killed early records nothing.
        self.run_dir: str | None = None
        self.saved: int | None = None

    def run(self) -> int:
        """Start the run until it ends by itself or makes no progress; return the exit code."""
        self._listen()
        command, starts, restarts, early = self.command, 0, 0, 0
        while True:
            self._start(command, starts)
            code = self._recorded("exit_code")
            if code is not None:
                return int(code)
            before = self.saved
            begun = self._take_in()
            if self.stops:
                self._tell_what_is_lost()
                return 128 + self.stops[0]
            restarts = restarts if self.saved == before else 0
            early = 0 if begun or self.run_dir is None else early + 1
            counts = not 0 < early <= EARLY or restarts == 0
            reason = f"the run was interrupted {moment(self.saved)}"
            if counts and restarts == self.max_restarts:
                return self._give_up(reason)
            starts, restarts = starts + 1, restarts + counts
            say(f"dpcnn: {reason}; restart {restarts} of {self.max_restarts}")
            time.sleep(min(0.1 * starts, LONGEST_PAUSE))
            command = self._resuming()

    def _listen(self) -> None:
        """Pass on the signals that ask to stop; SIGHUP too, unless nohup has us ignore it."""
        for stop in STOPS:
            if stop != signal.SIGHUP or signal.getsignal(stop) != signal.SIG_IGN:
                signal.signal(stop, self._stop)
        signal.signal(signal.SIGTSTP, self._suspend)

    def _take_in(self) -> bool:
        """Take in what the last start has recorded; tell whether the run has begun then.

        One that was killed earlier may get further next time, even if it has saved nothing.
        """
        run_dir, saved, before = self._recorded("run_dir"), self._recorded("saved"), self.saved
        self.run_dir = run_dir or self.run_dir
        self.saved = before if saved is None else max(saved, before or 0)
        return run_dir is not None

    def _start(self, command: list[str], restarts: int) -> None:
        """Run mpirun to its end and see to it that no process is left behind."""
        self.records = []
        if self.stops:
            return
        traces.begin(self.told)
        self._elsewhere("begin")
        own = {
            traces.OUTCOME: str(self.told),
            RESTART: str(restarts),
            SUPERVISOR: traces.own_name(),
            OUTPUT: str(self.told.parent),
        }
        output = Output(self.told.parent)
        # In its own process group: Ctrl-C is for this process, which passes it on once.
        self.mpirun = subprocess.Popen(
            command,
            env=os.environ | own,
            stdout=output.stdout,
            stderr=output.stderr,
            process_group=0,
        )
        output.close()
        sweep.sweep()  # while mpirun starts
        self._wait(self.mpirun)
        hangs = self.mpirun.poll() is None
        record = traces.end(self.told)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.mpirun.wait(ENDING)
        output.finish(lambda: self.stops)
        if hangs and self.hosts:
            say("dpcnn: mpirun was hanging: the last lines of ranks on other hosts may be missing")
        self.records = [record, *self._elsewhere("end")]

    def _wait(self, mpirun: subprocess.Popen[bytes]) -> None:
        """Wait for mpirun, or until its run is over or can no longer begin."""
        patience, period = Patience(bool(self.hosts)), PERIOD_AT_FIRST
        while True:
            with contextlib.suppress(subprocess.TimeoutExpired):
                mpirun.wait(timeout=period)
            view = self._view()
            if mpirun.poll() is not None or patience.is_over(view, period):
                return
            period = PERIOD if view.told else PERIOD_AT_FIRST
            if self.hosts and not view.ranks and not view.ended:
                period = PERIOD_ELSEWHERE

    def _view(self) -> View:
        """Return what is seen of the run."""
        seen, record = traces.look(self.told), traces.record(self.told)
        if not self.hosts:
            self.confinement.confine(seen["all"])
        ended = "exit_code" in record
        elsewhere = not seen["ranks"] and not ended and self._any_elsewhere()
        ranks, stopped = frozenset(seen["ranks"]), frozenset(seen["stopped"])
        told, asked = bool(record), bool(self.stops)
        return View(ranks, stopped, elsewhere, told, ended, asked, seen["expected"])

    def _any_elsewhere(self) -> bool:
        """Tell whether a rank is left on another host, and ask that host first next time."""
        for host in list(self.hosts):
            if any(answer.get("ranks") for answer in self._ask([host], "look")):
                self.hosts.remove(host)
                self.hosts.insert(0, host)
                return True
        return False

    def _give_up(self, reason: str) -> int:
        """Say why the run is not restarted; return the exit code."""
        why = f", {self.max_restarts} restarts later too" if self.max_restarts else ""
        cure = self._resuming()[len(self.command) :]
        cure = (
            f"; resume it with: {os.environ.get(COMMAND, '...')} {shlex.join(cure)}" if cure else ""
        )
        say(f"dpcnn: error: {reason}{why}{cure}")
        return 1

    def _tell_what_is_lost(self) -> None:
        """Say after a second Ctrl-C, which has killed the ranks, what they have left."""
        if self.stops.count(signal.SIGINT) > 1 and self.run_dir is not None:
            where = shlex.join(self._resuming()[len(self.command) :])
            say(
                f"dpcnn: the run was ended by a second Ctrl-C {moment(self.saved)}; later steps are"
                f" lost. Go on with: {os.environ.get(COMMAND, '...')} {where}"
            )

    def _stop(self, number: int, frame: object) -> None:
        """Pass a signal on to the ranks; a second SIGINT kills them.

        The ranks of this host tell the others; if there are no ranks yet, mpirun gets the signal.
        """
        if number == signal.SIGINT in self.stops:
            traces.kill(self.told)
        self.stops.append(number)
        asked = [traces.send(self.told, number)]
        if not asked[0]["ranks"]:
            asked += self._elsewhere("send", str(number))
        if not any(answer["ranks"] for answer in asked) and self.mpirun is not None:
            traces.deliver(self.mpirun.pid, number)

    def _suspend(self, number: int, frame: object) -> None:
        """Stop this process and the ranks for as long as somebody has typed Ctrl-Z."""
        self._send(signal.SIGSTOP)
        os.kill(os.getpid(), signal.SIGSTOP)
        self._send(signal.SIGCONT)

    def _send(self, number: int) -> None:
        """Send a signal to the ranks of all hosts."""
        traces.send(self.told, number)
        self._elsewhere("send", str(int(number)))

    def _elsewhere(self, action: str, *arguments: str) -> list[dict[str, Any]]:
        """Run an action of traces.py on all other hosts; return the answers."""
        return self._ask(self.hosts, action, *arguments)

    def _ask(self, hosts: list[str], action: str, *arguments: str) -> list[dict[str, Any]]:
        there = ["sh", "-c", 'cd "$1" && shift && exec "$@"', "sh", os.getcwd()]
        command = [*there, sys.executable, traces.__file__, action, str(self.told), *arguments]
        answers = ssh.on_all(hosts, lambda host: ssh.ask(host, command))
        return [answer for answer in answers if not isinstance(answer, ssh.HostError)]

    def _recorded(self, name: str) -> Any:
        """Return what the first host that knows it recorded, or of `saved` the newest; or None."""
        found = [known[name] for known in self.records if known.get(name) is not None]
        return max(found, default=None) if name == "saved" else next(iter(found), None)

    def _resuming(self) -> list[str]:
        """Return the command that resumes the run, or the first one again if it had not begun."""
        where = ["--run_dir", self.run_dir, "--resume", "auto"] if self.run_dir else []
        return self.command + where


def moment(step: int | None) -> str:
    """Say when a run was interrupted whose newest checkpoint is of this step."""
    return "before its first checkpoint" if step is None else f"after saving step {step:,}"


if __name__ == "__main__":
    told = Path(tempfile.gettempdir(), f"dpcnn-{uuid.uuid4().hex}", "outcome.json")
    others = os.environ.get(HOSTS, "").split()
    sys.exit(Supervisor(sys.argv[2:], int(sys.argv[1]), told, others).run())
