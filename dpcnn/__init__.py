"""dpcnn trains convolutional networks in NumPy, data-parallel over MPI.

    mpirun -n 4 python -m dpcnn.train      data-parallel
    python -m dpcnn.train                  one process, no MPI needed

From Python:

    run = dpcnn.train(dataroot="digits", epochs=3)      the same, and under mpirun too
    run = dpcnn.train(layers, X, y, x_test=..., ...)    a network of your own, on arrays
    dpcnn.load("runs/NAME").predict(images)             a trained network in use
    dpcnn.nn                                            layers for a network of your own
    dpcnn.check(layers, (1, 28, 28))                    whether their gradients are right
"""

from dpcnn.system import blas

blas.default_to_one_thread()  # before anything below imports NumPy

from dpcnn import nn  # noqa: E402
from dpcnn.api.sources import read  # noqa: E402
from dpcnn.api.training import Run, train  # noqa: E402
from dpcnn.errors import DpcnnError  # noqa: E402
from dpcnn.inference.model import Model, load  # noqa: E402
from dpcnn.nn import check_gradients as check  # noqa: E402
from dpcnn.training.callbacks import Callback  # noqa: E402
from dpcnn.version import __version__  # noqa: E402

# fmt: off
__all__ = [
    "Callback", "DpcnnError", "Model", "Run", "__version__", "check", "load", "nn", "read",
    "train",
]
# fmt: on
