"""Who started this process, as one of how many: read from the environment, before MPI.

Rank 0 must be known before MPI starts (to print one error line, one help text), and a launcher
that started several ranks must be noticed when the MPI library sees only one. Imports no NumPy,
since the number of local ranks decides the BLAS threads.
"""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

OPEN_MPI = "Open MPI's mpirun"
HYDRA = "a Hydra mpirun (MPICH or Intel MPI)"
SLURM = "Slurm's srun"
PMI = "a PMI launcher"
# Set by launch/elastic, beside mpirun's own option: no variable of Open MPI tells.
ELASTIC = "DPCNN_ELASTIC"
# Set for a rank that is started in the place of one that died: the rank of that one.
REPLACES = "DPCNN_REPLACES"

# Set by the launch scripts: their own words.
COMMAND = "DPCNN_COMMAND"


@dataclass(frozen=True)
class Launch:
    """What the launcher says: its name, or None for a process started alone.

    `elastic`: it was told to keep the job alive when a rank dies. `replaces`: the rank that died,
    where this process is to take its place; it has no rank of its own until it has joined the
    others, -1 here.
    """

    launcher: str | None = None
    rank: int = 0
    size: int = 1
    local_size: int = 1
    elastic: bool = False
    replaces: int | None = None

    def is_foreign_to(self, library: str) -> bool:
        """Tell whether this launcher certainly cannot start ranks of this MPI library.

        It is known by its name. Others get the benefit of the doubt: the size of the world tells.
        """
        if self.launcher == OPEN_MPI:
            return library.startswith(("MPICH", "Intel", "MVAPICH"))
        return self.launcher == HYDRA and library.startswith("Open MPI")


# Launcher: the variables of rank, size and local size. SLURM_NTASKS is not among them: it says
# what an allocation may hold, and is also set for a plain python in a batch script;
# SLURM_STEP_NUM_TASKS is set by srun for what it started. PMIx names the rank but not the size,
# so PMIx alone is found under the launcher's own names (Open MPI, Slurm).
_VARIABLES = (
    (OPEN_MPI, "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_SIZE"),
    (HYDRA, "PMI_RANK", "PMI_SIZE", "MPI_LOCALNRANKS"),
    (SLURM, "SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_STEP_TASKS_PER_NODE"),
    (PMI, "PMI_RANK", "PMI_SIZE", "PMI_LOCAL_SIZE"),
)


def detect(environment: Mapping[str, str] = os.environ) -> Launch:
    """Return who launched this process, from the variables of the known launchers."""
    if REPLACES in environment:
        return Launch(OPEN_MPI, -1, elastic=True, replaces=_number(environment[REPLACES], 0))
    for launcher, rank, size, local_size in _VARIABLES:
        if size in environment and rank in environment and _is_itself(launcher, environment):
            world = max(1, _number(environment[size], 1))
            local = max(1, _number(environment.get(local_size, ""), world))
            elastic = launcher == OPEN_MPI and environment.get(ELASTIC) == "1"
            return Launch(launcher, _number(environment[rank], 0), world, local, elastic)
    return Launch()


def _is_itself(launcher: str, environment: Mapping[str, str]) -> bool:
    """Tell whether the variables that launchers share or inherit are this one's own."""
    if launcher == HYDRA:
        return "MPI_LOCALNRANKS" in environment  # which no other sets
    if launcher == SLURM:
        # srun --mpi=pmi2 sets PMI's too; an mpirun that starts through srun has a size of its own.
        size = environment["SLURM_STEP_NUM_TASKS"]
        return environment.get("PMI_SIZE", size) == size
    return True


def family(version: str) -> str | None:
    """Return which launcher an mpirun is that says this of its version, None for an unknown one."""
    if "Open MPI" in version or "OpenRTE" in version:
        return OPEN_MPI
    return HYDRA if "HYDRA" in version or "Intel" in version else None


def find_mpirun() -> str | None:
    """Return the mpirun of this environment, else the one on the PATH, None if there is neither."""
    beside = Path(sys.executable).with_name("mpirun")
    return str(beside) if beside.exists() else shutil.which("mpirun")


def command(size: int, environment: Mapping[str, str] = os.environ) -> str:
    """Return what a user types to train on so many ranks, without the options of training."""
    train = "python -m dpcnn.train"
    mpirun = "srun" if detect(environment).launcher == SLURM else "mpirun"
    return environment.get(COMMAND) or (train if size == 1 else f"{mpirun} -n {size} {train}")


def single_command(name: str) -> str:
    """Return what a user types for another command, in one process of this environment."""
    python = Path(sys.executable)
    if shutil.which("dpcnn") == str(python.with_name("dpcnn")):
        return f"dpcnn {name}"
    if shutil.which(python.name) == str(python):
        words = python.name
    else:
        near = python.is_relative_to(Path.cwd())
        words = shlex.quote(str(python.relative_to(Path.cwd()) if near else python))
    return f"{words} -m dpcnn.{name}"


def _number(text: str, default: int) -> int:
    """Return the leading integer of text: Slurm writes "4(x2)" for four tasks on two nodes each."""
    digits = text.split("(")[0].split(",")[0]
    return int(digits) if digits.isdecimal() else default
