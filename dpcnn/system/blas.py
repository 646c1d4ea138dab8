"""BLAS threads, set through the environment before NumPy loads its BLAS, or for a while after.

Importing it imports neither NumPy nor anything that does.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

VARIABLES = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")

# What the user had set before this package set anything.
USERS = next((os.environ[name] for name in VARIABLES if os.environ.get(name)), None)

# OpenBLAS has names of its own in NumPy's wheels (scipy_, 64_).
_OPENBLAS = ("scipy_openblas_{}64_", "openblas_{}64_", "scipy_openblas_{}", "openblas_{}")
_MKL = {"get_num_threads": "MKL_Get_Max_Threads", "set_num_threads": "MKL_Set_Num_Threads"}


def threads(requested: int | None, exact: bool, local_size: int) -> int:
    """Return the BLAS threads of a rank.

    `requested` wins; then a variable the user has set; then 1 under the exact reduction, whose
    bits are those of one thread; else this process's cores divided by the node's ranks.
    """
    if requested is not None:
        return requested
    if USERS is not None and USERS.isdecimal():
        return int(USERS)
    return 1 if exact else max(1, len(os.sched_getaffinity(0)) // local_size)


def set_threads(count: int) -> None:
    """Give BLAS that many threads, if NumPy has not been imported yet."""
    os.environ.update(dict.fromkeys(VARIABLES, str(count)))


@contextlib.contextmanager
def limited(count: int) -> Iterator[None]:
    """Give BLAS that many threads while entered, also where NumPy has been imported before."""
    import numpy  # noqa: F401  (its BLAS must be there to be limited)

    with contextlib.ExitStack() as stack:
        for library in _loaded():
            put, before = _function(library, "set_num_threads"), _threads(library)
            if put and before:
                stack.callback(put, before)
                put(count)
        yield


def loaded() -> dict[str, str | int | None]:
    """Return of the BLAS in this process: for which CPU its kernels are, and its threads.

    None where it does not tell. The bits depend on the kernels, which NumPy's build leaves open.
    """
    facts: dict[str, str | int | None] = {"kernels": None, "threads": None}
    for library in _loaded():
        corename = _function(library, "get_corename")
        if corename:
            corename.restype = ctypes.c_char_p
            facts["kernels"] = corename().decode()
        facts["threads"] = _threads(library)
    return facts


def _loaded() -> list[ctypes.CDLL]:
    """Return the BLAS libraries of this process."""
    fields = (line.split(maxsplit=5) for line in Path("/proc/self/maps").read_text().splitlines())
    paths = sorted({each[5] for each in fields if len(each) == 6})
    return [ctypes.CDLL(p) for p in paths if "blas" in Path(p).name or "libmkl_rt" in p]


def _function(library: ctypes.CDLL, what: str) -> Any:
    """Return a function of OpenBLAS or MKL, None where the library has no such."""
    names = [form.format(what) for form in _OPENBLAS] + [_MKL.get(what, what)]
    return next((getattr(library, name) for name in names if hasattr(library, name)), None)


def _threads(library: ctypes.CDLL) -> int | None:
    get = _function(library, "get_num_threads")
    return get() if get else None
