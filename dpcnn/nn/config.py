"""Layers as plain data, as a checkpoint keeps them, and new layers made from it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from inspect import Parameter, signature
from typing import Any

from dpcnn.errors import OptionError
from dpcnn.nn.activations import ELU, GELU, LeakyReLU, ReLU, Sigmoid, SiLU, Tanh
from dpcnn.nn.composite import Concatenate, Residual, Sequential
from dpcnn.nn.convolution import Convolution, Whitening
from dpcnn.nn.dense import Dense
from dpcnn.nn.dropout import Dropout
from dpcnn.nn.flatten import Flatten
from dpcnn.nn.layer import Layer
from dpcnn.nn.normalization import BatchNorm, GroupNorm, LayerNorm
from dpcnn.nn.pooling import AveragePooling, GlobalAveragePooling, MaxPooling
from dpcnn.nn.scale import Scale

# For each layer the name of its class, as "layer", and the arguments that make it.
Config = list[dict[str, Any]]

LAYERS: dict[str, type[Layer]] = {
    layer.__name__: layer
    for layer in (
        AveragePooling,
        BatchNorm,
        Concatenate,
        Convolution,
        Dense,
        Dropout,
        ELU,
        Flatten,
        GELU,
        GlobalAveragePooling,
        GroupNorm,
        LayerNorm,
        LeakyReLU,
        MaxPooling,
        ReLU,
        Residual,
        Scale,
        Sequential,
        SiLU,
        Sigmoid,
        Tanh,
        Whitening,
    )
}
OWN = "own."  # stands before the class of a layer that is the user's own
MOST = 1000  # layers in a config
DEEPEST = 20  # layers in layers
LARGEST = 2**63 - 1
VALUE = "text, a float, an integer below 2**63, true, false, null, a layer, or a list of these"


def to_config(layers: Sequence[Layer]) -> Config:
    """Return the layers as plain data."""
    return [{"layer": _class_name(layer)} | _plain(layer.config()) for layer in layers]


def from_config(config: Config) -> list[Layer]:
    """Return new layers from a config that has passed check_config.

    Raises ValueError for a class that is not in LAYERS, or arguments that do not make it.
    """
    count = sum(1 for _ in _configs(config))
    if not 1 <= count <= MOST:
        raise ValueError(f"found {count:,} layers, expected 1 to {MOST:,}")
    return [_layer(**layer) for layer in config]


def own_layers(config: Config) -> list[str]:
    """Return the names of the classes in the config that are the user's own, sorted."""
    names = {layer["layer"] for layer in _configs(config)}
    return sorted(name.removeprefix(OWN) for name in names if name.startswith(OWN))


def check_config(config: Any, depth: int = 0) -> None:
    """Raise ValueError unless this is a list of layers with arguments a checkpoint can hold."""
    if not isinstance(config, list):
        raise ValueError(f"found {type(config).__name__}, expected a list of layers")
    if depth > DEEPEST:
        raise ValueError(f"found layers in layers {depth} deep, expected at most {DEEPEST}")
    for number, layer in enumerate(config, 1):
        if not isinstance(layer, dict) or not isinstance(layer.get("layer"), str):
            raise ValueError(
                f"layer {number} is {layer!r:.200}, expected a class and its arguments"
            )
        for name, value in layer.items():
            values = value if isinstance(value, list) else [value]
            layers = [inner for inner in values if isinstance(inner, dict) and "layer" in inner]
            check_config(layers, depth + 1)
            if not all(inner in layers or _is_plain(inner) for inner in values):
                raise ValueError(f"{name} is {value!r:.200}, expected {VALUE}")


def _is_plain(value: Any) -> bool:
    if isinstance(value, int):
        return -LARGEST <= value <= LARGEST
    return value is None or isinstance(value, str | float)


def _configs(config: Config) -> Iterator[dict[str, Any]]:
    """Yield the layers of a config, and those that they are made of."""
    for layer in config:
        yield layer
        for value in layer.values():
            values = value if isinstance(value, list) else [value]
            yield from _configs([inner for inner in values if isinstance(inner, dict)])


def _class_name(layer: Layer) -> str:
    """Return the name of the layer's class, marked if it is not one of LAYERS."""
    name = type(layer).__name__
    return name if LAYERS.get(name) is type(layer) else OWN + name


def _plain(value: Any) -> Any:
    """Return an argument, or a dict or list of them, as JSON gives it back: tuples are lists."""
    match value:
        case Layer():
            [config] = to_config([value])
            return config
        case dict():
            return {name: _plain(inner) for name, inner in value.items()}
        case list() | tuple():
            return [_plain(inner) for inner in value]
    return value


def _layer(layer: str, **arguments: Any) -> Layer:
    if layer not in LAYERS:
        raise ValueError(f"found layer {layer!r}, expected one of {', '.join(LAYERS)}")
    made = {name: _made(value) for name, value in arguments.items()}
    try:
        return _call(LAYERS[layer], made)
    except OptionError as error:
        raise ValueError(f"found {arguments!s:.300} for {layer}: {error}") from error
    except TypeError as error:
        raise ValueError(f"found {arguments!s:.300} for {layer}, expected its arguments") from error


def _made(value: Any) -> Any:
    """Return an argument with new layers in the place of their configs."""
    match value:
        case dict():
            return _layer(**value)
        case list():
            return [_made(inner) for inner in value]
    return value


def _call(make: type[Layer], arguments: dict[str, Any]) -> Layer:
    """Return the layer that these arguments make, in lists where it takes any number of them."""
    for name, parameter in signature(make).parameters.items():
        if parameter.kind is Parameter.VAR_POSITIONAL:
            return make(*arguments.pop(name, ()), **arguments)
    return make(**arguments)
