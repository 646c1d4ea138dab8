"""The user's own network: imported by --model, and checked before anything is done with it."""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from dpcnn.errors import DpcnnError, OptionError
from dpcnn.nn import Layer, Sequential
from dpcnn.nn.config import check_config, to_config
from dpcnn.nn.layer import descendants
from dpcnn.options import NETWORK, Options

# Files on the way to an error that are not the user's.
OURS = (f"{Path(__file__).parents[1]}/", "<frozen", importlib.__file__)
EXPECTED = "MODULE:FUNCTION such as my_module:build"


def user_layers(
    options: Options, named: frozenset[str], network: Sequence[Layer] | None
) -> list[Layer] | None:
    """Return the user's own layers, from `network` or --model; None if there are neither.

    named: the options that the user named; a model that only a checkpoint names is never imported.
    Raises OptionError for anything but layers, and for options of another network beside them.
    """
    model = options.model if "model" in named else None
    if network is None and model is None:
        return None
    others = sorted(named & {*NETWORK, *(["model"] if network is not None else [])})
    if others:
        names = ", ".join(f"--{name}" for name in others)
        raise OptionError(f"found {names} beside a network of your own, expected one or the other")
    return check_layers(network) if model is None else import_layers(model)


def import_layers(model: str) -> list[Layer]:
    """Import the module of MODULE:FUNCTION, call the function, and return the layers it makes.

    Looks for the module where Python does, and then in the current directory. Raises OptionError
    that says what is wrong, and where in the user's files.
    """
    module, _, name = model.partition(":")
    if not module or not name:
        raise OptionError(f"--model is {model!r}, expected {EXPECTED}")
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())  # last: a file there must not replace a module
    with users_code(f"--model {model}"):
        return check_layers(_function(module, name)())


def _function(module: str, name: str) -> Callable[[], Any]:
    """Import the module and return its function of that name."""
    try:
        imported = importlib.import_module(module)
    except ModuleNotFoundError as error:
        if not f"{module}.".startswith(f"{error.name}."):
            raise  # the module is there; one that it imports is not
        raise OptionError(
            f"no module {error.name} in {os.getcwd()} or on PYTHONPATH, expected {EXPECTED}"
        ) from None
    file = getattr(imported, "__file__", None) or module
    function = getattr(imported, name, None)
    if function is None:
        raise OptionError(f"no function named {name} in {file}")
    if not callable(function):
        raise OptionError(f"{name} in {file} is a {type(function).__name__}, expected a function")
    return function  # type: ignore[no-any-return]


def check_layers(layers: Any) -> list[Layer]:
    """Return layers as a list if they can make a network; else raise OptionError.

    Each must be a Layer, another object than the others, that a checkpoint can store.
    """
    if not isinstance(layers, list | tuple) or not layers:
        raise OptionError(f"the network is {layers!r:.200}, expected a list of layers")
    for number, layer in enumerate(layers, 1):
        problem = _fault(layer)
        if problem:
            raise OptionError(f"layer {number} is {problem}")
    _check_distinct(layers)
    return list(layers)


def _check_distinct(layers: Sequence[Layer]) -> None:
    """Raise OptionError if one object stands in two places of the network."""
    places: dict[int, str] = {}
    for path, layer in descendants(Sequential(*layers)):
        if id(layer) in places:
            raise OptionError(
                f"{path} is the same object as {places[id(layer)]}, expected another: make a layer"
                " for each place"
            )
        places[id(layer)] = path


def _fault(layer: Any) -> str:
    """Say what the object is instead of a layer that a checkpoint can store; "" if it is one."""
    if isinstance(layer, type):
        return f"the class {layer.__name__}, expected {layer.__name__}(...)"
    if not isinstance(layer, Layer):
        return f"{layer!r:.200}, expected a layer of dpcnn.nn or a subclass of Layer"
    name = f"{type(layer).__name__}(...)"
    if not hasattr(layer, "parameter_shapes"):
        return f"{name}, whose __init__ does not call super().__init__()"
    try:
        check_config(to_config([layer]))
    except AttributeError as error:
        return f"{name}, which does not keep its arguments as attributes of their names ({error})"
    except ValueError as error:
        return f"{name}, which a checkpoint cannot store: {error}"
    return ""


@contextlib.contextmanager
def users_code(where: str) -> Iterator[None]:
    """Turn any error of the user's code into an OptionError: where, what, and in which line."""
    try:
        yield
    except (Exception, SystemExit) as error:
        message = error if isinstance(error, DpcnnError) else f"{type(error).__name__}: {error}"
        place = _place(error)
        line = f"{where}: {message} ({place})" if place else f"{where}: {message}"
        raise OptionError(" ".join(line.split())) from error


def _place(error: BaseException) -> str:
    """Return the last line of the user's files on the way to the error; "" if there is none."""
    if isinstance(error, SyntaxError):
        return ""  # its text says it
    frames = traceback.extract_tb(error.__traceback__)
    places = [frame for frame in frames if not frame.filename.startswith(OURS)]
    return f"{places[-1].filename}, line {places[-1].lineno}" if places else ""
