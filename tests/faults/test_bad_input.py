"""Whatever is wrong with a command line or its TOML file is one line and exit code 2.

Nothing is left behind: see conftest.py for what is checked of each case.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

Parts = tuple[str, ...]
Check = Callable[..., None]

BIG = 2**31 - 1
CHECKPOINT = "run/checkpoints/step-00000001.h5"


# Option: what is expected, then three values out of the range or of no number at all.
NUMBERS = {
    "train_limit": (f"an integer from 1 to {BIG} or all", "0", str(BIG + 1), "'some'"),
    "test_limit": (f"an integer from 1 to {BIG} or all", "-1", str(BIG + 1), "''"),
    "num_class": ("an integer from 2 to 65536 or auto", "1", "65537", "'ten'"),
    "num_channel": ("an integer from 1 to 4096 or auto", "0", "4097", "'1.0'"),
    "img_height": ("an integer from 1 to 4096 or auto", "0", "4097", "'nan'"),
    "img_width": ("an integer from 1 to 4096 or auto", "0", "4097", "'inf'"),
    "n_filter": ("an integer from 1 to 65536", "0", "65537", "'1e3'"),
    "h_filter": ("an integer from 1 to 4096", "0", "4097", "''"),
    "w_filter": ("an integer from 1 to 4096", "-7", "4097", "'0x7'"),
    "stride": ("an integer from 1 to 4096", "0", "4097", "'1,5'"),
    "padding": ("an integer from 0 to 4096", "-1", "4097", "'same'"),
    "lr": ("a number from 1e-12 to 1e+06", "0.0", "inf", "nan"),
    "epochs": (f"an integer from 1 to {BIG}", "0", str(BIG + 1), "'1.5'"),
    "minibatch_size": (f"an integer from 1 to {BIG}", "0", str(BIG + 1), "'auto'"),
    "microbatch_size": ("an integer from 1 to 65536 or auto", "0", "65537", "'-inf'"),
    "seed": (f"an integer from 0 to {2**63 - 1}", "-1", str(2**63), "'0.0'"),
    "max_steps": (f"an integer from 1 to {BIG} or none", "0", str(BIG + 1), "'all'"),
    "threads": ("an integer from 1 to 4096 or auto", "0", "4097", "'many'"),
    "keep_checkpoints": (f"an integer from 1 to {BIG}", "0", str(BIG + 1), "'none'"),
}


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name, row in NUMBERS.items() for value in row[1:]]
)
def test_a_bad_number_is_refused(name: str, value: str, check_refusal: Check) -> None:
    parts = (f"--{name} is {value}, expected {NUMBERS[name][0]}\n",)
    check_refusal(f"--{name}={value.strip(chr(39))}", parts=parts)


PLACES = "a number of epochs or steps such as 1ep or 500st"
URL = "expected an http://, https:// or file:/// URL"
DIRECTORY = "expected a directory to write to"
MEMORY = (" takes about ", " GiB of memory, expected at most the ")
LONG = "n" * 300
ROWS = "x_train has shape (8, 784), expected images with"
TUTORIAL = "--model dpcnn.models.zoo:tutorial"

# The command line, and what the error must say.
OPTIONS: dict[str, tuple[str, Parts]] = {
    "shuffle": ("--shuffle=always", ("--shuffle is 'always', expected epoch, once or none",)),
    "reduce": ("--reduce=Exact", ("--reduce is 'Exact', expected exact or fast",)),
    "evaluate_on": ("--evaluate_on=rank1", ("--evaluate_on is 'rank1', expected all or rank0",)),
    "progress": ("--progress=", ("--progress is '', expected auto, bar, plain, none or silent",)),
    "unknown option": ("--epocs 3", ("unknown option --epocs", "did you mean epochs?")),
    "unknown, with =": ("--batchsize=3", ("--batchsize=3", "did you mean batch_size?")),
    "unknown, dashes": ("--run-dri x", ("unknown option --run_dri", "did you mean run_dir?")),
    "abbreviated": ("--max_step 5", ("unknown option --max_step", "did you mean max_steps?")),
    "like no other": ("--zzzzzz", ("unknown option --zzzzzz", "see --help")),
    "one dash": ("-lr 0.1", ("unknown option -lr", "did you mean lr?")),
    "one letter": ("-v", ("unknown option -v", "see --help")),
    "stray word": ("train", ("unknown option train",)),
    "stray word at the end": ("--lr 0.1 0.2", ("unknown option 0.2", "see --help")),
    "two dashes": ("--", ("unknown option --", "see --help")),
    "no value at the end": ("--lr", ("--lr", "expected one argument")),
    "no value before another": ("--epochs --lr 1", ("--epochs", "expected one argument")),
    "no value of an alias": ("--batch-size", ("--batch_size", "expected one argument")),
    "filter too high": ("--h_filter 31", ("height (28 - 31 + 2*1)/1 + 1 = 0", "--h_filter")),
    "filter too wide": ("--w_filter 40", ("width (28 - 40 + 2*1)/1 + 1 = -9", "--w_filter")),
    "stride and height": ("--stride 2", ("height (28 - 7 + 2*1)/2 + 1 = 12.5", "--stride")),
    "stride and width": (
        "--stride 2 --h_filter 6",
        ("width (28 - 7 + 2*1)/2 + 1 = 12.5", "--padding"),
    ),
    "too few classes": ("--num_class 5", ("y_train holds label 5, expected 0..4 (--num_class 5)",)),
    "other height": ("--img_height 27", (f"{ROWS} --img_height 27", "data.hdf5")),
    "other channels": ("--num_channel 3", (f"{ROWS} --num_channel 3",)),
    "other images": (
        "--num_channel 3 --img_height 28 --img_width 28",
        ("x_train has shape (8, 784), expected (N, 2352) or (N, 3, 28, 28)",),
    ),
    "checkpoint_every: no unit": ("--checkpoint_every=5", ("is '5'", PLACES)),
    "checkpoint_every: no number": ("--checkpoint_every=ep", ("is 'ep'", PLACES)),
    "checkpoint_every: other unit": ("--checkpoint_every=5min", ("is '5min'", PLACES)),
    "checkpoint_every: never": ("--checkpoint_every=0st", ("is '0st'", PLACES)),
    "checkpoint_every: negative": ("--checkpoint_every=-1st", ("is '-1st'", PLACES)),
    "checkpoint_every: half": ("--checkpoint_every=0.5ep", ("is '0.5ep'", PLACES)),
    "checkpoint_every: many": ("--checkpoint_every=9999999999ep", ("is '9999999999ep'", PLACES)),
    "checkpoint_every: empty": ("--checkpoint_every=", ("--checkpoint_every is ''",)),
    "mirror: a word": ("--mirror here", ("--mirror is 'here'", URL)),
    "mirror: empty": ("--mirror=", ("--mirror is ''", URL)),
    "mirror: other scheme": ("--mirror ftp://a/", ("--mirror is 'ftp://a/'", URL)),
    "mirror: of nothing": ("--dataroot auto --mirror http://", ("--mirror is 'http://'", URL)),
    "mirror: nobody there": (
        "--dataroot mnist --mirror http://127.0.0.1:1/",
        ("http://127.0.0.1:1/", "refused", "give --dataroot FILE"),
    ),
    "model: empty": ("--model=", ("--model is '', expected the name of a network, MODULE:",)),
    "model: no colon": ("--model net", ("--model is 'net', expected one of tutorial, mlp, ",)),
    "model: missing": ("--model gone:build", ("--model gone:build: no module gone in ",)),
    "model: no function": (f"{TUTORIAL}s", ("no function named tutorials in ", "zoo.py")),
    "model: no layers": (
        "--model dpcnn.system.files:stat",
        ("stat in ", "files.py is a module, expected a function"),
    ),
    "model: other classes": (f"{TUTORIAL} --num_class 12", ("output is (10,), expected (12,)",)),
    "model: other images": (
        f"{TUTORIAL} --img_height 196",
        ("convolution1, Convolution(32 x 7x7", "output width (4 - 7 + 2*1)/1 + 1 = 0, expected"),
    ),
    "model: and the tutorial's options": (
        f"{TUTORIAL} --stride 2 --n_filter 3",
        (f"found --n_filter, --stride beside {TUTORIAL}, expected one or the other",),
    ),
    "resume: other model": (
        f"--resume run {TUTORIAL}",
        ("layer 1 of the network: found {", "'filters': 32", "expected {", "'filters': 2"),
    ),
    "dataroot: empty": ("--dataroot=", ("--dataroot is '', expected a path, a name such as",)),
    "dataroot: misspelt": ("--dataroot minst", ("minst: no such file or directory",)),
    "memory: parameters": ("--n_filter 65536 --num_class 65536", ("--n_filter 65536", *MEMORY)),
    "memory: filters": (
        "--padding 2100 --h_filter 4000 --w_filter 4000 --n_filter 65536",
        ("--h_filter 4000", *MEMORY),
    ),
    "memory: padding": ("--padding 4096 --n_filter 4096", ("--padding 4096", *MEMORY)),
    "memory: past 64 bits": (
        "--padding 4096 --n_filter 65536 --num_class 65536",
        ("--num_class 65536", *MEMORY),
    ),
    "config: missing": ("--config gone.toml", ("--config gone.toml: no such file", "TOML file")),
    "config: a directory": ("--config folder", ("--config folder: a directory", "TOML file")),
    "config: a FIFO": ("--config fifo", ("--config fifo: not a regular file", "TOML file")),
    "config: a device": ("--config /dev/zero", ("--config /dev/zero: not a regular file",)),
    "config: binary": ("--config data.hdf5", ("--config data.hdf5: ", "expected a TOML file")),
    "config: long name": (f"--config {LONG}", ("--config nnn", "file name too long")),
    "run_dir: empty": ("--run_dir=", ("--run_dir is '', expected a path or auto",)),
    "run_dir: a file": ("--run_dir garbage", ("--run_dir garbage: File exists", DIRECTORY)),
    "run_dir: under a file": (
        "--run_dir garbage/run",
        ("--run_dir garbage/run: Not a directory", DIRECTORY),
    ),
    "run_dir: a dangling link": ("--run_dir dangling", ("--run_dir dangling: File", DIRECTORY)),
    "run_dir: a file inside": ("--run_dir half", ("--run_dir half: File exists", DIRECTORY)),
    "run_dir: in /proc": ("--run_dir /proc/run", ("--run_dir /proc/run: ", DIRECTORY)),
    "run_dir: long name": (f"--run_dir {LONG}", ("--run_dir nnn", "File name too long")),
    "run_dir: holds a run": (
        "--run_dir run",
        ("--run_dir run: holds a run already", "expected a new directory", "--resume auto"),
    ),
    "resume: empty": ("--resume=", ("--resume is '', expected a path, auto or none",)),
    "resume: missing": ("--resume gone", ("gone: no such file", "expected a checkpoint")),
    "resume: no checkpoint": (
        "--resume folder",
        ("--resume folder: no sound checkpoint in this run directory",),
    ),
    "resume: garbage": ("--resume garbage", ("garbage: not a dpcnn checkpoint",)),
    "resume: an empty file": ("--resume void", ("void: not a dpcnn checkpoint",)),
    "resume: a dataset": ("--resume data.hdf5", ("data.hdf5: not a dpcnn checkpoint",)),
    "resume: cut off": ("--resume cut.h5", ("cut.h5: damaged or cut off (its SHA-256",)),
    "resume: a flipped bit": ("--resume flipped.h5", ("flipped.h5: damaged or cut off",)),
    "resume: a FIFO": ("--resume fifo", ("fifo: not a regular file, expected a checkpoint",)),
    "resume: a device": ("--resume /dev/zero", ("/dev/zero: not a regular file",)),
    "resume: other options": (
        "--resume run --lr 0.5 --seed 3",
        ("--lr is 0.5, expected 0.01; --seed is 3, expected 0, as in the checkpoint",),
    ),
    "resume: other network": (
        f"--resume {CHECKPOINT} --n_filter 3",
        ("--n_filter is 3, expected 2, as in the checkpoint that is resumed",),
    ),
    "resume: other data": (
        "--resume run --dataroot other.hdf5",
        ("--dataroot other.hdf5: not the data of the checkpoint", "trained on data.hdf5"),
    ),
    "resume: run_dir is a file": (
        f"--resume {CHECKPOINT} --run_dir void",
        ("--run_dir void: File exists", DIRECTORY),
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", OPTIONS)
def test_a_bad_command_line_is_refused(case: str, check_refusal: Check) -> None:
    line, parts = OPTIONS[case]
    check_refusal(*line.split(), parts=parts)


# What ranks alone can get wrong, and some of each kind of mistake.
ON_TWO_RANKS: dict[str, tuple[str, Parts]] = {
    "fewer images than ranks": (
        "--train_limit 1",
        ("1 training images for 2 ranks", "expected at least one for each"),
    ),
    "memory of all ranks": (OPTIONS["memory: parameters"][0], ("training on 2 ranks", *MEMORY)),
} | {
    case: OPTIONS[case]
    for case in (
        "one letter",
        "too few classes",
        "mirror: nobody there",
        "model: no function",
        "config: binary",
        "resume: other options",
        "resume: other data",
    )
}


def test_two_ranks_refuse_a_bad_command_line_in_one_line(check_refusals: Check) -> None:
    check_refusals(*ON_TWO_RANKS.values())


def test_another_run_is_not_written_over_by_a_resumed_one(here: Path, check_refusal: Check) -> None:
    shutil.copytree(here / "run", here / "run2")
    parts = ("--run_dir run2: holds another run than --resume run", "expected a new directory")
    check_refusal("--resume", "run", "--run_dir", "run2", parts=parts)


# The TOML file, and what the line must say besides its name.
TOML: dict[str, tuple[str | bytes, Parts]] = {
    "unknown key": ("learning_rat = 1", ("unknown option learning_rat", "see --help")),
    "nearest key": ("epocs = 3", ("unknown option epocs", "did you mean epochs?")),
    "config itself": ("config = 'x'", ("unknown option config (see --help)",)),
    "table": ("[training]\nlr = 1.0", ("unknown option training",)),
    "array of tables": ("[[lr]]\nx = 1", ("--lr is [{'x': 1}], expected a number",)),
    "text for an integer": ("epochs = '3'", ("--epochs is '3', expected an integer",)),
    "float for an integer": ("epochs = 3.0", ("--epochs is 3.0, expected an integer",)),
    "bool for an integer": ("epochs = true", ("--epochs is True, expected an integer",)),
    "array for a number": ("lr = [0.1]", ("--lr is [0.1], expected a number",)),
    "table for a number": ("lr = {x = 1}", ("--lr is {'x': 1}, expected a number",)),
    "date for a number": ("lr = 2020-01-01", ("--lr is datetime.date(2020", "a number")),
    "number for text": ("dataroot = 5", ("--dataroot is 5, expected a path",)),
    "number for a choice": ("reduce = 1", ("--reduce is 1, expected exact or fast",)),
    "NaN": ("lr = nan", ("--lr is nan, expected a number from 1e-12",)),
    "out of range": ("stride = 0", ("--stride is 0, expected an integer from 1 to 4096",)),
    "word of another option": ("max_steps = 'all'", ("--max_steps is 'all'", "or none")),
    "no choice": ("shuffle = 'x'", ("--shuffle is 'x', expected epoch, once or none",)),
    "syntax": ("lr 5", ("line 1", "expected a TOML file of options")),
    "unclosed string": ("run_dir = 'x", ("at end of document", "expected a TOML file of options")),
    "the same key twice": (
        "lr = 1\nlr = 2",
        ("Cannot overwrite a value", "expected a TOML file of options"),
    ),
    "key and alias": (
        "minibatch_size = 8\nbatch-size = 8",
        ("minibatch_size and batch-size are the same option: give one",),
    ),
    "not UTF-8": (b"\xff\xfe", ("decode", "expected a TOML file of options")),
    "NUL byte": (b"lr = 1\0", ("line 1", "expected a TOML file of options")),
    "NUL in a text": (
        r"run_dir = 'a'" "\n" r'dataroot = "a\u0000b"',
        (r"is 'a\x00b'", "expected a path"),
    ),
    "nested too deep": ("lr = " + "[" * 10_000, ("expected a TOML file of options",)),
    "too many digits": ("seed = " + "9" * 5000, ("5000 digits", "expected a TOML file")),
}


@pytest.mark.parametrize("case", TOML)
def test_a_bad_toml_file_is_refused(case: str, here: Path, check_refusal: Check) -> None:
    content, parts = TOML[case]
    path = here / "options.toml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    check_refusal("--config", path.name, parts=(f"--config {path.name}: ", *parts))
