"""Known networks: each a function of the images' shape (C, H, W) and the number of classes.

They fit themselves to images of any size that is not too small for them, and `--model NAME` trains
them. All but the tutorial's draw their weights as He et al. (2015) do.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from dpcnn.errors import OptionError
from dpcnn.nn import (
    GELU,
    BatchNorm,
    Convolution,
    Dense,
    Dropout,
    Flatten,
    GlobalAveragePooling,
    Layer,
    MaxPooling,
    ReLU,
    Residual,
    Scale,
    Sequential,
    Whitening,
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


def resnet(depth: int) -> Maker:
    """Return the maker of the residual network for CIFAR with that many layers, 6 n + 2.

    Three stages of n blocks at 16, 32 and 64 filters. Where the size of the maps changes, the
    shortcut is a 1x1 convolution (option B of the paper, which takes option A on CIFAR: there a
    shortcut has no parameters). Source: He, Zhang, Ren and Sun, "Deep residual learning for image
    recognition", CVPR 2016, section 4.2.
    """

    def make(shape: ImageShape, classes: int) -> list[Layer]:
        layers = [*_normalized(16), ReLU()]
        for filters, stride in _blocks((16, 32, 64), (depth - 2) // 6):
            body = [*_normalized(filters, 3, stride), ReLU(), *_normalized(filters)]
            shortcut = _normalized(filters, 1, stride) if stride > 1 else None
            layers += [Residual(body, shortcut), ReLU()]
        return [*layers, GlobalAveragePooling(), Dense(classes)]

    return make


def wideresnet16x4(shape: ImageShape, classes: int) -> list[Layer]:
    """Return the wide residual network with 16 layers, 4 times as wide, pre-activated.

    Where the number of filters changes, body and shortcut share the normalisation and the ReLU
    before them. Sources: Zagoruyko and Komodakis, "Wide residual networks", BMVC 2016; He et al.,
    "Identity mappings in deep residual networks", ECCV 2016.
    """
    layers: list[Layer] = [_convolution(16)]
    before = 16
    for filters, stride in _blocks((64, 128, 256), 2):
        first, last = _convolution(filters, 3, stride), _convolution(filters)
        body = [first, BatchNorm(), ReLU(), last]
        if filters == before:
            layers += [Residual([BatchNorm(), ReLU(), *body])]
        else:
            shortcut = _convolution(filters, 1, stride)
            layers += [BatchNorm(), ReLU(), Residual(body, shortcut)]
        before = filters
    return [*layers, BatchNorm(), ReLU(), GlobalAveragePooling(), Dense(classes)]


def mobilenet(shape: ImageShape, classes: int) -> list[Layer]:
    """Return MobileNet, whose first convolution has stride 1: a fit for small images.

    After it a depthwise and a 1x1 convolution take turns. Source: Howard et al., "MobileNets:
    efficient convolutional neural networks for mobile vision applications", arXiv:1704.04861, 2017.
    """
    layers, channels = [*_normalized(32), ReLU()], 32
    rows = [(64, 1), *_blocks((128, 256), 2, 2), (512, 2), *[(512, 1)] * 5, (1024, 2), (1024, 1)]
    for filters, stride in rows:
        depthwise = [*_normalized(channels, 3, stride, groups=channels), ReLU()]
        layers += [Sequential(*depthwise, *_normalized(filters, 1), ReLU())]
        channels = filters
    return [*layers, GlobalAveragePooling(), Dense(classes)]


def airbench(*filters: int, bias: bool = True) -> Maker:
    """Return the maker of the network of airbench94, with so many filters in each block.

    With 64, 256 and 256 it learns CIFAR-10 to 94 % in twelve passes over its images. Their patches
    are whitened; convolutions pass their channels on at first, so that it learns from the first
    step on; normalisations have no scale. --recipe cifar10 has the learning rates that go with it.
    Source: Jordan, "94% on CIFAR-10 in 3.29 seconds on a single GPU", 2024.

    bias: of the whitening. Without it nothing before the first block is trained, and no gradient is
    computed there.
    """

    def make(shape: ImageShape, classes: int) -> list[Layer]:
        layers: list[Layer] = [Whitening(bias=bias), GELU()]
        for count in filters:
            for pooling in ([MaxPooling(2)], []):
                layers += [
                    Convolution(count, 3, padding="same", bias=False, initializer="dirac"),
                    *(*pooling, BatchNorm(momentum=0.4, scale=False), GELU()),
                ]
        head = Dense(classes, bias=False, initializer="torch_uniform")
        return [*layers, MaxPooling(3), Flatten(), head, Scale(1 / 9)]

    return make


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
    "resnet8": Known(resnet(8), 4),
    "resnet20": Known(resnet(20), 4),
    "resnet32": Known(resnet(32), 4),
    "resnet56": Known(resnet(56), 4),
    "wideresnet16x4": Known(wideresnet16x4, 4),
    "mobilenet": Known(mobilenet, 16),
    "airbench": Known(airbench(64, 256, 256), 25),
    "airbench_small": Known(airbench(32, 112, 128, bias=False), 25),
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
            f" {known.smallest}x{known.smallest} pixels"
        )
    return known.make(options.image_shape, options.classes)


def _blocks(stages: tuple[int, ...], count: int, first_stride: int = 1) -> list[tuple[int, int]]:
    """Return filters and stride of each block: `count` a stage; each stage but the first halves."""
    return [
        (filters, 1 if block else 2 if stage else first_stride)
        for stage, filters in enumerate(stages)
        for block in range(count)
    ]


def _convolution(filters: int, size: int = 3, stride: int = 1, groups: int = 1) -> Convolution:
    """Return a convolution without bias, whose output is as large as the input, over the stride."""
    padding = (size - 1) // 2
    return Convolution(filters, size, stride, padding, bias=False, groups=groups)


def _normalized(filters: int, size: int = 3, stride: int = 1, groups: int = 1) -> list[Layer]:
    """Return that convolution with batch normalisation, whose shift stands for the bias."""
    return [_convolution(filters, size, stride, groups), BatchNorm()]
