"""Options on the command line and in a TOML file: values, ranges, messages, --help."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest

from dpcnn.cli import arguments as command_line
from dpcnn.cli.arguments import OURS, parse_arguments, parse_keywords, recipe_aims
from dpcnn.errors import OptionError
from dpcnn.options import ALIASES, OPTIONS, Options

WORDS = {
    "mirror": "none", "train_limit": "all", "test_limit": "all", "microbatch_size": "auto",
    "model": "none", "max_steps": "none", "threads": "auto", "run_dir": "auto", "resume": "none",
}  # fmt: skip
NUMBERS = [name for name, option in OPTIONS.items() if option.value_type in (int, float)]
INTEGERS = [name for name, option in OPTIONS.items() if option.value_type is int]
FLAGS = [name for name, option in OPTIONS.items() if option.value_type is bool]
CHOICES = [name for name, option in OPTIONS.items() if option.choices]


def options_of(*arguments: str) -> Options:
    return parse_arguments(arguments).options


def message_of(*arguments: str) -> str:
    """Return the line with which the arguments are refused."""
    with pytest.raises(OptionError) as caught:
        parse_arguments(arguments)
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


def test_options_that_are_not_named_have_their_defaults_and_are_not_among_the_named() -> None:
    assert parse_arguments([]) == (Options(), frozenset())
    assert parse_arguments(["--lr", "0.01"]) == (Options(), {"lr"})


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
    assert parse_arguments(arguments) == (Options(minibatch_size=32), {"minibatch_size"})


def test_dashes_in_a_value_stay() -> None:
    assert options_of("--run-dir=my-run").run_dir == "my-run"
    assert options_of("--run-dir", "my-run").run_dir == "my-run"


@pytest.mark.parametrize(("name", "word"), WORDS.items())
def test_the_word_for_none_is_none(name: str, word: str, toml: Any) -> None:
    assert getattr(options_of(f"--{name}", word), name) is None
    assert getattr(options_of("--config", toml(f'{name} = "{word}"')), name) is None


@pytest.mark.parametrize("name", NUMBERS)
def test_the_ends_of_a_range_are_allowed(name: str) -> None:
    for end in ("low", "high"):
        value = getattr(OPTIONS[name], end)
        # Resuming, an option may stand without another that it needs: the checkpoint may have it.
        assert getattr(options_of("--resume=auto", f"--{name}={value}"), name) == value


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("value", ["below", "above", "x", "nan", "inf", "-inf", "", "1,5"])
def test_a_number_out_of_range_is_refused_with_found_and_expected(name: str, value: str) -> None:
    low, high = OPTIONS[name].low, OPTIONS[name].high
    value = {"below": str(low - 1), "above": str(high + 1)}.get(value, value)
    message = message_of(f"--{name}={value}")
    noun, form = ("an integer", "d") if name in INTEGERS else ("a number", "g")
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
    assert all(choice in message for choice in OPTIONS[name].choices)


@pytest.mark.parametrize("name", FLAGS)
def test_a_flag_needs_no_value_and_takes_true_and_false(name: str, toml: Any) -> None:
    resumed = "--resume=auto"  # where a flag may stand alone
    assert getattr(options_of(resumed, f"--{name}", "--lr", "1"), name) is True
    assert getattr(options_of(resumed, f"--{name}=true"), name) is True
    assert getattr(options_of(f"--{name}", "false"), name) is False
    assert getattr(options_of(resumed, "--config", toml(f"{name} = true")), name) is True
    assert parse_arguments([f"--{name}", "false"]).named == {name}
    for value in ("1", "yes", "True"):
        assert f"--{name} is {value!r}, expected true or false" in message_of(f"--{name}={value}")
    assert f"--{name} is 1, expected true or false" in message_of("--config", toml(f"{name} = 1"))


@pytest.mark.parametrize("name", ["dataroot", "mirror", "run_dir", "resume", "config"])
def test_an_empty_text_is_refused(name: str) -> None:
    assert f"--{name}" in message_of(f"--{name}=")


@pytest.mark.parametrize(
    "url",
    ["mirror", "file:etc", "file://host/a", "ftp://mirror/", "//mirror", "http://", "http://a b"],
)
def test_only_addresses_are_mirrors(url: str) -> None:
    expected = "expected an http://, https:// or file:/// URL or none"
    assert message_of("--mirror", url) == f"--mirror is {url!r}, {expected}"
    assert options_of("--mirror", "HTTPS://mirror").mirror == "HTTPS://mirror"


@pytest.mark.parametrize(
    ("arguments", "nearest"),
    [
        (["--epoch", "3"], "epochs"),
        (["--epoch=3"], "epochs"),
        (["--batchsize", "3"], "batch_size"),
        (["--run-dri", "x"], "run_dir"),
        (["--confg", "x"], "config"),
        (["--learning_rate", "3"], "lr"),
        (["--optim=adam"], "optimizer"),
    ],
)
def test_an_unknown_option_is_refused_with_the_nearest_known(
    arguments: list[str], nearest: str
) -> None:
    message = message_of(*arguments)
    assert "unknown option --" in message
    assert f"did you mean {nearest}?" in message


def test_what_other_programs_call_our_options_is_answered_with_ours() -> None:
    known = {*OPTIONS, *ALIASES}
    assert not known & set(OURS)
    assert set(OURS.values()) <= known


@pytest.mark.parametrize("argument", ["--zzzzzz", "zzz", "-z", "--"])
def test_an_unknown_option_like_no_other_points_to_help(argument: str) -> None:
    assert "see --help" in message_of(argument)


def test_an_option_without_its_value_is_named() -> None:
    assert "--lr" in message_of("--lr")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "ep",
        "0st",
        "-1ep",
        "1",
        "1.5ep",
        "1 ep",
        "1xp",
        "1EP",
        "²ep",
        "2147483648st",
        "9" * 5000 + "st",
    ],
)
def test_any_other_checkpoint_every_is_refused(text: str) -> None:
    message = message_of(f"--checkpoint_every={text}")
    assert "--checkpoint_every is" in message
    assert text[:400] in message
    assert len(message) < 700


def test_help_is_grouped_and_lists_every_option(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        parse_arguments(["--help"])
    assert caught.value.code == 0
    text = capsys.readouterr().out
    assert all(f"--{name} " in text for name in [*OPTIONS, *ALIASES, "config", "recipe", "help"])
    assert all(f"{name}: {aim}" in " ".join(text.split()) for name, aim in recipe_aims().items())
    groups = list(dict.fromkeys(option.group for option in OPTIONS.values()))
    assert len(groups) > 1
    places = [text.index(f"\n{group}:") for group in groups]
    assert places == sorted(places)


def test_help_says_the_default_of_every_option(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse_arguments(["--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert text.count("(default: ") == len(OPTIONS)


@pytest.mark.parametrize("columns", [80, 120])
def test_help_fits_the_terminal_in_ascii_and_breaks_no_default(
    columns: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    with pytest.raises(SystemExit):
        parse_arguments(["--help"])
    text = capsys.readouterr().out
    assert text.isascii()
    assert all(len(line) < columns for line in text.splitlines())
    for option in OPTIONS.values():
        assert f"(default: {option.text(option.default)})\n" in text


def test_a_tilde_is_the_home_directory_in_paths_alone(toml: Any, monkeypatch: Any) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    options = options_of("--run_dir=~/run", "--config", toml('dataroot = "~/a.h5"\nmodel = "~/m"'))
    assert (options.run_dir, options.dataroot) == ("/home/me/run", "/home/me/a.h5")
    assert options.model == "~/m"


@pytest.mark.parametrize(
    ("command", "arguments"),
    [
        ("verify", ["~/run", "--dataroot", "~/a.h5"]),
        ("evaluate", ["~/run", "--dataroot", "~/a.h5"]),
        ("predict", ["~/run", "~/a.png", "~/b.png"]),
        ("export", ["~/run", "~/a.onnx"]),
        ("convert", ["digits", "~/a.hdf5"]),
        ("look", ["digits", "--sheet", "~/a.png"]),
        ("report.__main__", ["~/run", "--out", "~/a.html", "--dataroot", "~/a.h5"]),
        ("bench.__main__", ["--json", "~/a.json"]),
        ("doctor.__main__", ["--run_dir", "~/runs"]),
    ],
)
def test_so_it_is_in_every_command(command: str, arguments: list[str], monkeypatch: Any) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    parsed = vars(importlib.import_module(f"dpcnn.{command}")._parse(arguments))
    assert str(parsed).count("/home/me/") == str(arguments).count("~/")


def test_a_home_of_nobody_is_taken_as_it_is() -> None:
    assert "~nobody-here/a.toml: " in message_of("--config", "~nobody-here/a.toml")


def test_a_toml_file_may_begin_as_some_editors_begin_it(tmp_path: Path) -> None:
    path = tmp_path / "options.toml"
    path.write_bytes(b"\xef\xbb\xbfepochs = 3\r\n")
    assert options_of("--config", str(path)).epochs == 3


def test_a_toml_file_gives_values(toml: Any) -> None:
    path = toml('lr = 0.5\nepochs = 3\nbatch-size = 8\nrun_dir = "x"\ncheckpoint_every = "5st"')
    options, named = parse_arguments(["--config", path])
    expected = Options(lr=0.5, epochs=3, minibatch_size=8, run_dir="x", checkpoint_every="5st")
    assert options == expected
    assert named == {"lr", "epochs", "minibatch_size", "run_dir", "checkpoint_every"}


def test_the_command_line_wins_over_the_toml_file(toml: Any) -> None:
    path = toml("lr = 0.5\nepochs = 3")
    for arguments in (["--lr", "0.25", "--config", path], ["--config", path, "--lr", "0.25"]):
        assert options_of(*arguments) == Options(lr=0.25, epochs=3)


def test_only_help_reads_what_recipes_are_for(monkeypatch: Any) -> None:
    monkeypatch.setattr(command_line, "recipe_aims", lambda: pytest.fail("read"))
    assert options_of("--epochs", "2").epochs == 2


@pytest.mark.parametrize("recipe", recipe_aims())
def test_a_recipe_is_a_set_of_options_that_go_together(recipe: str) -> None:
    options, named = parse_arguments(["--recipe", recipe])
    assert all(getattr(options, name) != OPTIONS[name].default for name in named)
    assert parse_keywords({"recipe": recipe}) == (options, named)


def test_a_toml_file_wins_over_a_recipe_and_the_command_line_over_both(toml: Any) -> None:
    path = toml("lr = 0.5\nepochs = 3")
    options = options_of("--epochs", "2", "--config", path, "--recipe", "mnist")
    assert (options.epochs, options.lr, options.model) == (2, 0.5, "resnet8")
    assert parse_keywords({"lr": 0.5, "recipe": "mnist"}).options.lr == 0.5


@pytest.mark.parametrize("name", ["mnst", "../mnist", ""])
def test_another_recipe_is_refused_with_those_that_are_there(name: str) -> None:
    message = message_of("--recipe", name)
    assert f"--recipe {name}: no such recipe" in message
    assert all(known in message for known in recipe_aims())


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
        (
            "dataroot = 5",
            ["--dataroot is 5", "expected a path, a name such as mnist, digits"],
        ),
        (
            "batch-size = 8\nminibatch_size = 8",
            ["batch-size and minibatch_size are the same option: give one"],
        ),
        ("run_dir = 'x'\nrun-dir = 'x'", ["run_dir and run-dir are the same option: give one"]),
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


@pytest.mark.parametrize(("name", "why"), [("gone.toml", "no such file"), ("", "directory")])
def test_a_toml_file_that_cannot_be_read_is_named(name: str, why: str, tmp_path: Path) -> None:
    message = message_of("--config", str(tmp_path / name))
    assert str(tmp_path / name) in message
    assert why in message
