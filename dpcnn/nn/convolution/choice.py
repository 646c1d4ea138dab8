"""The algorithms by name, and which one a convolution takes.

Where two suit, the shapes decide, as measured: microseconds an image, forward + dW + dx, 16 images,
one thread of a Zen 3 core (tests/benchmarks/bench_winograd.py):

    3x3, stride 1, C -> K      mec   winograd
    16 -> 16, 32x32            247   215
    16 -> 16, 28x28            187   165
    16 -> 16, 14x14             50    54
    8 -> 16, 32x32             141   143
    32 -> 32, 16x16            204   150
    64 -> 64, 8x8              195   133
    128 -> 128, 4x4            252   174
"""

from __future__ import annotations

from dpcnn.errors import OptionError
from dpcnn.nn.convolution.algorithm import Algorithm, Geometry
from dpcnn.nn.convolution.depthwise import DEPTHWISE
from dpcnn.nn.convolution.groups import in_groups
from dpcnn.nn.convolution.im2col import IM2COL
from dpcnn.nn.convolution.mec import MEC
from dpcnn.nn.convolution.pointwise import POINTWISE
from dpcnn.nn.convolution.winograd import WINOGRAD

# In the order in which `auto` tries them: the special ones first, the one for everything last.
ALGORITHMS: dict[str, Algorithm] = {
    "depthwise": DEPTHWISE,
    "pointwise": POINTWISE,
    "winograd": WINOGRAD,
    "mec": MEC,
    "im2col": IM2COL,
}
AUTO = "auto"


def choose(name: str, geometry: Geometry) -> str:
    """Return the algorithm of that name, or for `auto` the first that suits and pays.

    Raises OptionError if the one that is asked for does not suit.
    """
    if name == AUTO:
        suited = (name for name in ALGORITHMS if ALGORITHMS[name].suits(geometry))
        return next(name for name in suited if ALGORITHMS[name].pays(geometry))
    if not ALGORITHMS[name].suits(geometry):
        raise OptionError(
            f"Convolution's algorithm is {name!r}, expected {AUTO!r} or another:"
            f" {name} computes {ALGORITHMS[name].limits} only"
        )
    return name


def algorithm_for(name: str, geometry: Geometry) -> Algorithm:
    """Return the algorithm of that name, for all groups of the geometry."""
    algorithm = ALGORITHMS[name]
    return algorithm if algorithm.takes_groups or geometry.groups == 1 else in_groups(algorithm)
