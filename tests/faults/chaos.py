"""Trials by chance: ranks die or stop at the start, in training, as the world grows, at the end.

A trial is made from its number, so that one that fails can be made again. Several run at once,
which is the load under which most faults of this kind show.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from tests.launching import (
    Result,
    kill_session,
    metrics,
    processes,
    session_of,
    start,
    supervised,
    wait_for,
)

OPTIONS = ("--epochs", 2, "--max_steps", 24, "--checkpoint_every", "5st", "--progress", "none")
LIMIT = 60  # seconds that a trial may take, besides those of a run without faults
ITSELF = 60  # seconds of that, with others at the same time
AT_ONCE = 5
LINES = 30  # that a run may write of its faults
RANKS = 3
KINDS = ("starting", "training", "growing", "ending", "all")
# Where a rank may die in training, and how often a run comes there at least.
MOMENTS = {"step": 23, "allreduce": 23, "evaluation": 1, "checkpoint": 4, "recovery": 1}
GROWING = (
    *("spawning 1 0 kill_soon", "growing 1 0 kill_soon", "growing 1 2 kill_soon"),
    *("starting 1 new1 kill", "loading 1 new1 kill_soon", "exchange 2 new1 kill"),
    *("joining 1 new1 kill", "joining 1 new1 kill_soon", "meeting 1 new1 kill"),
)


class Trial(NamedTuple):
    """What is to happen: deaths at moments of the run (tests/faults/dying.py), and from outside.

    outside: seconds after the launch, which rank, or None for all processes, and the signal.
    """

    number: int
    mpi: str
    respawn: bool
    plan: str = ""
    outside: tuple[float, int | None, signal.Signals] | None = None


def trial(number: int) -> Trial:
    """Return the trial of this number: the kinds take turns."""
    rng = random.Random(number)
    kind = KINDS[number % len(KINDS)]
    mpi = "elastic" if kind in ("training", "growing") or rng.random() < 0.6 else "mpich"
    respawn = mpi == "elastic" and (kind == "growing" or rng.random() < 0.5)
    made = Trial(number, mpi, respawn)
    rank = rng.randrange(RANKS)
    if kind == "starting":
        number_of_signal = rng.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGSTOP])
        return made._replace(outside=(rng.uniform(0.1, 1.5), rank, number_of_signal))
    if kind == "all":
        return made._replace(outside=(rng.uniform(0.1, 4), None, signal.SIGKILL))
    if kind == "ending":
        return made._replace(plan=f"ending 1 {rank} {rng.choice(['kill', 'kill_soon', 'stop'])}")
    if kind == "growing":
        return made._replace(plan=f"step {rng.randint(2, 20)} 1 kill;{rng.choice(GROWING)}")
    return made._replace(plan=";".join(deaths(rng)))


def deaths(rng: random.Random) -> Iterator[str]:
    """Yield 1 or 2 deaths of different ranks, at random moments."""
    for rank in rng.sample(range(RANKS), rng.randint(1, 2)):
        moment = rng.choice(list(MOMENTS))
        count = rng.randint(1, MOMENTS[moment])
        yield f"{moment} {count} {rank} {rng.choice(['kill', 'kill_soon'])}"


def run(trial: Trial, data: Path, undisturbed: tuple[Path, str], folder: Path) -> str:
    """Make a trial; return what is wrong with how it ended, "" if nothing."""
    folder.mkdir()
    options = ("--dataroot", data, *OPTIONS, "--run_dir", "run", "--timeout", 10)
    job = start(
        RANKS,
        *options,
        *(["--respawn"] if trial.respawn else []),
        cwd=folder,
        mpi=trial.mpi,
        module="tests.faults.dying",
        under=supervised(20),
        DYING=trial.plan,
        DYING_ONCE="1",
    )
    with ThreadPoolExecutor(1) as pool:
        if trial.outside is not None:
            pool.submit(disturb, job, *trial.outside)
        try:
            stdout, stderr = job.communicate(timeout=LIMIT + ITSELF)
        except subprocess.TimeoutExpired:
            kill_session(job.pid)
            return f"{trial}: still running after {LIMIT + ITSELF} s\n{job.communicate()}"
        finally:
            kill_session(job.pid)
    wrong = faults(Result(job.returncode, stdout, stderr), undisturbed, folder)
    return f"{trial}: {wrong}\n{stdout}\n{stderr}" if wrong else ""


def faults(result: Result, undisturbed: tuple[Path, str], folder: Path) -> str:
    """Return what is wrong with a result, "" if nothing."""
    directory, sha = undisturbed
    if result.returncode:
        return f"exit code {result.returncode}"
    if result.sha != sha or metrics(folder / "run") != metrics(directory):
        return "other weights or metrics"
    lines = result.stderr.splitlines()
    return f"{len(lines)} lines of messages" if len(lines) > LINES else ""


def disturb(
    job: subprocess.Popen[str], seconds: float, rank: int | None, number: signal.Signals
) -> None:
    """Send a signal, so long after now, to a rank of the job, or to all but its supervisor.

    The supervisor is two processes: without the one that reads the output nothing can be printed.
    """
    time.sleep(seconds)
    targets = [pid for pid in processes() if pid != job.pid and session_of(pid) == job.pid]
    targets = [pid for pid in targets if not is_reader(pid)]
    if rank is not None:
        targets = [pid for pid in targets if is_rank(pid, rank)]
    for pid in targets:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def kill_now_and_then(job: subprocess.Popen[str], seconds: float, ranks: int) -> int:
    """Kill a rank every 2 to 4 s, for so long or until the job ends; return how many died.

    From the first epoch's end on: of a run that never begins there is nothing to go on with.
    """
    wait_for(job, "Epoch 1,")
    rng, deaths, end = random.Random(0), 0, time.monotonic() + seconds
    while time.monotonic() < end and job.poll() is None:
        time.sleep(rng.uniform(2, 4))
        living = [pid for pid in processes() if session_of(pid) == job.pid]
        living = [pid for pid in living if any(is_rank(pid, rank) for rank in range(ranks))]
        if living:
            with contextlib.suppress(ProcessLookupError):
                os.kill(rng.choice(living), signal.SIGKILL)
            deaths += 1
    return deaths


def is_reader(pid: int) -> bool:
    """Tell whether a process is the supervisor's reader of the ranks' output."""
    try:
        return b"launch/lib/output.py" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def is_rank(pid: int, rank: int) -> bool:
    """Tell whether a process is this rank of its job."""
    try:
        variables = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return False
    names = (b"OMPI_COMM_WORLD_RANK", b"PMI_RANK")
    return any(b"%s=%d" % (name, rank) in variables for name in names)


@contextlib.contextmanager
def load(count: int) -> Iterator[None]:
    """Keep so many processes busy."""
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for process in busy:
            process.kill()
            process.wait()


def run_all(
    numbers: Iterable[int], data: Path, undisturbed: tuple[Path, str], folder: Path
) -> list[str]:
    """Make the trials of these numbers, AT_ONCE of them at a time; return what went wrong."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        ends = pool.map(
            lambda number: run(trial(number), data, undisturbed, folder / str(number)), numbers
        )
        return list(filter(None, ends))
