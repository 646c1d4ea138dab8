"""dpcnn.train whose ranks die, hang or fail where DYING says: `MOMENT COUNT RANK ACTION;...`.

A moment is a place in the training; the action happens when the rank, by the number it was
started with, comes there for the COUNT-th time. new1 is a rank that was started in the place of
rank 1, newnew1 in the place of new1. With DYING_ONCE a resumed run is left alone.
"""

from __future__ import annotations

import contextlib
import errno
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dpcnn.parallel.elastic import ElasticCommunicator
from dpcnn.parallel.mpi import MPICommunicator
from dpcnn.parallel.shared_memory import SharedVectors
from dpcnn.run import checkpoint
from dpcnn.training import api, recovery, replay, setup, trainer

RUN = Path("run")
RANK = os.environ.get("OMPI_COMM_WORLD_RANK") or os.environ.get("PMI_RANK") or "0"
if "DPCNN_REPLACES" in os.environ:
    RANK = f"new{os.environ['DPCNN_REPLACES']}"
    while Path(RANK).exists():
        RANK = f"new{RANK}"
    Path(RANK).touch()


def kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def kill_soon() -> None:
    threading.Timer(random.random() * 0.02, kill).start()


def bug() -> None:
    raise ValueError("a bug")


def memory() -> None:
    raise MemoryError("as much as there is not")


def break_the_disk() -> None:
    def broken(*arguments: Any) -> int:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    os.preadv = broken


def files_up_to(size: int) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


def forbid() -> None:
    """Take the right to write in the run directory; root has it whatever the mode says."""
    for folder in (RUN, RUN / "checkpoints"):
        folder.chmod(0o500)
    if os.geteuid() == 0:
        os.seteuid(65534)


def allow() -> None:
    if os.getuid() == 0:
        os.seteuid(0)
    for folder in (RUN, RUN / "checkpoints"):
        folder.chmod(0o700)


def make_read_only() -> None:
    """Mount the run directory over itself: files that are open for writing forbid a remount."""
    subprocess.run(["mount", "--bind", RUN, RUN], check=True)
    subprocess.run(["mount", "-o", "remount,bind,ro", RUN], check=True)


def fill() -> None:
    """Leave no byte free on the disk of the run directory."""
    with contextlib.suppress(OSError), (RUN / "filler").open("ab", buffering=0) as file:
        while True:
            file.write(bytes(4096))


def replace() -> None:
    """Put a file in the place of the directory for checkpoints."""
    (RUN / "checkpoints").rename(RUN / "old")
    (RUN / "checkpoints").touch()


ACTIONS: dict[str, Callable[[], object]] = {
    "kill": kill,
    "kill_soon": kill_soon,
    "stop": lambda: os.kill(os.getpid(), signal.SIGSTOP),
    "stop_mpirun": lambda: os.kill(os.getppid(), signal.SIGSTOP),
    "segfault": lambda: os.kill(os.getpid(), signal.SIGSEGV),
    "bug": bug,
    "exit": lambda: sys.exit(3),
    "memory": memory,
    "slow": lambda: time.sleep(3),
    "full": lambda: files_up_to(100_000),  # metrics fit, a checkpoint of 750 kB does not
    "emptied": lambda: files_up_to(resource.RLIM_INFINITY),
    "filled": fill,
    "cleared": lambda: (RUN / "filler").unlink(),
    "read-only": make_read_only,
    "writable": lambda: subprocess.run(["umount", RUN], check=True),
    "forbidden": forbid,
    "allowed": allow,
    "replaced": replace,
    "removed": lambda: shutil.rmtree(RUN),
    "hang": lambda: time.sleep(1000),
    "disk": break_the_disk,
}
if "DYING_SETTING_UP" in os.environ:
    api.SETTING_UP = float(os.environ["DYING_SETTING_UP"])
if "SMALL_WINDOWS" in os.environ:
    from tests.mpi import small_windows  # noqa: F401  (for new ranks too)
STARTING = {"starting", "exchange", "loading"}
PLAN = [line.split() for line in os.environ["DYING"].split(";") if line]
restarted = os.environ.get("DPCNN_RESTART", "0") != "0"
if "DYING_ONCE" in os.environ and restarted:
    begun = any(Path().glob("*/options.json"))
    PLAN = [] if begun else [line for line in PLAN if line[0] not in STARTING]
comes: Counter[str] = Counter()


def at(moment: str, function: Any) -> Any:
    """Return the function with the actions of the plan before it."""

    def planned(*arguments: Any, **options: Any) -> Any:
        comes[moment] += 1
        for where, count, rank, action in PLAN:
            if (where, int(count), rank) == (moment, comes[moment], RANK):
                ACTIONS[action]()
        return function(*arguments, **options)

    return planned


trainer.Trainer.step = at("step", trainer.Trainer.step)
trainer.Trainer.evaluate = at("evaluation", trainer.Trainer.evaluate)
checkpoint.write = at("checkpoint", checkpoint.write)
MPICommunicator.bcast = at("exchange", MPICommunicator.bcast)
MPICommunicator.allgather = at("exchange", MPICommunicator.allgather)
SharedVectors.add = at("allreduce", SharedVectors.add)
ElasticCommunicator.shrink = at("recovery", ElasticCommunicator.shrink)
ElasticCommunicator.spawn = at("spawning", ElasticCommunicator.spawn)
ElasticCommunicator.grow = at("growing", ElasticCommunicator.grow)
ElasticCommunicator.join = at("joining", ElasticCommunicator.join)
MPICommunicator.finish = at("ending", MPICommunicator.finish)
ElasticCommunicator.finish = at("ending", ElasticCommunicator.finish)
setup.open_dataset = replay.open_dataset = at("loading", setup.open_dataset)
trainer.sync = at("meeting", trainer.sync)
recovery.COMMAND = (sys.executable, "-P", "-m", "tests.faults.dying")
sys.exit(at("starting", api.main)())
