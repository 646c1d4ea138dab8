"""Networks that are only measured: plain ones, of the kinds of layers that most networks have."""

from __future__ import annotations

from dpcnn.nn import Convolution, Dense, Flatten, Layer, MaxPooling, ReLU

ImageShape = tuple[int, int, int]


def vgg(shape: ImageShape, classes: int) -> list[Layer]:
    """Return two 3x3 convolutions and a pooling at 32, 64 and 128 filters, then one dense layer.

    The zoo's vgg without its dropout and its second dense layer: nothing but what both sides
    compute in much the same way.
    """
    layers: list[Layer] = []
    for filters in (32, 64, 128):
        for _ in range(2):
            layers += [Convolution(filters, 3, padding=1), ReLU()]
        layers += [MaxPooling(2)]
    return [*layers, Flatten(), Dense(classes)]


def lenet(shape: ImageShape, classes: int) -> list[Layer]:
    """Return two 5x5 convolutions, of 16 and 32 filters, each with a pooling; a dense layer."""
    return [
        *(Convolution(16, 5), ReLU(), MaxPooling(2)),
        *(Convolution(32, 5), ReLU(), MaxPooling(2)),
        *(Flatten(), Dense(classes)),
    ]
