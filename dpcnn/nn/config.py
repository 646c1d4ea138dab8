"""Layers as plain data, as a checkpoint keeps them, and new layers made from it."""

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

# For each layer the name of its class, as "layer", and the arguments that make it.
Config = list[dict[str, Any]]

LAYERS: dict[str, Callable[..., Layer]] = {
    layer.__name__: layer
    for layer in (AveragePooling, Convolution, Dense, Flatten, MaxPooling, ReLU)
}
OWN = "own."  # stands before the class of a layer that is the user's own
MOST = 1000  # layers in a config
LARGEST = 2**63 - 1
VALUE = "text, a float, an integer below 2**63, true, false or null, or a list of these"


def to_config(layers: Sequence[Layer]) -> Config:
    """Return the layers as plain data."""
    return [{"layer": _class_name(layer)} | _plain(layer.config()) for layer in layers]


def from_config(config: Config) -> list[Layer]:
    """Return new layers from a config that has passed check_config.

    Raises ValueError for a class that is not in LAYERS, or arguments that do not make it.
    """
    if not 1 <= len(config) <= MOST:
        raise ValueError(f"found {len(config):,} layers, expected 1 to {MOST:,}")
    return [_layer(**layer) for layer in config]


def own_layers(config: Config) -> list[str]:
    """Return the names of the classes in the config that are the user's own, sorted."""
    names = {layer["layer"] for layer in config}
    return sorted(name.removeprefix(OWN) for name in names if name.startswith(OWN))


def check_config(config: Any) -> None:
    """Raise ValueError unless this is a list of layers with arguments a checkpoint can hold."""
    if not isinstance(config, list):
        raise ValueError(f"found {type(config).__name__}, expected a list of layers")
    for number, layer in enumerate(config, 1):
        if not isinstance(layer, dict) or not isinstance(layer.get("layer"), str):
            raise ValueError(
                f"layer {number} is {layer!r:.200}, expected a class and its arguments"
            )
        for name, value in layer.items():
            if not all(map(_is_plain, value if isinstance(value, list) else [value])):
                raise ValueError(f"{name} is {value!r:.200}, expected {VALUE}")


def _is_plain(value: Any) -> bool:
    if isinstance(value, int):
        return -LARGEST <= value <= LARGEST
    return value is None or isinstance(value, str | float)


def _class_name(layer: Layer) -> str:
    """Return the name of the layer's class, marked if it is not one of LAYERS."""
    name = type(layer).__name__
    return name if LAYERS.get(name) is type(layer) else OWN + name


def _plain(arguments: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments as JSON gives them back: tuples are lists."""
    return {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in arguments.items()
    }


def _layer(layer: str, **arguments: Any) -> Layer:
    if layer not in LAYERS:
        raise ValueError(f"found layer {layer!r}, expected one of {', '.join(LAYERS)}")
    try:
        return LAYERS[layer](**arguments)
    except OptionError as error:
        raise ValueError(f"found {arguments} for {layer}: {error}") from error
    except TypeError as error:
        raise ValueError(f"found {arguments} for {layer}, expected its arguments") from error
