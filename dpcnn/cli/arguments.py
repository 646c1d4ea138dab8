"""Reads options: from the command line, from a TOML file, from the keywords of a Python call."""

from __future__ import annotations

import argparse
import difflib
import os
import re
import sys
import textwrap
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from dpcnn.errors import OptionError
from dpcnn.options import ALIASES, OPTIONS, Option, Options, Value, check_together
from dpcnn.system.files import read_bytes

NO_BREAK_SPACE = "\N{NO-BREAK SPACE}"
METAVARS = {int: "N", float: "X", str: "TEXT", bool: "true|false"}
RECIPES = Path(__file__).parents[1] / "recipes"
ELSEWHERE = {  # option: what other programs call it
    "batch_size": "batch bs train_batch_size",
    "clip_norm": "max_grad_norm gradient_clip_val",
    "dataroot": "data dataset data_dir data_path",
    "epochs": "num_epochs n_epochs max_epochs num_train_epochs",
    "lr": "learning_rate eta",
    "model": "arch net network",
    "optimizer": "optim opt",
    "patience": "early_stopping",
    "resume": "ckpt checkpoint load",
    "run_dir": "output_dir save_dir log_dir logdir",
    "schedule": "sched scheduler lr_scheduler",
    "seed": "random_seed random_state",
    "validation": "val_split validation_split",
    "weight_decay": "wd l2",
}
OURS = {word: name for name, words in ELSEWHERE.items() for word in words.split()}
DESCRIPTION = """\
Train a convolutional network in NumPy, data-parallel over MPI:

    mpirun -n 4 python -m dpcnn.train                  4 ranks
    python -m dpcnn.train                              one process, no MPI
    mpirun -n 4 python -m dpcnn.train --resume auto    resume the newest run

In the names of options, - and _ are the same.
"""


class Parsed(NamedTuple):
    """The options of a run, and the names of those that the user named."""

    options: Options
    named: frozenset[str]


class CommandLine(argparse.ArgumentParser):
    """An argparse parser that takes - for _ in options, and raises OptionError for mistakes."""

    def __init__(self, prog: str, **settings: Any) -> None:
        """prog: such as `python -m dpcnn.look`; where `dpcnn look` was typed, that is shown."""
        typed, command = sys.argv[0], prog.removeprefix("python -m dpcnn.")
        super().__init__(prog=typed if typed.endswith(f"dpcnn {command}") else prog, **settings)

    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: Any = None
    ) -> tuple[Any, list[str]]:
        """Parse as argparse does, after replacing - by _ in the names of options."""
        arguments = sys.argv[1:] if args is None else args
        return super().parse_known_args(list(map(_with_underscores, arguments)), namespace)

    def error(self, message: str) -> NoReturn:
        """Raise OptionError instead of printing the usage and exiting."""
        raise OptionError(f"{message} (see --help)")


class HelpFormatter(argparse.RawDescriptionHelpFormatter):
    """Prints the description as it is, and breaks no line at a NO_BREAK_SPACE or a hyphen.

    What the recipes are for is in their files, which only --help has to read.
    """

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=28)

    def _get_help_string(self, action: argparse.Action) -> str | None:
        if action.dest != "recipe":
            return action.help
        recipes = "; ".join(f"{name}: {aim}" for name, aim in recipe_aims().items())
        return f"{action.help}{recipes.replace('%', '%%')}"

    def _split_lines(self, text: str, width: int) -> list[str]:
        words = re.sub(r"[ \n]+", " ", text)
        lines = textwrap.wrap(words, width, break_on_hyphens=False)
        return [line.replace(NO_BREAK_SPACE, " ") for line in lines]


def add_model(parser: argparse.ArgumentParser) -> None:
    """Add the option --model to a command that uses a trained network."""
    parser.add_argument(
        "--model",
        metavar="MODULE:FUNCTION",
        default=None,
        help="the function that returns the network's layers; needed if some are your own classes",
    )


def add_best(parser: argparse.ArgumentParser) -> None:
    """Add the option --best to a command that uses a trained network."""
    parser.add_argument(
        "--best",
        action="store_true",
        default=False,
        help="the best epoch of RUN, by validation accuracy, or by test accuracy without a"
        " validation set (default: the newest checkpoint)",
    )


def file_path(text: str) -> Path:
    """Return the path that a text names, with the home directory for ~, as a shell has it."""
    return Path(os.path.expanduser(text))


def image_sizes(text: str) -> tuple[int, int, int] | None:
    """Return (C, H, W) of a text such as 3x32x32; None if it is not of that form."""
    match = re.fullmatch(r"([0-9]+)x([0-9]+)x([0-9]+)", text, re.ASCII)
    return None if match is None else (int(match[1]), int(match[2]), int(match[3]))


def add_options(parser: argparse.ArgumentParser, names: Sequence[str]) -> None:
    """Add some of training's options to another command; `chosen` reads them."""
    for name in names:
        _add(OPTIONS[name], parser)


def chosen(namespace: argparse.Namespace, names: Sequence[str], **values: Value) -> Options:
    """Return the options with these values and those of a command line; raises OptionError."""
    texts = {name: text for name, text in vars(namespace).items() if name in names}
    parsed = {name: OPTIONS[name].parse(text) for name, text in texts.items() if text is not None}
    return parse_keywords(parsed | values).options


def parse_arguments(arguments: Sequence[str] | None = None) -> Parsed:
    """Return the options of a command line, and of the TOML files that it names.

    The command line wins over --config, and that over --recipe. None stands for sys.argv.
    Raises OptionError; --help prints and exits, as argparse does.
    """
    namespace, unknown = _parser().parse_known_args(arguments)
    if unknown:
        suggestion = _suggestion(unknown[0].lstrip("-"), "config", "recipe")
        raise OptionError(f"unknown option {unknown[0]}{suggestion}")
    texts = vars(namespace)
    recipe, config = texts.pop("recipe", None), texts.pop("config", None)
    values = {} if recipe is None else _read_recipe(recipe)
    values |= {} if config is None else _read_toml(file_path(config))
    values |= {name: OPTIONS[name].parse(text) for name, text in texts.items()}
    return _parsed(values)


def parse_keywords(keywords: Mapping[str, Any]) -> Parsed:
    """Return the options of the keywords of a Python call; raises OptionError.

    Paths may be path objects, and numbers NumPy's. `recipe` is as on the command line.
    """
    given = {name: _plain(value) for name, value in keywords.items()}
    recipe = given.pop("recipe", None)
    values = {} if recipe is None else _read_recipe(recipe)
    return _parsed(values | _convert(given))


def _parsed(values: dict[str, Any]) -> Parsed:
    options = Options(**{name: _at_home(name, value) for name, value in values.items()})
    if options.resume is None:  # else the checkpoint may have what is missing
        check_together(options)
    return Parsed(options, frozenset(values))


def _at_home(name: str, value: Any) -> Any:
    """Return the value with the home directory for ~, as a shell has it, if it is a path."""
    is_path = "a path" in OPTIONS[name].takes and isinstance(value, str)
    return os.path.expanduser(value) if is_path else value


def _plain(value: Any) -> Any:
    """Return a path as text, a NumPy scalar as Python's number, and other values as they are."""
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    return value.item() if getattr(value, "shape", None) == () else value


def _with_underscores(argument: str) -> str:
    """Return --a-b=c as --a_b=c."""
    if not argument.startswith("--"):
        return argument
    name, equals, value = argument.partition("=")
    return "--" + name[2:].replace("-", "_") + equals + value


def _parser() -> CommandLine:
    """Return the parser of OPTIONS, whose result lacks the options that are not named."""
    parser = CommandLine(
        prog="python -m dpcnn.train",
        usage="%(prog)s [options]",
        description=DESCRIPTION,
        argument_default=argparse.SUPPRESS,
        add_help=False,
        allow_abbrev=False,
        formatter_class=HelpFormatter,
    )
    groups = dict.fromkeys(option.group for option in OPTIONS.values())
    sections = {group: parser.add_argument_group(group) for group in groups}
    for option in OPTIONS.values():
        _add(option, sections[option.group])
    other = parser.add_argument_group("other")
    other.add_argument(
        "--config",
        metavar="FILE",
        help="a TOML file with these options, such as lr = 0.05; the command line wins over it",
    )
    other.add_argument(
        "--recipe",
        metavar="NAME",
        help="options of a run whose result is known, the others win over them. ",
    )
    other.add_argument("-h", "--help", action="help", help="show this text and exit")
    return parser


def _add(option: Option, section: argparse._ActionsContainer) -> None:
    default = f"(default: {option.text(option.default)})".replace(" ", NO_BREAK_SPACE)
    is_flag = option.value_type is bool  # which needs no value
    section.add_argument(
        *(f"--{name}" for name in (option.name, *option.aliases)),
        dest=option.name,
        metavar=option.metavar or "|".join(option.choices) or METAVARS[option.value_type],
        help=f"{option.help} {default}",
        nargs="?" if is_flag else None,
        const="true" if is_flag else None,
    )


def _suggestion(name: str, *others: str) -> str:
    """Return the option, or the other name, that is most like this one, as a question."""
    known = [*OPTIONS, *ALIASES, *others]
    asked = name.partition("=")[0]
    close = difflib.get_close_matches(OURS.get(asked, asked), known, 1)
    return f": did you mean {close[0]}?" if close else " (see --help)"


def recipe_aims() -> dict[str, str]:
    """Return what each recipe is for, by name: the comment in the first line of its file."""
    lines = {path.stem: path.read_text().splitlines()[0] for path in sorted(RECIPES.glob("*.toml"))}
    return {name: line.removeprefix("# ").removesuffix(".") for name, line in lines.items()}


def _read_recipe(name: object) -> dict[str, Value]:
    """Return the options of a recipe; raises OptionError for another name."""
    names = list(recipe_aims())
    if name not in names:
        raise OptionError(f"--recipe {name}: no such recipe, expected one of {', '.join(names)}")
    return _read_toml(RECIPES / f"{name}.toml")


def _read_toml(path: Path) -> dict[str, Value]:
    """Return the values in a TOML file; raises OptionError that names the file and the option."""
    try:
        table = tomllib.loads(read_bytes(path).decode("utf-8-sig"))  # some editors write a BOM
    except (OSError, ValueError, RecursionError) as error:
        reason = getattr(error, "strerror", None) or error
        raise OptionError(f"--config {path}: {reason}, expected a TOML file of options") from error
    try:
        return _convert(table)
    except OptionError as error:
        raise OptionError(f"--config {path}: {error}") from None


def _convert(table: Mapping[str, Any]) -> dict[str, Value]:
    """Return the values by their options' names, checked; raises OptionError."""
    keys: dict[str, str] = {}
    values: dict[str, Value] = {}
    for key, value in table.items():
        name = key.replace("-", "_")
        name = ALIASES.get(name, name)
        if name not in OPTIONS:
            raise OptionError(f"unknown option {key}{_suggestion(name)}")
        if name in keys:
            raise OptionError(f"{keys[name]} and {key} are the same option: give one")
        keys[name] = key
        values[name] = OPTIONS[name].convert(value)
    return values
