"""The options as keywords of a Python function: its signature and docstring list every one."""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Callable, Iterator
from inspect import Parameter
from typing import Any, TypeVar

from dpcnn.options import OPTIONS, Option

F = TypeVar("F", bound=Callable[..., Any])

RECIPE = Parameter("recipe", Parameter.KEYWORD_ONLY, default=None, annotation="str | None")
WIDTH = 96  # columns of the text that is added to a docstring


def with_options(function: F) -> F:
    """Give a function that takes **options a signature with each option, and a list of them.

    For `help`, and for the completion of interactive Pythons, which read the one and the other.
    """
    signature = inspect.signature(function)
    own = [each for each in signature.parameters.values() if each.kind != Parameter.VAR_KEYWORD]
    parameters = [*own, *map(_parameter, OPTIONS.values()), RECIPE]
    function.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    function.__doc__ = "\n".join([inspect.getdoc(function) or "", *_listed(), ""])
    return function


def _parameter(option: Option) -> Parameter:
    return Parameter(
        option.name, Parameter.KEYWORD_ONLY, default=option.default, annotation=_type(option)
    )


def _type(option: Option) -> str:
    return f"{option.value_type.__name__}{' | None' if option.none_word else ''}"


def _listed() -> Iterator[str]:
    """Yield the lines that list the options, in the groups of --help."""
    group = ""
    for option in OPTIONS.values():
        if option.group != group:
            group = option.group
            yield from ("", f"Options: {group}", "-" * len(f"Options: {group}"))
        yield f"{option.name} : {_type(option)}, default {option.default!r}"
        text = option.help if not option.choices else f"{option.help}. {_choices(option)}"
        yield from textwrap.wrap(text, WIDTH, initial_indent="    ", subsequent_indent="    ")


def _choices(option: Option) -> str:
    return f"One of {', '.join(map(repr, option.choices))}"
