"""The algorithms by name, and which one a convolution takes.

Where several suit, the shapes decide, as measured: microseconds an image, forward + dW + dx, one
thread of a Zen 3 core (tests/benchmarks/bench_winograd.py):

    stride 1, 16 images          mec   winograd   winograd2d
    3x3, 8 -> 16, 32x32          141   143
    3x3, 16 -> 16, 32x32         276   244        287
    3x3, 16 -> 16, 14x14          50    54
    3x3, 32 -> 32, 32x32         940   649        733
    3x3, 32 -> 32, 16x16         224   170        174
    3x3, 32 -> 64, 16x16         420   293        270
    3x3, 64 -> 64, 16x16         814   497        460
    3x3, 64 -> 64, 8x8           212   151        129
    3x3, 128 -> 128, 8x8         834   522        386
    3x3, 128 -> 128, 4x4               189        157
    5x5, 8 -> 16, 14x14           71               71
    5x5, 16 -> 32, 8x8           111               50
    5x5, 16 -> 16, 28x28         564              369
    5x5, 32 -> 64, 8x8           284              134

With 32 -> 64, forward alone takes 100 by winograd and 125 by winograd2d: inference counts too.
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
from dpcnn.nn.convolution.winograd2d import WINOGRAD2D

# In the order in which `auto` tries them: the special ones first, the one for everything last.
ALGORITHMS: dict[str, Algorithm] = {
    "depthwise": DEPTHWISE,
    "pointwise": POINTWISE,
    "winograd2d": WINOGRAD2D,
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
