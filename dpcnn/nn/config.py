"""Layers as plain data, for checkpoints, and layers made from it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from dpcnn.errors import OptionError
from dpcnn.nn.activations import ReLU
from dpcnn.nn.convolution import Convolution
from dpcnn.nn.dense import Dense
from dpcnn.nn.flatten import Flatten
from dpcnn.nn.layer import Layer
from dpcnn.nn.pooling import AveragePooling, MaxPooling

Description = list[dict[str, Any]]

KINDS: dict[str, Callable[..., Layer]] = {
    kind.__name__: kind for kind in (AveragePooling, Convolution, Dense, Flatten, MaxPooling, ReLU)
}
OWN = "own."  # before the class of a layer that is the user's own
MOST = 1000  # layers in a description


def describe(layers: Sequence[Layer]) -> Description:
    """Return the layers as JSON has them: the class of each, and what it was made with."""
    return [{"layer": _kind(layer)} | _plain(layer.settings()) for layer in layers]


def _kind(layer: Layer) -> str:
    """Return the name of the layer's class, told apart from those here if it is another's."""
    name = type(layer).__name__
    return name if KINDS.get(name) is type(layer) else OWN + name


def own_kinds(description: Description) -> list[str]:
    """Return the classes, by name, of described layers that are the user's own."""
    kinds = {each["layer"] for each in description}
    return sorted(kind.removeprefix(OWN) for kind in kinds if kind.startswith(OWN))


def _plain(settings: dict[str, Any]) -> dict[str, Any]:
    return {
        name: list(value) if isinstance(value, tuple) else value for name, value in settings.items()
    }


def described(description: Description) -> list[Layer]:
    """Return new layers as a description says, from whoever it comes.

    Raises ValueError for layers that are not among KINDS, or settings that are not theirs.
    """
    if not 1 <= len(description) <= MOST:
        raise ValueError(f"found {len(description):,} layers, expected 1 to {MOST:,}")
    return [_layer(**each) for each in description]


def _layer(layer: Any = None, **settings: Any) -> Layer:
    if not isinstance(layer, str) or layer not in KINDS:
        raise ValueError(f"found layer {layer!r}, expected one of {', '.join(KINDS)}")
    try:
        return KINDS[layer](**settings)
    except (TypeError, OptionError) as error:
        reason = f": {error}" if isinstance(error, OptionError) else ""
        raise ValueError(
            f"found {settings} for {layer}, expected what it is made with{reason}"
        ) from error
