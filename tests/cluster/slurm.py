"""A Slurm of its own on this machine, of two nodes: Debian's munged, slurmctld and slurmd.

Everything that Slurm starts runs in a PID namespace, which ends with the test run, however that
ends; configuration, state and spool directories and ports are its own.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "setpriv", "unshare")
NODES, CORES = 2, 2  # cores of a node, whatever this machine has
TIMEOUT = 120  # seconds; what has not happened by then fails the test
OVER = ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL")
IN_NAMESPACE = ("unshare", "--pid", "--fork", "--kill-child", "--mount-proc")

# Partition `urgent` preempts jobs of `usual`, which then have GraceTime to save and end. A job
# waits for cred_expire before it starts again; 5 is the least.
CONFIGURATION = """
ClusterName=dpcnn
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmUser=root
AuthInfo=socket={folder}/munge/socket,cred_expire=5
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
TmpFS={folder}
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
MailProg=/bin/true
ProctrackType=proctrack/linuxproc
TaskPlugin=task/affinity
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SlurmdParameters=config_overrides
SlurmctldParameters=preempt_send_user_signal
SchedulerParameters=sched_interval=1,sched_min_interval=0,batch_sched_delay=0,bf_interval=1
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
NodeName=n1 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[1]} CPUs={cores}
NodeName=n2 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[2]} CPUs={cores}
PartitionName=usual Nodes=ALL Default=YES PriorityTier=1 GraceTime=60
PartitionName=urgent Nodes=ALL PriorityTier=2
"""

# The first daemon that ends ends all. Killed ranks leave shared memory behind.
DAEMONS = """
mount -t tmpfs tmpfs /dev/shm
munged --foreground --force --key-file=munge/key --socket=munge/socket \
  --pid-file=munge/pid --log-file=munge/log --seed-file=munge/seed &
until [[ -S munge/socket ]]; do sleep 0.05; done
slurmctld -D &
slurmd -D -N n1 &
slurmd -D -N n2 &
wait -n
"""


class Slurm:
    """A running Slurm; its jobs work in `folder`."""

    def __init__(self, folder: Path, configuration: Path) -> None:
        self.folder = folder
        # Jobs inherit the environment; Open MPI wants to be told that root may use it.
        allow = dict.fromkeys(("OMPI_ALLOW_RUN_AS_ROOT", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM"), "1")
        self.environment = os.environ | allow | {"SLURM_CONF": str(configuration)}

    def run(self, *command: Any, **environment: str) -> str:
        """Run a command of Slurm's; return what it prints."""
        result = self._run(command, environment)
        assert result.returncode == 0, f"{command}\n{result.stdout}\n{result.stderr}"
        return result.stdout

    def succeeds(self, *command: Any) -> bool:
        """Run a command of Slurm's; tell whether it goes well."""
        return self._run(command, {}).returncode == 0

    def _run(
        self, command: tuple[Any, ...], environment: dict[str, str]
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            list(map(str, command)),
            cwd=self.folder,
            env=self.environment | environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
        )

    def idle_nodes(self) -> int:
        """Return how many nodes wait for jobs; 0 while Slurm does not answer."""
        command = ("sinfo", "-h", "-N", "-p", "usual", "-t", "idle", "-o", "%N")
        return len(self._run(command, {}).stdout.split())

    def submit(self, *arguments: Any, **environment: str) -> str:
        """Submit a job as sbatch does; return its number."""
        return self.run("sbatch", "--parsable", *arguments, **environment).strip()

    def facts(self, job: str) -> dict[str, str]:
        """Return what Slurm knows of a job."""
        shown = self.run("scontrol", "--oneliner", "show", "job", job)
        return dict(re.findall(r"(\S+?)=(\S+)", shown))

    def log(self, job: str) -> str:
        """Return what a job has printed, over all its starts."""
        path = Path(self.facts(job)["StdOut"])
        return path.read_text() if path.exists() else ""

    def ranks(self, job: str) -> dict[int, int]:
        """Return the process of each rank that Open MPI's mpirun has started for a job."""
        marks = {f"SLURM_CONF={self.environment['SLURM_CONF']}", f"SLURM_JOB_ID={job}"}
        name, processes = "OMPI_COMM_WORLD_RANK=", {}
        for path in Path("/proc").glob("[0-9]*/environ"):
            with contextlib.suppress(OSError):  # it has ended
                variables = set(os.fsdecode(path.read_bytes()).split("\0"))
                rank = [each.removeprefix(name) for each in variables if each.startswith(name)]
                if rank and marks <= variables:
                    processes[int(rank[0])] = int(path.parent.name)
        return processes

    def wait_for(self, job: str, text: str) -> None:
        """Wait until a job has printed the text; fails if it ends without."""
        until(
            lambda: text in self.log(job) or self.facts(job)["JobState"] in OVER,
            lambda: f"job {job} has not printed {text!r}:\n{self.log(job)}",
        )
        assert text in self.log(job), f"job {job} has ended:\n{self.log(job)}"

    def end(self, job: str) -> dict[str, str]:
        """Wait until a job is over for good; return what Slurm knows of it."""
        until(
            lambda: self.facts(job)["JobState"] in OVER,
            lambda: f"job {job} is not over: {self.facts(job)}\n{self.log(job)}",
        )
        return self.facts(job)


def until(condition: Callable[[], bool], otherwise: Callable[[], str]) -> None:
    """Wait until the condition holds; fail with the other's words if it never does."""
    limit = time.monotonic() + TIMEOUT
    while not condition():
        if time.monotonic() > limit:
            pytest.fail(otherwise())
        time.sleep(0.02)


def skip_unless_possible() -> None:
    """Skip, with the reason, where no Slurm can be started."""
    if os.geteuid() != 0:
        pytest.skip("not root, which slurmd has to be")
    missing = [program for program in PROGRAMS if shutil.which(program) is None]
    if missing:
        pytest.skip(f"no {', '.join(missing)}: apt-get install munge slurmctld slurmd slurm-client")
    tried = subprocess.run([*IN_NAMESPACE, "true"], capture_output=True, text=True)
    if tried.returncode:
        pytest.skip(f"no PID namespace of its own for Slurm: {tried.stderr.strip()}")


def free_ports(count: int) -> list[int]:
    """Return ports of this machine that nobody listens at."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [int(each.getsockname()[1]) for each in sockets]


def configure(folder: Path) -> Path:
    """Write the configuration into a folder; return its path."""
    for name in ("munge", "state", "spool-n1", "spool-n2"):
        (folder / name).mkdir()
    (folder / "munge").chmod(0o711)
    (folder / "munge/key").write_bytes(os.urandom(1024))
    (folder / "munge/key").chmod(0o600)
    path = folder / "slurm.conf"
    path.write_text(
        CONFIGURATION.format(
            host=socket.gethostname(), ports=free_ports(1 + NODES), folder=folder, cores=CORES
        )
    )
    return path


@contextlib.contextmanager
def running(folder: Path) -> Iterator[Slurm]:
    """Run a Slurm as long as the context lasts; its jobs work in folder/work."""
    skip_unless_possible()
    configuration = configure(folder)
    slurm = Slurm(folder / "work", configuration)
    slurm.folder.mkdir()
    output = folder / "daemons.log"
    with output.open("w") as file:
        # If this process is killed, so is unshare, and with it the namespace.
        daemons = subprocess.Popen(
            ["setpriv", "--pdeathsig=KILL", *IN_NAMESPACE, "bash", "-c", DAEMONS],
            cwd=folder,
            env=slurm.environment,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
        )
    try:
        until(
            lambda: slurm.idle_nodes() == NODES or daemons.poll() is not None,
            lambda: f"Slurm has not started:\n{output.read_text()}",
        )
        assert daemons.poll() is None, output.read_text()
        yield slurm
    finally:
        daemons.kill()
        daemons.wait()
