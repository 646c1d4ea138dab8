"""Known networks: each a function of the images' shape (C, H, W) and the number of classes.

They fit themselves to images of any size that is not too small for them, and `--model NAME` trains
them. All but the tutorial's draw their weights as He et al. (2015) do.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from dpcnn.errors import OptionError
from dpcnn.nn import (
    Convolution,
    Dense,
    Dropout,
    Flatten,
    Layer,
    MaxPooling,
    ReLU,
)
from dpcnn.options import Options

ImageShape = tuple[int, int, int]
Maker = Callable[[ImageShape, int], list[Layer]]  # of the layers, for (C, H, W) and the classes


def tutorial(
    shape: ImageShape = (1, 28, 28),
    classes: int = 10,
    n_filter: int = 32,
    filter_size: tuple[int, int] = (7, 7),
    stride: int = 1,
    padding: int = 1,
) -> list[Layer]:
    """Return convolution -> ReLU -> flatten -> dense: the tutorial's network."""
    return [
        Convolution(
            n_filter, filter_size, stride, padding, initializer="tutorial", algorithm="mec"
        ),
        ReLU(),
        Flatten(),
        Dense(classes),
    ]


def mlp(shape: ImageShape, classes: int) -> list[Layer]:
    """Return two hidden layers of 512 units, with dropout.

    Source: Srivastava et al., "Dropout: a simple way to prevent neural networks from overfitting",
    JMLR 15, 2014, there with 1024 units.
    """
    hidden = [layer for _ in range(2) for layer in (Dense(512), ReLU(), Dropout(0.2))]
    return [Flatten(), *hidden, Dense(classes)]


def lenet5(shape: ImageShape, classes: int) -> list[Layer]:
    """Return LeNet-5 as it is usual today: with ReLU, and the maximum for the subsampling.

    Images below 32x32 are padded, as digits are in the paper. Source: LeCun, Bottou, Bengio and
    Haffner, "Gradient-based learning applied to document recognition", Proc. IEEE 86, 1998.
    """
    padding = 2 if min(shape[1:]) < 32 else 0
    return [
        *(Convolution(6, 5, padding=padding), ReLU(), MaxPooling(2)),
        *(Convolution(16, 5), ReLU(), MaxPooling(2)),
        *(Flatten(), Dense(120), ReLU(), Dense(84), ReLU(), Dense(classes)),
    ]


def vgg(shape: ImageShape, classes: int) -> list[Layer]:
    """Return two 3x3 convolutions and a pooling at 32, 64 and 128 filters, then dense layers.

    Source: Simonyan and Zisserman, "Very deep convolutional networks for large-scale image
    recognition", ICLR 2015, there with up to 512 filters and 4096 units.
    """
    layers: list[Layer] = []
    for filters in (32, 64, 128):
        for _ in range(2):
            layers += [Convolution(filters, 3, padding=1), ReLU()]
        layers += [MaxPooling(2), Dropout(0.25)]
    return [*layers, Flatten(), Dense(256), ReLU(), Dropout(0.5), Dense(classes)]


class Known(NamedTuple):
    """A network of the zoo, and the smallest height and width of the images that it takes."""

    make: Maker
    smallest: int


TUTORIAL = "tutorial"
ZOO = {
    TUTORIAL: Known(tutorial, 5),
    "mlp": Known(mlp, 1),
    "lenet5": Known(lenet5, 12),
    "vgg": Known(vgg, 8),
}


def zoo_layers(name: str, options: Options) -> list[Layer]:
    """Return new layers of a network in ZOO for a run's images and classes.

    The tutorial's is as its options have it. Raises OptionError for images too small for another.
    """
    if name == TUTORIAL:
        filter_size = (options.h_filter, options.w_filter)
        numbers = (options.n_filter, filter_size, options.stride, options.padding)
        return tutorial(options.image_shape, options.classes, *numbers)
    known = ZOO[name]
    channels, height, width = options.image_shape
    if min(height, width) < known.smallest:
        raise OptionError(
            f"--model {name}: images are {channels}x{height}x{width}, expected at least"
            f" {known.smallest} pixels in height and width"
        )
    return known.make(options.image_shape, options.classes)
