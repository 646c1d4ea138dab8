"""BLAS threads, set through the environment before NumPy loads its BLAS, or for a while after.

Importing it imports neither NumPy nor anything that does.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

VARIABLES = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")

# What the user had set before this package set anything.
USERS = next((os.environ[name] for name in VARIABLES if os.environ.get(name)), None)


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
    from threadpoolctl import threadpool_limits

    with threadpool_limits(count, user_api="blas"):
        yield
