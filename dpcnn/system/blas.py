"""BLAS threads: how many a rank has, and how they are set.

NumPy multiplies matrices in a BLAS library that has threads of its own: OpenBLAS in NumPy's wheels,
MKL in some builds. Their number can be set at any time; the products after that take it, and have
the bits of a library that was loaded with it. What cannot be undone are threads that have been
started: OpenBLAS starts one a core as soon as it is loaded, which on a node of N cores would be
N x N for N ranks, each with a buffer. Hence `default_to_one_thread`, which importing the package
calls.

Importing this module imports neither NumPy nor anything that does.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

VARIABLES = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")

# How functions are named: OpenBLAS's have a prefix in NumPy's wheels, and a suffix where it is
# built for integers of 64 bits.
_OPENBLAS = ("scipy_openblas_{}64_", "openblas_{}64_", "scipy_openblas_{}", "openblas_{}")
_MKL = {"get_num_threads": "MKL_Get_Max_Threads", "set_num_threads": "MKL_Set_Num_Threads"}


@dataclass(frozen=True)
class _Library:
    """What is used of a BLAS library in this process; `get_kernels` tells its kernels' CPU.

    An OpenBLAS built with OpenMP, as Debian has one, keeps the number for the thread that sets it.
    MKL takes fewer threads than it is told where there are fewer cores.
    """

    get_threads: Callable[[], int]
    set_threads: Callable[[int], None]
    get_kernels: Callable[[], bytes] | None


def threads(requested: int | None, exact: bool, local_size: int) -> int:
    """Return the BLAS threads of a rank.

    `requested` wins; then a variable of the environment, the user's; then 1 under the exact
    reduction, whose bits are those of one thread; else this process's cores divided by the ranks
    of its node.
    """
    if requested is not None:
        return requested
    variable = next((os.environ[name] for name in VARIABLES if os.environ.get(name)), "")
    if variable.isdecimal():
        return int(variable)
    return 1 if exact else max(1, len(os.sched_getaffinity(0)) // local_size)


def default_to_one_thread() -> None:
    """Import NumPy with one BLAS thread, or as many as the user's variables say.

    A library reads its variables when it is loaded, or first used. Afterwards they are again what
    they were, so that processes started later can tell what the user has chosen. Where NumPy has
    been imported before, its threads are its user's and stay.
    """
    if "numpy" in sys.modules:
        return
    count = threads(None, exact=True, local_size=1)
    before = {name: os.environ.get(name) for name in VARIABLES}
    os.environ.update(dict.fromkeys(VARIABLES, str(count)))
    try:
        import numpy  # noqa: F401  (its BLAS)

        set_threads(count)
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def set_threads(count: int) -> None:
    """Give the BLAS libraries of this process that many threads."""
    for library in _libraries():
        library.set_threads(count)


@contextlib.contextmanager
def limited(count: int) -> Iterator[None]:
    """Give BLAS that many threads while entered, and those it had before afterwards."""
    import numpy  # noqa: F401  (its BLAS must be there to be limited)

    before = [(library, library.get_threads()) for library in _libraries()]
    try:
        set_threads(count)
        yield
    finally:
        for library, number in before:
            library.set_threads(number)


def loaded() -> dict[str, str | int | None]:
    """Return the kernels and the threads of NumPy's BLAS, None for what it does not tell.

    kernels: the CPU they are written for, by OpenBLAS's name. Bits depend on it, and NumPy's build
    leaves it open.
    """
    library = next(iter(_libraries()), None)
    if library is None:
        return {"kernels": None, "threads": None}
    kernels = library.get_kernels().decode() if library.get_kernels else None
    return {"kernels": kernels, "threads": library.get_threads()}


def as_variables() -> dict[str, str]:
    """Return the variables that give a new process the threads that BLAS has in this one."""
    count = loaded()["threads"]
    return {} if count is None else dict.fromkeys(VARIABLES, str(count))


def _libraries() -> list[_Library]:
    """Return the BLAS libraries of this process whose threads can be set, NumPy's own first."""
    mappings = (line.split(maxsplit=5) for line in Path("/proc/self/maps").read_text().splitlines())
    paths = {fields[5] for fields in mappings if len(fields) == 6}
    blas = [path for path in paths if "blas" in Path(path).name or "libmkl_rt" in path]
    blas.sort(key=lambda path: ("numpy" not in path, path))  # SciPy's wheels bring another one
    return list(filter(None, map(_library, blas)))


def _library(path: str) -> _Library | None:
    """Return a library that has been loaded; None if its threads cannot be set."""
    functions = ctypes.CDLL(path)
    get_threads = _function(functions, "get_num_threads")
    set_threads = _function(functions, "set_num_threads")
    get_kernels = _function(functions, "get_corename")
    if get_threads is None or set_threads is None:
        return None
    if get_kernels is not None:
        get_kernels.restype = ctypes.c_char_p
    return _Library(get_threads, set_threads, get_kernels)


def _function(functions: ctypes.CDLL, name: str) -> Any:
    """Return a function of OpenBLAS or MKL, None if the library does not have it."""
    aliases = [*(form.format(name) for form in _OPENBLAS), _MKL.get(name, name)]
    return next(filter(None, (getattr(functions, alias, None) for alias in aliases)), None)
