"""Known networks, each a function that returns its layers."""

from __future__ import annotations

from dpcnn.nn import Convolution, Dense, Flatten, Layer, ReLU


def tutorial(
    n_filter: int = 32,
    filter_size: tuple[int, int] = (7, 7),
    stride: int = 1,
    padding: int = 1,
    num_class: int = 10,
) -> list[Layer]:
    """Return convolution -> ReLU -> flatten -> dense: the tutorial's network."""
    return [
        Convolution(
            n_filter, filter_size, stride, padding, initializer="tutorial", algorithm="mec"
        ),
        ReLU(),
        Flatten(),
        Dense(num_class),
    ]
