"""Whether the MPI library is that of the launcher."""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING

from dpcnn.doctor.finding import FAILURE, OK, WARNING, Finding

if TYPE_CHECKING:
    from dpcnn.errors import LaunchError
    from dpcnn.parallel.communicator import Communicator

ASKING = 20  # seconds that an mpirun may take to tell its version


def met(comm: Communicator) -> list[Finding]:
    """Say with which library the ranks have met; of one rank, whether mpirun could start more."""
    from dpcnn.parallel.launcher import detect

    launcher = detect().launcher
    if launcher is None:
        return [_prospect()]
    return [Finding(OK, f"{comm.library}, started by {launcher}")]


def unmet(error: LaunchError) -> list[Finding]:
    """Say why the ranks have not met: the error's message ends with its cure."""
    what, _, cure = str(error).rpartition(": ")
    return [Finding(FAILURE, what, f"{cure}; the rest is of rank 0 by itself")]


def _prospect() -> Finding:
    """Compare the mpirun on the PATH with the library that mpi4py would use."""
    from dpcnn.parallel.launcher import Launch, family

    one = "one process, which needs no MPI"
    mpirun = shutil.which("mpirun")
    if mpirun is None:
        return Finding(OK, f"{one}; no mpirun on the PATH to start several")
    try:
        from dpcnn.parallel.mpi import library_name

        library = library_name()
    except (ImportError, RuntimeError) as error:
        cure = "to start several, install mpi4py in this environment (pip install mpi4py)"
        return Finding(WARNING, f"{one}; mpi4py cannot be used ({error})", cure)
    asked = subprocess.run(
        [mpirun, "--version"], capture_output=True, text=True, timeout=ASKING, check=False
    )
    launcher = family(asked.stdout)
    if launcher is not None and Launch(launcher, size=2).is_foreign_to(library):
        cure = "to start several, use the mpirun of that MPI, or install mpi4py for this one"
        return Finding(WARNING, f"{one}; {mpirun} is {launcher}, mpi4py uses {library}", cure)
    return Finding(OK, f"{one}; mpi4py uses {library}, {mpirun} fits")
