"""The options of training: each is declared once, as a field of Options.

The command line, the keys of a TOML file and the keywords of dpcnn.train() (cli/arguments.py),
options.json and what a checkpoint keeps all come from these declarations.
"""

from __future__ import annotations

import dataclasses
import re
import typing
from dataclasses import dataclass
from functools import partial
from math import inf
from types import NoneType
from typing import Any, TypeVar

from dpcnn.errors import CheckpointError, OptionError

Value = bool | int | float | str | None
T = TypeVar("T", bound=Value)

BIG = 2**31 - 1
BOOLS = {"true": True, "false": False}


@dataclass(frozen=True, kw_only=True)
class Option:
    """One option: its name, the values it takes, and what --help says about it.

    Attributes
    ----------
    name, value_type, default
        From the field of Options that declares it; `value_type` leaves out None.
    group, help, metavar
        Its section of --help, the text there, and what the value is called there.
    aliases
        Other names of the same option.
    low, high
        The smallest and the largest number allowed, also for a number in a text.
    choices
        The only texts allowed, if there are any.
    pattern, takes
        A regular expression for the whole of any other text, and in words what it allows. If it
        has a group, that is a number.
    none_word
        The word that stands for None; empty if None is not allowed.
    may_change
        Whether a resumed run may change it. The others decide the bits of a run.
    """

    name: str
    value_type: type
    default: Value
    group: str
    help: str
    metavar: str
    aliases: tuple[str, ...]
    low: float
    high: float
    choices: tuple[str, ...]
    pattern: str
    takes: tuple[str, ...]
    none_word: str
    may_change: bool

    def parse(self, text: str) -> Value:
        """Return the value that a text of the command line stands for; raises OptionError."""
        if self._stands_for_none(text):
            return None
        try:
            value: Value = BOOLS[text] if self.value_type is bool else self.value_type(text)
        except (KeyError, ValueError):
            raise self.error(text) from None
        self.check(value)
        return value

    def convert(self, value: Any) -> Value:
        """Return a value of a TOML file or a Python call, None for its word; raises OptionError."""
        if self._stands_for_none(value):
            return None
        self.check(value)
        return value  # type: ignore[no-any-return]  # checked

    def check(self, value: object) -> None:
        """Raise OptionError unless the option may have this value."""
        if not self._allows(value):
            raise self.error(value)

    def error(self, value: object) -> OptionError:
        """Return the error that says what the option takes instead of this value."""
        return OptionError(f"--{self.name} is {value!r}, expected {self.expected}")

    @property
    def expected(self) -> str:
        """What the option takes, in words."""
        alternatives = [*self._alternatives(), self.none_word]
        *others, last = filter(None, alternatives)
        return f"{', '.join(others)} or {last}" if others else last

    def text(self, value: Value) -> str:
        """Return a value as a user types it."""
        match value:
            case None:
                return self.none_word
            case bool():
                return str(value).lower()
            case float():
                return str(value).removesuffix(".0")
        return str(value)

    def _stands_for_none(self, value: object) -> bool:
        return isinstance(value, str) and value != "" and value == self.none_word

    def _allows(self, value: object) -> bool:
        match value:
            case None:
                return self.none_word != ""
            case bool():  # which is an int in Python
                return self.value_type is bool
            case int():
                return self.value_type in (int, float) and self.low <= value <= self.high
            case float():
                return self.value_type is float and self.low <= value <= self.high
            case str() if self.choices:
                return value in self.choices
            case str():
                return self.value_type is str and self._matches(value)
        return False

    def _matches(self, text: str) -> bool:
        match = re.fullmatch(self.pattern, text)
        if match is None:
            return False
        return match.lastindex is None or self.low <= int(match[1]) <= self.high

    def _alternatives(self) -> tuple[str, ...]:
        if self.value_type is bool:
            return tuple(BOOLS)
        if self.value_type is int:
            return (f"an integer from {self.low} to {self.high}",)
        if self.value_type is float:
            return (f"a number from {self.low:g} to {self.high:g}",)
        return self.choices or self.takes


def option(
    default: T,
    group: str,
    help: str,
    *,
    metavar: str = "",
    aliases: tuple[str, ...] = (),
    low: float = -inf,
    high: float = inf,
    choices: tuple[str, ...] = (),
    pattern: str = r"[^\0]+",
    takes: tuple[str, ...] = ("text",),
    none_word: str = "",
    may_change: bool = False,
) -> T:
    """Declare an option as a field of Options; Option explains the parameters."""
    declaration = partial(
        Option,
        default=default,
        group=group,
        help=help,
        metavar=metavar,
        aliases=aliases,
        low=low,
        high=high,
        choices=choices,
        pattern=pattern,
        takes=takes,
        none_word=none_word,
        may_change=may_change,
    )
    return dataclasses.field(default=default, metadata={"option": declaration})


@dataclass(frozen=True, kw_only=True)
class Options:
    """The options of one run, checked. None stands for an option's word: all, auto or none."""

    # fmt: off
    dataroot: str = option(
        "auto", "data", "an HDF5 file, mnist (downloaded once) or digits (built in); auto: the"
        " first there is of ./MNISTdata.hdf5, ../MNISTdata.hdf5, mnist and digits",
        metavar="PATH", takes=("a path", "mnist", "digits", "auto"), may_change=True)
    mirror: str | None = option(
        None, "data", "download MNIST from this address instead of the usual ones",
        metavar="URL", pattern=r"(?i)https?://[^\s\0]+", takes=("an http:// or https:// URL",),
        none_word="none", may_change=True)
    train_limit: int | None = option(
        None, "data", "use only the first N training images", low=1, high=BIG, none_word="all")
    test_limit: int | None = option(
        None, "data", "use only the first N test images", low=1, high=BIG, none_word="all")
    stream: bool = option(
        False, "data", "for datasets larger than memory: read the images from the file while"
        " training. Their order is shuffled differently, so the bits differ too. Images that are"
        " compressed or not uint8 are first unpacked into TMPDIR or /var/tmp")
    num_class: int = option(10, "data", "number of classes", low=2, high=65536)
    num_channel: int = option(1, "data", "channels per image", low=1, high=4096)
    img_height: int = option(28, "data", "image height in pixels", low=1, high=4096)
    img_width: int = option(28, "data", "image width in pixels", low=1, high=4096)

    model: str | None = option(
        None, "network", "a function that returns the layers (dpcnn.nn) of your own network; the"
        " module is in the current directory or on PYTHONPATH. none: the tutorial's network, as"
        " set by the options below",
        metavar="MODULE:FUNCTION", takes=("MODULE:FUNCTION",), none_word="none", may_change=True)
    n_filter: int = option(32, "network", "number of filters", low=1, high=65536)
    h_filter: int = option(7, "network", "filter height in pixels", low=1, high=4096)
    w_filter: int = option(7, "network", "filter width in pixels", low=1, high=4096)
    stride: int = option(
        1, "network", "pixels from one filter position to the next", low=1, high=4096)
    padding: int = option(
        1, "network", "pixels of zeros added on each side of the image", low=0, high=4096)

    lr: float = option(0.01, "training", "learning rate", low=1e-12, high=1e6)
    epochs: int = option(
        50, "training", "passes over the training set", low=1, high=BIG, may_change=True)
    minibatch_size: int = option(
        64, "training", "images per step, all ranks together", aliases=("batch_size",),
        low=1, high=BIG)
    microbatch_size: int | None = option(
        None, "training", "images computed at a time; the bits depend on it. auto: 16, or fewer"
        " where 16 would leave ranks without work",
        low=1, high=65536, none_word="auto")
    shuffle: str = option(
        "epoch", "training", "epoch: a new order every epoch; once: one shuffled order for all"
        " epochs; none: the order of the file",
        choices=("epoch", "once", "none"))
    seed: int = option(0, "training", "random seed", low=0, high=2**63 - 1)
    max_steps: int | None = option(
        None, "training", "stop after N steps in total",
        low=1, high=BIG, none_word="none", may_change=True)

    reduce: str = option(
        "exact", "ranks", "exact: the same bits on any number of ranks; fast: plain float32 sums",
        choices=("exact", "fast"))
    evaluate_on: str = option(
        "rank0", "ranks", "which ranks evaluate the test set; the numbers are the same",
        choices=("rank0", "all"), may_change=True)
    threads: int | None = option(
        None, "ranks", "BLAS threads per rank; auto: 1 with --reduce exact, otherwise the cores"
        " divided among the ranks",
        low=1, high=4096, none_word="auto", may_change=True)
    timeout: float = option(
        300.0, "ranks", "how long to wait for a rank that hangs before naming it and ending the"
        " job; under launch/elastic the other ranks continue without it",
        metavar="SECONDS", low=0.1, high=1e9, may_change=True)
    respawn: bool = option(
        False, "ranks", "under launch/elastic: replace ranks that die", may_change=True)

    run_dir: str | None = option(
        None, "run directory", "where to keep the run; auto: in a new directory runs/DATE-TIME",
        metavar="PATH", takes=("a path",), none_word="auto", may_change=True)
    resume: str | None = option(
        None, "run directory", "the checkpoint or run directory to resume; auto: the newest sound"
        " checkpoint in --run_dir or, without --run_dir, in the newest run in runs/; if there is"
        " none, start afresh",
        metavar="PATH", takes=("a path", "auto"), none_word="none", may_change=True)
    checkpoint_every: str = option(
        "1ep", "run directory", "how often to save: every so many epochs (1ep) or steps (500st);"
        " the end is always saved",
        metavar="INTERVAL", pattern="([0-9]{1,10})(?:ep|st)", low=1, high=BIG,
        takes=("a number of epochs or steps such as 1ep or 500st",), may_change=True)
    keep_checkpoints: int = option(
        3, "run directory", "how many of the newest checkpoints to keep, besides the one with the"
        " best test accuracy",
        low=1, high=BIG, may_change=True)
    tensorboard: bool = option(
        False, "run directory", "also write the metrics for TensorBoard"
        " (pip install dpcnn[tensorboard])", may_change=True)
    progress: str = option(
        "auto", "run directory", "bar: a progress bar; plain: lines; none: the header and a line"
        " per epoch; silent: only warnings; auto: bar on a terminal, else plain",
        choices=("auto", "bar", "plain", "none", "silent"), may_change=True)
    # fmt: on

    def __post_init__(self) -> None:
        for name, value in self.as_dict().items():
            OPTIONS[name].check(value)

    def as_dict(self) -> dict[str, Any]:
        """Return name -> value, plain enough for JSON."""
        return dataclasses.asdict(self)


def _value_type(name: str) -> type:
    """Return the type that a field of Options is annotated with, without None."""
    annotation = typing.get_type_hints(Options)[name]
    [value_type] = {*typing.get_args(annotation)} - {NoneType} or {annotation}
    return typing.cast(type, value_type)


OPTIONS: dict[str, Option] = {
    field.name: field.metadata["option"](name=field.name, value_type=_value_type(field.name))
    for field in dataclasses.fields(Options)
}
ALIASES = {alias: name for name in OPTIONS for alias in OPTIONS[name].aliases}
# The options of the tutorial's network, which --model replaces.
NETWORK = ("n_filter", "h_filter", "w_filter", "stride", "padding")


def resumed(options: Options, named: frozenset[str], recorded: dict[str, Any]) -> Options:
    """Return the options of a resumed run: the recorded ones, with the changes that are allowed.

    named: the options that the user named. recorded: all options, as the checkpoint has them.
    Raises OptionError that names every contradiction, and CheckpointError if the recorded options
    are those of another version or out of range.
    """
    if recorded.keys() != OPTIONS.keys():
        names = ", ".join(sorted(recorded.keys() ^ OPTIONS.keys()))
        raise CheckpointError(f"the checkpoint is from another version of dpcnn (options {names})")
    values = options.as_dict()
    contradictions = [
        f"--{name} is {OPTIONS[name].text(values[name])},"
        f" expected {OPTIONS[name].text(recorded[name])}"
        for name in sorted(named)
        if not OPTIONS[name].may_change
        and values[name] != recorded[name]
        and OPTIONS[name].text(values[name]) != "auto"  # which means: as recorded
    ]
    if contradictions:
        raise OptionError(f"{'; '.join(contradictions)}, as in the checkpoint that is resumed")
    changes = {name: values[name] for name in named if OPTIONS[name].may_change}
    try:
        return Options(**recorded | changes)
    except OptionError as error:
        raise CheckpointError(f"the checkpoint's options: {error}") from None
