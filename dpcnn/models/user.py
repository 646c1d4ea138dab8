"""The user's own network: found by --model, and checked before anything is done with it."""

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
from dpcnn.nn import Layer
from dpcnn.nn.config import check_config, to_config
from dpcnn.options import NETWORK, Options

# Files on the way to an error that are not the user's.
OURS = (f"{Path(__file__).parents[1]}/", "<frozen", importlib.__file__)
EXPECTED = "MODULE:FUNCTION such as my_module:build"


def import_layers(model: str) -> list[Layer]:
    """Return the layers that MODULE:FUNCTION makes: imports the module and calls the function.

    It is looked for where Python looks, and in the current directory. Raises OptionError that
    says what is wrong, and where in the user's files.
    """
    module, _, name = model.partition(":")
    if not module or not name:
        raise OptionError(f"--model is {model!r}, expected {EXPECTED}")
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())  # last: a file there must not replace a module
    with users_code(f"--model {model}"):
        return checked(_function(module, name)())


def own_layers(
    options: Options, given: frozenset[str], network: Sequence[Layer] | None
) -> list[Layer] | None:
    """Return the layers that were given, as a list or by --model; None where neither was.

    `given` are the options the user named: what a checkpoint names is never imported. Raises
    OptionError for what are no layers, and for other options of the network beside them.
    """
    named = options.model if "model" in given else None
    if network is None and named is None:
        return None
    beside = sorted(given & {*NETWORK, *(["model"] if network is not None else [])})
    if beside:
        names = ", ".join(f"--{name}" for name in beside)
        raise OptionError(f"found {names} beside layers of your own, expected one or the other")
    return checked(network) if named is None else import_layers(named)


def _function(module: str, name: str) -> Callable[[], Any]:
    """Return the function of that name, of the module of that name."""
    try:
        found = importlib.import_module(module)
    except ModuleNotFoundError as error:
        if not f"{module}.".startswith(f"{error.name}."):
            raise  # another one, that the module imports
        raise OptionError(
            f"no module {error.name} in {os.getcwd()} or on PYTHONPATH, expected {EXPECTED}"
        ) from None
    function = getattr(found, name, None)
    if not callable(function):
        kind = "nothing" if function is None else f"a {type(function).__name__}"
        place = getattr(found, "__file__", None) or module
        raise OptionError(f"{place} has {kind} of the name {name}, expected a function")
    return function  # type: ignore[no-any-return]


def checked(layers: Any) -> list[Layer]:
    """Return the layers of a network; raises OptionError for what is not a list of them.

    Each must be a Layer of its own, that says what it was made with in values a checkpoint takes.
    """
    if not isinstance(layers, list | tuple) or not layers:
        raise OptionError(f"the network is {layers!r:.200}, expected a list of layers")
    for number, layer in enumerate(layers, 1):
        before = [at for at, other in enumerate(layers[: number - 1], 1) if other is layer]
        if isinstance(layer, type):
            found = f"the class {layer.__name__}, expected {layer.__name__}(...)"
        elif not isinstance(layer, Layer):
            found = f"{layer!r:.200}, expected a layer of dpcnn.nn or a subclass of Layer"
        elif before:
            found = f"the same object as layer {before[0]}, expected another"
        else:
            found = _unkept(layer)
        if found:
            raise OptionError(f"layer {number} is {found}")
    return list(layers)


def _unkept(layer: Layer) -> str:
    """Say what keeps a checkpoint from keeping what the layer is; nothing if all is well."""
    kind = type(layer).__name__
    if not hasattr(layer, "parameter_shapes"):
        return f"a {kind} whose __init__ does not call super().__init__()"
    try:
        check_config(to_config([layer]))
    except AttributeError as error:
        return f"a {kind} that does not keep what it was made with, each under its name ({error})"
    except ValueError as error:
        return f"a {kind} that cannot be kept in a checkpoint: {error}"
    return ""


@contextlib.contextmanager
def users_code(where: str) -> Iterator[None]:
    """Turn whatever the user's code raises into an OptionError: where, what, and in which line."""
    try:
        yield
    except (Exception, SystemExit) as error:
        words = error if isinstance(error, DpcnnError) else f"{type(error).__name__}: {error}"
        place = _place(error)
        line = f"{where}: {words} ({place})" if place else f"{where}: {words}"
        raise OptionError(" ".join(line.split())) from error


def _place(error: BaseException) -> str:
    """Return the last line of the user's files on the way to the error; nothing without one."""
    if isinstance(error, SyntaxError):
        return ""  # its text says it
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if not frame.filename.startswith(OURS)]
    return f"{own[-1].filename}, line {own[-1].lineno}" if own else ""
