"""dpcnn trains convolutional networks in NumPy, data-parallel over MPI.

    mpirun -n 4 python -m dpcnn.train      data-parallel
    python -m dpcnn.train                  one process, no MPI needed

From Python:

    run = dpcnn.train(dataroot="digits", epochs=3)      the same, and under mpirun too
    run = dpcnn.train(layers, X, y, x_test=..., ...)    a network of your own, on arrays
    model = dpcnn.load("runs/NAME", best=True)          a trained network in use
    model.predict(images)
    dpcnn.evaluate, predict, export, report, verify     the other commands as functions
    dpcnn.nn                                            layers for a network of your own
    dpcnn.check(layers, (1, 28, 28))                    whether their gradients are right
"""

import sys
from types import ModuleType

from dpcnn.system import blas

blas.default_to_one_thread()  # before anything below imports NumPy

from dpcnn import nn  # noqa: E402
from dpcnn.api.classifier import Classifier  # noqa: E402
from dpcnn.api.evaluation import Evaluation, evaluate  # noqa: E402
from dpcnn.api.exporting import export  # noqa: E402
from dpcnn.api.model import Model, load  # noqa: E402
from dpcnn.api.prediction import predict  # noqa: E402
from dpcnn.api.reporting import report  # noqa: E402
from dpcnn.api.sources import read  # noqa: E402
from dpcnn.api.training import Run, train  # noqa: E402
from dpcnn.api.verification import verify  # noqa: E402
from dpcnn.errors import DpcnnError  # noqa: E402
from dpcnn.nn import check_gradients as check  # noqa: E402
from dpcnn.training.callbacks import Callback  # noqa: E402
from dpcnn.version import __version__  # noqa: E402

# fmt: off
__all__ = [
    "Callback", "Classifier", "DpcnnError", "Evaluation", "Model", "Run", "__version__",
    "check", "evaluate", "export", "load", "nn", "predict", "read", "report", "train",
    "verify",
]
# fmt: on


class _Package(ModuleType):
    """This package: importing the module of a command would bind its name in the function's place.

    The modules are where they were: `from dpcnn.evaluate import main`.
    """

    def __setattr__(self, name: str, value: object) -> None:
        if not (name in __all__ and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
