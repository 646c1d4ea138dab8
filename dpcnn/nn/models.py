"""Networks as lists of layers: the tutorial's, and any that is described by plain data."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from dpcnn.nn.layers import Convolution, Dense, Flatten, Layer, ReLU

Description = list[dict[str, Any]]

KINDS: dict[str, Callable[..., Layer]] = {
    kind.__name__: kind for kind in (Convolution, Dense, Flatten, ReLU)
}
LARGEST = 65536  # of a number in a description


def tutorial(
    n_filter: int = 32,
    filter_size: tuple[int, int] = (7, 7),
    stride: int = 1,
    padding: int = 1,
    num_class: int = 10,
) -> list[Layer]:
    """Return convolution -> ReLU -> flatten -> dense: the tutorial's network."""
    return [
        Convolution(n_filter, filter_size, stride, padding),
        ReLU(),
        Flatten(),
        Dense(num_class),
    ]


def describe(layers: Sequence[Layer]) -> Description:
    """Return the layers as JSON has them: the class of each, and what it was made with."""
    return [
        {"layer": type(layer).__name__}
        | {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in layer.settings().items()
        }
        for layer in layers
    ]


def described(description: Description) -> list[Layer]:
    """Return new layers as a description says, from whoever it comes.

    Raises ValueError for layers that are not among KINDS, or settings that are not theirs.
    """
    return [_layer(**each) for each in description]


def _layer(layer: Any = None, **settings: Any) -> Layer:
    values = {
        name: tuple(value) if isinstance(value, list) else value for name, value in settings.items()
    }
    numbers = [n for value in values.values() for n in (value if type(value) is tuple else [value])]
    if not isinstance(layer, str) or layer not in KINDS:
        raise ValueError(f"found layer {layer!r}, expected one of {', '.join(KINDS)}")
    if not all(type(number) is int and 0 <= number <= LARGEST for number in numbers):
        raise ValueError(f"found {settings} for {layer}, expected integers from 0 to {LARGEST}")
    try:
        return KINDS[layer](**values)
    except TypeError as error:
        raise ValueError(f"found {settings} for {layer}, expected what it is made with") from error
