"""The option table: command line, TOML file, ranges, messages; what a resumed run may change."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dpcnn.cli.arguments import parse
from dpcnn.errors import OptionError
from dpcnn.options import ALIASES, TABLE, Options, kind, restored

# As in DESIGN, section 8; None stands for all, auto or none.
DEFAULTS = {
    "dataroot": "auto", "mirror": None, "train_limit": None, "test_limit": None, "num_class": 10,
    "num_channel": 1, "img_height": 28, "img_width": 28, "model": None, "n_filter": 32,
    "h_filter": 7, "w_filter": 7, "stride": 1, "padding": 1, "lr": 0.01, "epochs": 50,
    "minibatch_size": 64, "microbatch_size": None, "shuffle": "epoch", "seed": 0,
    "max_steps": None, "reduce": "exact",
    "evaluate_on": "rank0", "threads": None, "timeout": 300.0, "run_dir": None, "resume": None,
    "checkpoint_every": "1ep", "keep_checkpoints": 3, "progress": "auto",
    "tensorboard": False, "stream": False, "respawn": False,
}  # fmt: skip
WORDS = {
    "mirror": "none", "train_limit": "all", "test_limit": "all", "microbatch_size": "auto",
    "model": "none", "max_steps": "none", "threads": "auto", "run_dir": "auto", "resume": "none",
}  # fmt: skip
NUMBERS = [name for name in TABLE if kind(name) in (int, float)]
FLAGS = [name for name in TABLE if kind(name) is bool]
INTEGERS = [name for name in NUMBERS if kind(name) is int]
CHOICES = [name for name, each in TABLE.items() if each.metadata["choices"]]


def options_of(*arguments: str) -> Options:
    return parse(arguments)[0]


def message_of(*arguments: str) -> str:
    """Return the line with which the arguments are refused."""
    with pytest.raises(OptionError) as caught:
        parse(arguments)
    line = str(caught.value)
    assert line
    assert len(line.splitlines()) == 1
    return line


@pytest.fixture
def toml(tmp_path: Path) -> Any:
    """Write a TOML file; return its path as text."""

    def write(content: str | bytes) -> str:
        path = tmp_path / "options.toml"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return str(path)

    return write


def test_the_defaults_are_those_of_the_design() -> None:
    assert options_of().as_dict() == DEFAULTS


def test_what_is_not_given_is_not_among_the_given() -> None:
    assert parse([])[1] == frozenset()
    assert parse(["--lr", "0.01"])[1] == {"lr"}


@pytest.mark.parametrize(
    "arguments",
    [
        ["--minibatch_size", "32"],
        ["--minibatch-size", "32"],
        ["--minibatch-size=32"],
        ["--batch_size", "32"],
        ["--batch-size", "32"],
        ["--batch_size=32"],
    ],
)
def test_underscore_and_dash_and_the_alias_are_the_same(arguments: list[str]) -> None:
    options, given = parse(arguments)
    assert options == Options(minibatch_size=32)
    assert given == {"minibatch_size"}


def test_dashes_in_a_value_stay() -> None:
    assert options_of("--run-dir=my-run").run_dir == "my-run"
    assert options_of("--run-dir", "my-run").run_dir == "my-run"


@pytest.mark.parametrize(("name", "word"), WORDS.items())
def test_the_word_for_nothing_is_none(name: str, word: str, toml: Any) -> None:
    assert getattr(options_of(f"--{name}", word), name) is None
    assert getattr(options_of("--config", toml(f'{name} = "{word}"')), name) is None


@pytest.mark.parametrize("name", NUMBERS)
def test_the_ends_of_a_range_are_allowed(name: str) -> None:
    for end in ("low", "high"):
        value = TABLE[name].metadata[end]
        assert getattr(options_of(f"--{name}={value}"), name) == value


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("value", ["below", "above", "x", "nan", "inf", "-inf", "", "1,5"])
def test_a_number_out_of_range_is_refused_with_found_and_expected(name: str, value: str) -> None:
    low, high = TABLE[name].metadata["low"], TABLE[name].metadata["high"]
    value = {"below": str(low - 1), "above": str(high + 1)}.get(value, value)
    message = message_of(f"--{name}={value}")
    noun, form = ("an integer", "d") if kind(name) is int else ("a number", "g")
    assert f"--{name} is " in message
    assert value in message
    assert f"expected {noun} from {low:{form}} to {high:{form}}" in message
    assert WORDS.get(name, "") in message


@pytest.mark.parametrize("name", INTEGERS)
def test_an_integer_is_not_rounded(name: str, toml: Any) -> None:
    assert f"--{name} is '1.5', expected an integer" in message_of(f"--{name}=1.5")
    assert f"--{name} is 1.0, expected an integer" in message_of("--config", toml(f"{name} = 1.0"))


@pytest.mark.parametrize("name", CHOICES)
def test_a_word_that_is_no_choice_is_refused_with_the_choices(name: str) -> None:
    message = message_of(f"--{name}=sometimes")
    assert f"--{name} is 'sometimes'" in message
    assert all(choice in message for choice in TABLE[name].metadata["choices"])


@pytest.mark.parametrize("name", FLAGS)
def test_a_flag_needs_no_value_and_takes_true_and_false(name: str, toml: Any) -> None:
    assert getattr(options_of(f"--{name}", "--lr", "1"), name) is True
    assert getattr(options_of(f"--{name}=true"), name) is True
    assert getattr(options_of(f"--{name}", "false"), name) is False
    assert getattr(options_of("--config", toml(f"{name} = true")), name) is True
    assert parse([f"--{name}", "false"])[1] == {name}
    for value in ("1", "yes", "True"):
        assert f"--{name} is {value!r}, expected true or false" in message_of(f"--{name}={value}")
    assert f"--{name} is 1, expected true or false" in message_of("--config", toml(f"{name} = 1"))


@pytest.mark.parametrize("name", ["dataroot", "mirror", "run_dir", "resume", "config"])
def test_an_empty_text_is_refused(name: str) -> None:
    assert f"--{name}" in message_of(f"--{name}=")


@pytest.mark.parametrize(
    "url", ["mirror", "file:///etc/passwd", "ftp://mirror/", "//mirror", "http://", "http://a b"]
)
def test_only_http_and_https_are_mirrors(url: str) -> None:
    assert (
        message_of("--mirror", url) == f"--mirror is {url!r}, expected an http:// or https:// URL"
    )
    assert options_of("--mirror", "HTTPS://mirror").mirror == "HTTPS://mirror"


@pytest.mark.parametrize(
    ("arguments", "nearest"),
    [
        (["--epoch", "3"], "epochs"),
        (["--epoch=3"], "epochs"),
        (["--batchsize", "3"], "batch_size"),
        (["--run-dri", "x"], "run_dir"),
        (["--confg", "x"], "config"),
    ],
)
def test_an_unknown_option_is_refused_with_the_nearest_known(
    arguments: list[str], nearest: str
) -> None:
    message = message_of(*arguments)
    assert "unknown option --" in message
    assert f"did you mean {nearest}?" in message


@pytest.mark.parametrize("argument", ["--zzzzzz", "zzz", "-z", "--"])
def test_an_unknown_option_like_no_other_points_to_help(argument: str) -> None:
    assert "see --help" in message_of(argument)


def test_an_option_without_its_value_is_named() -> None:
    assert "--lr" in message_of("--lr")


@pytest.mark.parametrize(
    ("text", "interval"), [("1ep", (1, "ep")), ("500st", (500, "st")), ("007ep", (7, "ep"))]
)
def test_checkpoint_every_counts_epochs_or_steps(text: str, interval: tuple[int, str]) -> None:
    assert options_of(f"--checkpoint_every={text}").checkpoint_interval() == interval


@pytest.mark.parametrize(
    "text", ["", "ep", "0st", "-1ep", "1", "1.5ep", "1 ep", "1xp", "1EP", "²ep", "9" * 5000 + "st"]
)
def test_any_other_checkpoint_every_is_refused(text: str) -> None:
    message = message_of(f"--checkpoint_every={text}")
    assert "--checkpoint_every is" in message
    assert text in message


def test_help_is_grouped_and_lists_every_option(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        parse(["--help"])
    assert caught.value.code == 0
    text = capsys.readouterr().out
    assert all(f"--{name} " in text for name in [*TABLE, *ALIASES, "config"])
    groups = list(dict.fromkeys(each.metadata["group"] for each in TABLE.values()))
    assert len(groups) > 1
    places = [text.index(f"\n{group}:") for group in groups]
    assert places == sorted(places)


def test_help_says_the_default_of_every_option(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse(["--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert text.count("(default: ") == len(TABLE)


def test_a_toml_file_gives_values(toml: Any) -> None:
    path = toml('lr = 0.5\nepochs = 3\nbatch-size = 8\nrun_dir = "x"\ncheckpoint_every = "5st"')
    options, given = parse(["--config", path])
    expected = Options(lr=0.5, epochs=3, minibatch_size=8, run_dir="x", checkpoint_every="5st")
    assert options == expected
    assert given == {"lr", "epochs", "minibatch_size", "run_dir", "checkpoint_every"}


def test_the_command_line_wins_over_the_toml_file(toml: Any) -> None:
    path = toml("lr = 0.5\nepochs = 3")
    for arguments in (["--lr", "0.25", "--config", path], ["--config", path, "--lr", "0.25"]):
        assert options_of(*arguments) == Options(lr=0.25, epochs=3)


@pytest.mark.parametrize(
    ("content", "parts"),
    [
        ("epocs = 3", ["unknown option epocs", "did you mean epochs?"]),
        ("[training]\nlr = 1.0", ["unknown option training"]),
        ("epochs = '3'", ["--epochs is '3'", "expected an integer"]),
        ("epochs = true", ["--epochs is True", "expected an integer"]),
        ("lr = [1]", ["--lr is [1]", "expected a number"]),
        ("lr = nan", ["--lr is nan", "expected a number"]),
        ("lr = 1e300", ["--lr is 1e+300", "expected a number"]),
        ("dataroot = 5", ["--dataroot is 5", "expected text"]),
        ("shuffle = 'x'", ["--shuffle is 'x'", "epoch, once or none"]),
        ("lr 5", ["line 1", "expected a TOML file"]),
        (b"\xff\xfe", ["expected a TOML file"]),
    ],
)
def test_a_wrong_toml_file_is_refused_by_name(
    content: str | bytes, parts: list[str], toml: Any
) -> None:
    path = toml(content)
    message = message_of("--config", path)
    assert all(part in message for part in [f"--config {path}", *parts])


def test_a_whole_number_in_toml_is_a_learning_rate_too(toml: Any) -> None:
    assert options_of("--config", toml("lr = 1")).lr == 1


@pytest.mark.parametrize(("name", "why"), [("gone.toml", "No such file"), ("", "directory")])
def test_a_toml_file_that_cannot_be_read_is_named(name: str, why: str, tmp_path: Path) -> None:
    message = message_of("--config", str(tmp_path / name))
    assert str(tmp_path / name) in message
    assert why in message


@pytest.mark.parametrize("name", [name for name in TABLE if TABLE[name].metadata["free"]])
def test_a_free_option_may_change_on_resume(name: str) -> None:
    recorded = Options().as_dict() | {name: "recorded"}
    asked = replace(Options(), **{name: OTHER[name]})
    assert getattr(restored(asked, frozenset({name}), recorded), name) == OTHER[name]


OTHER = {
    "dataroot": "x.hdf5", "mirror": "http://x", "epochs": 7, "max_steps": 7, "evaluate_on": "all",
    "threads": 7, "timeout": 7.0, "run_dir": "x", "resume": "auto", "checkpoint_every": "7st",
    "keep_checkpoints": 7, "progress": "none", "model": "x:y", "tensorboard": True,
    "respawn": True,
}  # fmt: skip


def test_what_is_not_given_is_restored() -> None:
    recorded = Options(lr=0.5, epochs=3, microbatch_size=4, dataroot="x").as_dict()
    assert restored(Options(), frozenset(), recorded) == Options(**recorded)
    expected = Options(**recorded | {"epochs": 9})
    assert restored(Options(epochs=9), frozenset({"epochs"}), recorded) == expected


def test_every_contradiction_is_named_at_once() -> None:
    recorded = Options(lr=0.5, microbatch_size=16, train_limit=100).as_dict()
    asked = Options(lr=0.1, seed=3, n_filter=32)
    given = frozenset({"lr", "seed", "n_filter", "train_limit", "epochs"})
    with pytest.raises(OptionError) as caught:
        restored(asked, given, recorded)
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    assert "--lr is 0.1, expected 0.5" in message
    assert "--seed is 3, expected 0" in message
    assert "--train_limit is all, expected 100" in message
    assert "n_filter" not in message
    assert "epochs" not in message


def test_a_microbatch_size_of_auto_is_the_recorded_one() -> None:
    recorded = Options(microbatch_size=8).as_dict()
    assert restored(Options(), frozenset({"microbatch_size"}), recorded).microbatch_size == 8
