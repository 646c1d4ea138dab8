"""The network that the user names: by --model, and checked before anything is done with it.

--model names a network of the zoo, or MODULE:FUNCTION. Only what the user named is imported.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from inspect import Parameter, signature
from pathlib import Path
from typing import Any

from dpcnn.errors import DpcnnError, OptionError
from dpcnn.models.zoo import TUTORIAL, ZOO, zoo_layers
from dpcnn.nn import Layer, Sequential
from dpcnn.nn.config import check_config, to_config
from dpcnn.nn.contract import ContractError
from dpcnn.nn.layer import descendants
from dpcnn.options import NETWORK, Options

# Files on the way to an error that are not the user's.
OURS = (f"{Path(__file__).parents[1]}/", "<frozen", importlib.__file__)
EXPECTED = "MODULE:FUNCTION such as my_module:build"
REQUIRED = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)

Make = Callable[[Options], list[Layer]]  # a run's layers, once its images and classes are known


def user_network(
    options: Options, named: frozenset[str], network: Sequence[Layer] | None
) -> Make | None:
    """Return what makes the network, of `network` or --model; None if there are neither.

    named: the options that the user named; a model that only a checkpoint names is never imported.
    Raises OptionError for anything but layers, and for options of another network beside them.
    """
    model = options.model if "model" in named else None
    if network is None and model is None:
        return None
    others = sorted(named & {*NETWORK, *(["model"] if network is not None else [])})
    if others and (network is not None or model != TUTORIAL):
        names = ", ".join(f"--{name}" for name in others)
        chosen = f"--model {model}" if network is None else "a network of your own"
        raise OptionError(f"found {names} beside {chosen}, expected one or the other")
    if model is not None:
        return import_network(model)
    layers = check_layers(network)
    return lambda options: layers


def import_network(model: str) -> Make:
    """Return what makes the layers of a network of the zoo, or of MODULE:FUNCTION.

    Imports the module: looks for it where Python does, and then in the current directory. The
    function is called with (C, H, W) of the images and the number of classes if it has two
    parameters without a default, else with nothing. Raises OptionError, as what is returned does,
    that says what is wrong, and where in the user's files.
    """
    if model in ZOO:
        return partial(zoo_layers, model)
    module, _, name = model.partition(":")
    if not module or not name:
        known = f"one of {', '.join(ZOO)}, or " if ":" not in model else ""
        raise OptionError(f"--model is {model!r}, expected {known}{EXPECTED}")
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())  # last: a file there must not replace a module
    where = f"--model {model}"
    with users_code(where):
        function = _function(module, name)

    def make(options: Options) -> list[Layer]:
        with users_code(where):
            arguments = (options.image_shape, options.classes) if _takes_two(function) else ()
            return check_layers(function(*arguments))

    return make


def _takes_two(function: Callable[..., Any]) -> bool:
    """Tell whether a function has two parameters without a default."""
    try:
        parameters = signature(function).parameters.values()
    except ValueError:  # it is not of Python
        return False
    required = [each for each in parameters if each.default is Parameter.empty]
    return sum(parameter.kind in REQUIRED for parameter in required) == 2


def _function(module: str, name: str) -> Callable[..., Any]:
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
    """Turn any error of the user's code into an OptionError: where, what, and in which line.

    What a layer is found to do wrong stays as it is: it says where.
    """
    try:
        yield
    except ContractError:
        raise
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
