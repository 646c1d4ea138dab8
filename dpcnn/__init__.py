"""dpcnn trains convolutional networks in NumPy, data-parallel over MPI.

    mpirun -n 4 python -m dpcnn.train      data-parallel
    python -m dpcnn.train                  one process, no MPI needed

From Python:

    run = dpcnn.train(dataroot="digits", epochs=3)      the same, and under mpirun too
    dpcnn.load("runs/NAME").predict(images)             a trained network in use
    dpcnn.nn                                            layers for a network of your own

Importing it gives BLAS one thread, unless the user has chosen a number: many ranks share the
cores, and the exact reduction's bits are those of one thread.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from dpcnn.system import blas

blas.load()  # before anything here imports NumPy

from dpcnn.errors import DpcnnError  # noqa: E402
from dpcnn.training.api import Run, train  # noqa: E402
from dpcnn.version import __version__  # noqa: E402

if TYPE_CHECKING:
    from dpcnn import nn
    from dpcnn.inference.model import Model, load

__all__ = ["DpcnnError", "Model", "Run", "__version__", "load", "nn", "train"]


def __getattr__(name: str) -> Any:
    """Import what needs NumPy when it is asked for: the command line sets its threads first."""
    if name == "nn":
        return import_module("dpcnn.nn")
    if name in ("Model", "load"):
        return getattr(import_module("dpcnn.inference.model"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """Return what a session completes to."""
    return __all__
