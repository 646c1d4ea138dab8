"""How options are given: on the command line, in a TOML file, as keywords of a Python call.

Imports no NumPy: the number of threads is among the options.
"""

from __future__ import annotations

import argparse
import difflib
import os
import sys
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from dpcnn.errors import OptionError
from dpcnn.options import ALIASES, FLAGS, TABLE, Options, check, kind, wrong
from dpcnn.system.files import read_bytes

METAVARS = {int: "N", float: "X", str: "TEXT", bool: "true|false"}
Given = tuple[Options, frozenset[str]]  # the options in force, and the names of those given


class CommandLine(argparse.ArgumentParser):
    """argparse whose errors are OptionError, and to whom `_` and `-` are the same in options."""

    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: Any = None
    ) -> tuple[Any, list[str]]:
        """Parse as argparse does, every option's name with underscores."""
        words = sys.argv[1:] if args is None else args
        return super().parse_known_args([_underscored(word) for word in words], namespace)

    def error(self, message: str) -> NoReturn:
        """Raise OptionError instead of printing the usage and exiting."""
        raise OptionError(f"{message} (see --help)")


def add_model(parser: argparse.ArgumentParser) -> None:
    """Add the option --model of a command that uses a trained network."""
    parser.add_argument(
        "--model",
        metavar="MODULE:FUNCTION",
        default=None,
        help="makes the network's layers; needed where some are not of dpcnn.nn",
    )


def parse(arguments: Sequence[str] | None = None) -> Given:
    """Return the options of a command line, and the names of those that were given.

    Given means on the command line or in the --config file. Raises OptionError for anything
    wrong; --help prints and exits as argparse does.
    """
    known, unknown = _command_line().parse_known_args(arguments)
    if unknown:
        nearest = _nearest(unknown[0].lstrip("-"), "config")
        raise OptionError(f"unknown option {unknown[0]}{nearest}")
    texts = vars(known)
    config = texts.pop("config", None)
    values = _read_toml(Path(config)) if config is not None else {}
    values |= {name: option_value(name, text) for name, text in texts.items()}
    return Options(**values), frozenset(values)


def keywords(values: Mapping[str, Any]) -> Given:
    """Return the options that a Python call names, and their names.

    Paths may be path objects and numbers NumPy's. Raises OptionError for anything wrong.
    """
    plain = _checked({name: _plain(value) for name, value in values.items()})
    return Options(**plain), frozenset(plain)


def _plain(value: Any) -> Any:
    """Return a path as text and a NumPy scalar as Python's, others as they are."""
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    return value.item() if getattr(value, "shape", None) == () else value


def _underscored(word: str) -> str:
    """Return --a-b=c as --a_b=c: both are the same in every option."""
    if not word.startswith("--"):
        return word
    name, equals, value = word.partition("=")
    return "--" + name[2:].replace("-", "_") + equals + value


def _command_line() -> argparse.ArgumentParser:
    """Return the parser that the table stands for; what is not given stays out of its result."""
    parser = CommandLine(
        prog="python -m dpcnn.train",
        usage="%(prog)s [options]",
        description="Train a convolutional network in NumPy, data-parallel over MPI:"
        " `mpirun -n 4 python -m dpcnn.train`, or one process without mpirun.",
        argument_default=argparse.SUPPRESS,
        allow_abbrev=False,
        formatter_class=lambda prog: argparse.HelpFormatter(prog, max_help_position=28),
    )
    groups = {each.metadata["group"]: None for each in TABLE.values()}
    sections = {group: parser.add_argument_group(group) for group in groups}
    for name, each in TABLE.items():
        facts = each.metadata
        flag: dict[str, Any] = {"nargs": "?", "const": "true"} if kind(name) is bool else {}
        default = facts["nothing"] if each.default is None else str(each.default).lower()
        hint = "" if "(default" in facts["help"] else f" (default: {default})"
        flags = [f"--{name}", *(f"--{alias}" for alias, of in ALIASES.items() if of == name)]
        metavar = "|".join(facts["choices"]) or METAVARS[kind(name)]
        section = sections[facts["group"]]
        section.add_argument(*flags, dest=name, metavar=metavar, help=facts["help"] + hint, **flag)
    parser.add_argument(
        "--config", metavar="FILE", help="TOML file of the same names; the command line wins"
    )
    return parser


def option_value(name: str, text: str) -> Any:
    """Return what a command line's text is as the value of an option; raises OptionError."""
    if text and text == TABLE[name].metadata["nothing"]:
        return None
    wanted = kind(name)
    try:
        value = FLAGS[text] if wanted is bool else wanted(text)
    except (KeyError, ValueError):
        raise wrong(name, text) from None
    check(name, value)
    return value


def _nearest(name: str, *more: str) -> str:
    """Return the option, or name of `more`, that is most like this name as a question."""
    near = difflib.get_close_matches(name.partition("=")[0], [*TABLE, *ALIASES, *more], 1)
    return f": did you mean {near[0]}?" if near else " (see --help)"


def _read_toml(path: Path) -> dict[str, Any]:
    """Return the options of a TOML file; raises OptionError that names the file and the key."""
    try:
        table = tomllib.loads(read_bytes(path).decode())
    except (OSError, ValueError, RecursionError) as error:
        reason = getattr(error, "strerror", None) or error
        raise OptionError(f"--config {path}: {reason}, expected a TOML file of options") from error
    try:
        return _checked(table)
    except OptionError as error:
        raise OptionError(f"--config {path}: {error}") from None


def _checked(table: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options by name, None for the word that stands for it; raises OptionError."""
    values: dict[str, Any] = {}
    for key, value in table.items():
        name = ALIASES.get(key.replace("-", "_"), key.replace("-", "_"))
        if name not in TABLE:
            raise OptionError(f"unknown option {key}{_nearest(name)}")
        if name in values:
            raise OptionError(f"{key} is --{name} a second time, expected it once")
        nothing = TABLE[name].metadata["nothing"]
        values[name] = None if nothing and value == nothing else value
        check(name, values[name])
    return values
