"""Whether the MPI library is the one of the launcher."""

from __future__ import annotations

import shutil
import subprocess

from dpcnn.doctor.finding import FAILURE, OK, WARNING, Finding
from dpcnn.errors import LaunchError
from dpcnn.parallel.communicator import Communicator
from dpcnn.parallel.launcher import Launch, detect, family

PATIENCE = 20  # seconds that an mpirun may take to tell its version


def connected(comm: Communicator) -> list[Finding]:
    """Say which library connects the ranks; of one rank, whether mpirun could start more."""
    launcher = detect().launcher
    if launcher is None:
        return [_prospect()]
    return [Finding(OK, f"{comm.library}, started by {launcher}")]


def unconnected(error: LaunchError) -> list[Finding]:
    """Say why the ranks did not connect: the error's message ends with its cure."""
    text, _, cure = str(error).rpartition(": ")
    return [Finding(FAILURE, text, f"{cure}; what follows is of rank 0 alone")]


def _prospect() -> Finding:
    """Compare the mpirun on the PATH with the library that mpi4py would use."""
    alone = "one process, which needs no MPI"
    mpirun = shutil.which("mpirun")
    if mpirun is None:
        return Finding(OK, f"{alone}; no mpirun on the PATH to start several")
    try:
        # Imported here: it imports mpi4py, which one process may lack.
        from dpcnn.parallel.mpi import library_name

        library = library_name()
    except (ImportError, RuntimeError) as error:
        cure = "to start several, install mpi4py in this environment (pip install mpi4py)"
        return Finding(WARNING, f"{alone}; mpi4py cannot be used ({error})", cure)
    result = subprocess.run(
        [mpirun, "--version"], capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    launcher = family(result.stdout)
    if launcher is not None and Launch(launcher, size=2).is_foreign_to(library):
        cure = "to start several, use the mpirun of that MPI, or install mpi4py for this one"
        return Finding(WARNING, f"{alone}; {mpirun} is {launcher}, mpi4py uses {library}", cure)
    return Finding(OK, f"{alone}; mpi4py uses {library}, and {mpirun} fits it")
