"""The options of training, each once: name, type, default, range, help.

From this table come the command line and the keys of a TOML file (commandline.py), options.json and
what a checkpoint keeps. Imports no NumPy: the number of threads is among the options.
"""

from __future__ import annotations

import re
import typing
from dataclasses import Field, asdict, dataclass, field, fields
from typing import Any

from dpcnn.errors import CheckpointError, OptionError


def option(
    default: Any,
    group: str,
    help: str,
    *,
    low: float | None = None,
    high: float | None = None,
    choices: tuple[str, ...] = (),
    nothing: str = "",
    free: bool = False,
) -> Any:
    """Declare one option as a dataclass field.

    low, high: the numbers allowed. choices: the words allowed. nothing: the word for None.
    free: may change when a run is resumed; the others decide the run's bits and may not.
    """
    return field(default=default, metadata={
        "group": group, "help": help, "low": low, "high": high, "choices": choices,
        "nothing": nothing, "free": free,
    })  # fmt: skip


BIG = 2**31 - 1


@dataclass(frozen=True, kw_only=True)
class Options:
    """The options of one run, checked. None stands for the word in the table (all, auto, none)."""

    dataroot: str = option(
        "auto",
        "data",
        "HDF5 file, or `mnist`, or `digits`; auto: ./MNISTdata.hdf5, ../MNISTdata.hdf5, the cached"
        " MNIST, a download of MNIST, else the built-in digits",
        free=True,
    )
    mirror: str | None = option(
        None, "data", "where to download MNIST from (a URL)", nothing="none", free=True
    )
    train_limit: int | None = option(
        None, "data", "train on the first N images only", low=1, high=BIG, nothing="all"
    )
    test_limit: int | None = option(
        None, "data", "test on the first N images only", low=1, high=BIG, nothing="all"
    )
    stream: bool = option(
        False,
        "data",
        "for images that the memory cannot hold: read them from the file while training, in a"
        " shuffled order of its own (other bits). What is not uint8, or compressed, is unpacked"
        " first, into TMPDIR or /var/tmp",
    )
    num_class: int = option(10, "data", "number of classes", low=2, high=65536)
    num_channel: int = option(1, "data", "channels of an image", low=1, high=4096)
    img_height: int = option(28, "data", "height of an image in pixels", low=1, high=4096)
    img_width: int = option(28, "data", "width of an image in pixels", low=1, high=4096)

    model: str | None = option(
        None,
        "network",
        "MODULE:FUNCTION that returns the layers of your own network (dpcnn.nn), in a module of the"
        " current directory or on PYTHONPATH; none: the tutorial's, of the options below",
        nothing="none",
        free=True,
    )
    n_filter: int = option(32, "network", "number of filters", low=1, high=65536)
    h_filter: int = option(7, "network", "height of a filter in pixels", low=1, high=4096)
    w_filter: int = option(7, "network", "width of a filter in pixels", low=1, high=4096)
    stride: int = option(1, "network", "step between filter positions", low=1, high=4096)
    padding: int = option(1, "network", "zeros around the image", low=0, high=4096)

    lr: float = option(0.01, "training", "learning rate", low=1e-12, high=1e6)
    epochs: int = option(
        50, "training", "how often to visit all images", low=1, high=BIG, free=True
    )
    minibatch_size: int = option(
        64, "training", "images in a step, all ranks together", low=1, high=BIG
    )
    microbatch_size: int | None = option(
        None,
        "training",
        "images computed at a time; the bits depend on it. auto: at most 16, and small enough that"
        " every rank has work",
        low=1,
        high=65536,
        nothing="auto",
    )
    shuffle: str = option(
        "epoch",
        "training",
        "new order in every `epoch`, the same shuffled order in all (`once`), or `none`",
        choices=("epoch", "once", "none"),
    )
    seed: int = option(0, "training", "of the initial weights and the order", low=0, high=2**63 - 1)
    max_steps: int | None = option(
        None, "training", "stop after so many steps in all", low=1, high=BIG, nothing="none",
        free=True,
    )  # fmt: skip

    reduce: str = option(
        "exact",
        "ranks",
        "exact: the same bits on any number of ranks; fast: plain float32 sums",
        choices=("exact", "fast"),
    )
    evaluate_on: str = option(
        "rank0",
        "ranks",
        "who evaluates the test set: rank0, or all, with the same numbers",
        choices=("rank0", "all"),
        free=True,
    )
    threads: int | None = option(
        None,
        "ranks",
        "BLAS threads of a rank; auto: 1 with --reduce exact, else the cores shared out",
        low=1,
        high=4096,
        nothing="auto",
        free=True,
    )

    timeout: float = option(
        300.0,
        "ranks",
        "seconds that ranks wait for one that hangs before they name it and end the job; with"
        " launch/elastic they go on without it",
        low=0.1,
        high=1e9,
        free=True,
    )

    respawn: bool = option(
        False,
        "ranks",
        "with launch/elastic: start new ranks in the place of those that die",
        free=True,
    )

    run_dir: str | None = option(
        None,
        "run directory",
        "where the run is kept (default: a new runs/DATE-TIME)",
        nothing="auto",
        free=True,
    )
    resume: str | None = option(
        None,
        "run directory",
        "auto: from the newest sound checkpoint of --run_dir (without one: of the newest run in"
        " runs/), or a fresh start; or a checkpoint's or run directory's PATH; none",
        nothing="none",
        free=True,
    )
    checkpoint_every: str = option(
        "1ep",
        "run directory",
        "how often to save: so many epochs (1ep) or steps (500st); the end is always saved",
        free=True,
    )
    keep_checkpoints: int = option(
        3,
        "run directory",
        "how many of the newest to keep, and the best by test accuracy",
        low=1,
        high=BIG,
        free=True,
    )
    tensorboard: bool = option(
        False,
        "run directory",
        "write the metrics for TensorBoard too (pip install dpcnn[tensorboard])",
        free=True,
    )
    progress: str = option(
        "auto",
        "run directory",
        "auto: a bar on a terminal, plain lines elsewhere; none: the header and a line an epoch;"
        " silent: warnings alone",
        choices=("auto", "bar", "plain", "none", "silent"),
        free=True,
    )

    def __post_init__(self) -> None:
        for name in TABLE:
            check(name, getattr(self, name))
        self.checkpoint_interval()
        if self.mirror is not None and not re.fullmatch(r"(?i)https?://\S+", self.mirror):
            raise OptionError(f"--mirror is {self.mirror!r}, expected an http:// or https:// URL")

    def checkpoint_interval(self) -> tuple[int, str]:
        """Return checkpoint_every as (count, unit), the unit `st` or `ep`."""
        parts = re.fullmatch("([0-9]{1,10})(st|ep)", self.checkpoint_every)
        if parts is None or not 1 <= int(parts[1]) <= BIG:
            raise OptionError(
                f"--checkpoint_every is {self.checkpoint_every!r}, expected a number of epochs"
                " or steps such as 1ep or 500st"
            )
        return int(parts[1]), parts[2]

    def as_dict(self) -> dict[str, Any]:
        """Return name -> value, plain enough for JSON."""
        return asdict(self)


TABLE: dict[str, Field[Any]] = {each.name: each for each in fields(Options)}
_TYPES = typing.get_type_hints(Options)
ALIASES = {"batch_size": "minibatch_size"}
# The options of the tutorial's network, which a network of one's own leaves no use for.
NETWORK = ("n_filter", "h_filter", "w_filter", "stride", "padding")
FLAGS = {"true": True, "false": False}


def kind(name: str) -> type:
    """Return the type of an option's value when it is not None: bool, int, float or str."""
    return next(
        t for t in (bool, int, float, str) if t in (_TYPES[name], *typing.get_args(_TYPES[name]))
    )


def check(name: str, value: Any) -> None:
    """Raise OptionError unless value is of the option's type and range."""
    facts = TABLE[name].metadata
    if value is None and facts["nothing"]:
        return
    wanted = kind(name)
    fits = isinstance(value, int | float) if wanted is float else isinstance(value, wanted)
    fits = fits and isinstance(value, bool) == (wanted is bool)  # True is an int in Python
    if not fits or value == "" or "\0" in str(value):
        raise wrong(name, value)
    if facts["choices"] and value not in facts["choices"]:
        raise wrong(name, value)
    if facts["low"] is not None and not facts["low"] <= value <= facts["high"]:
        raise wrong(name, value)


def wrong(name: str, value: Any) -> OptionError:
    """Return the error that says what the option takes instead of this value."""
    return OptionError(f"--{name} is {value!r}, expected {_expected(name)}")


def _expected(name: str) -> str:
    """Say in words which values an option takes."""
    facts = TABLE[name].metadata
    if facts["choices"]:
        words = list(facts["choices"])
    elif kind(name) is bool:
        words = list(FLAGS)
    elif facts["low"] is not None:
        noun, form = ("an integer", "d") if kind(name) is int else ("a number", "g")
        words = [f"{noun} from {facts['low']:{form}} to {facts['high']:{form}}"]
    else:
        words = ["text"]
    if facts["nothing"]:
        words.append(facts["nothing"])
    return " or ".join(filter(None, [", ".join(words[:-1]), words[-1]]))


def restored(options: Options, given: frozenset[str], recorded: dict[str, Any]) -> Options:
    """Return the options of a resumed run: the recorded ones, with those given that may change.

    Raises OptionError that names every given option that contradicts the recorded one, and
    CheckpointError where the recorded options are not those of this version or out of range.
    """
    if recorded.keys() != TABLE.keys():
        odd = ", ".join(sorted(recorded.keys() ^ TABLE.keys()))
        raise CheckpointError(f"the checkpoint is of another version of dpcnn (options {odd})")
    differing = [
        f"--{name} is {_word(name, getattr(options, name))}, expected {_word(name, recorded[name])}"
        for name in sorted(given)
        if not TABLE[name].metadata["free"]
        and getattr(options, name) != recorded[name]
        and _word(name, getattr(options, name)) != "auto"
    ]
    if differing:
        raise OptionError(f"{'; '.join(differing)}, as in the checkpoint that is resumed")
    free = {name for name, each in TABLE.items() if each.metadata["free"]}
    kept = {name: value for name, value in recorded.items() if name not in given & free}
    try:
        return Options(**(kept | {name: getattr(options, name) for name in given & free}))
    except OptionError as error:
        raise CheckpointError(f"the checkpoint's options: {error}") from None


def _word(name: str, value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()  # as it is given
    return str(TABLE[name].metadata["nothing"] if value is None else value)
