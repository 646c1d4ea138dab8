"""Options that do not go together, and the resumed runs whose length may not change."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from dpcnn.cli.arguments import parse_arguments
from dpcnn.errors import CheckpointError, OptionError
from dpcnn.options import OPTIONS, Options, check_together, resumed
from dpcnn.options.contradictions import OPTIMIZERS, SCHEDULES
from tests.networks import of_mnist

# What an option is set to where its value does not matter.
VALUES: dict[str, Any] = {
    "momentum": 0.9, "nesterov": True, "beta1": 0.8, "beta2": 0.9, "eps": 1e-6,
    "milestones": "0.5", "gamma": 0.5, "plateau_patience": 2, "first_lr": 0.001, "final_lr": 0.001,
    "pct_start": 0.2,
    "warmup": "2ep",
}  # fmt: skip
USERS = {"optimizer": OPTIMIZERS, "schedule": SCHEDULES}
CASES = [
    (chooser, name, choice)
    for chooser, users in USERS.items()
    for name in users
    for choice in OPTIONS[chooser].choices
]


def message_of(**values: Any) -> str:
    with pytest.raises(OptionError) as caught:
        check_together(Options(**values))
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    return message


@pytest.mark.parametrize(("chooser", "name", "choice"), CASES)
def test_an_option_goes_with_the_choices_that_use_it_alone(
    chooser: str, name: str, choice: str
) -> None:
    needed = {"momentum": 0.9} if name == "nesterov" else {}
    needed |= {"milestones": "0.5"} if choice == "step" else {}
    values = needed | {chooser: choice, name: VALUES[name]}
    if choice in USERS[chooser][name]:
        check_together(Options(**values))
    else:
        message = message_of(**values)
        assert f" with --{chooser} {choice}, expected --{chooser} " in message
        assert f"--{name} is " in message or needed


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"optimizer": "adam", "momentum": 0.9}, "--momentum is 0.9 with --optimizer adam,"
         " expected --optimizer sgd, rmsprop or lars"),
        ({"beta1": 0.9}, "--beta1 is 0.9 with --optimizer sgd, expected --optimizer adam or adamw"),
        ({"nesterov": True}, "--nesterov is true without --momentum, expected one such as"),
        ({"nesterov": True, "momentum": 0.0}, "--nesterov is true without --momentum"),
        ({"decay_all": True}, "--decay_all is true without --weight_decay"),
        ({"optimizer": "adamw", "weight_decay": 0.0, "decay_all": True}, "without --weight_decay"),
        ({"schedule": "step"}, "--schedule is step without --milestones, expected some such as"),
        ({"milestones": "2ep"}, "--milestones is 2ep with --schedule constant, expected --schedule"
         " step"),
        ({"schedule": "onecycle", "warmup": "2ep"}, "--warmup is 2ep with --schedule onecycle"),
        ({"ema": 0.9, "lookahead": 5}, "--ema and --lookahead are set, expected one"),
        ({"schedule": "triangle", "first_lr": 0.1}, "--first_lr is 0.1, expected at most"),
        ({"schedule": "cosine", "final_lr": 0.1}, "--final_lr is 0.1, expected at most --lr, 0.01"),
    ],
)  # fmt: skip
def test_what_does_not_go_together_is_named(values: dict[str, Any], words: str) -> None:
    assert words in message_of(**values)


@pytest.mark.parametrize(
    "values",
    [
        {}, {"momentum": 0.0}, {"optimizer": "adamw", "decay_all": True}, {"weight_decay": 0.1},
        {"optimizer": "lars", "momentum": 0.5}, {"schedule": "onecycle", "final_lr": 0.001},
    ],
)  # fmt: skip
def test_what_goes_together_is_allowed(values: dict[str, Any]) -> None:
    check_together(Options(**values))


def test_a_command_line_is_checked_before_anything_starts_unless_a_checkpoint_may_add_to_it() -> (
    None
):
    with pytest.raises(OptionError, match="nesterov"):
        parse_arguments(["--nesterov"])
    assert parse_arguments(["--nesterov", "--resume", "auto"]).options.nesterov


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("warmup", "2"), ("warmup", "1.5"), ("warmup", "ep"), ("warmup", "-2ep"),
        ("warmup", "0.5st"), ("warmup", ""), ("milestones", "2ep,"), ("milestones", "2ep;3ep"),
        ("momentum", 1.0), ("momentum", -0.1), ("beta2", 1.0), ("ema", 1.0), ("clip_norm", 0.0),
        ("eps", 0.0), ("gamma", 0.0), ("pct_start", 1.5), ("optimizer", "adagrad"),
        ("schedule", "circle"), ("lr_factors", "dense1/W"), ("lr_factors", "a:1,,b:2"),
        ("lr_factors", "a:-1"), ("lookahead", 0), ("tta", "crop"), ("weight_decay", -1.0),
    ],
)  # fmt: skip
def test_bad_values_are_refused(name: str, value: Any) -> None:
    with pytest.raises(OptionError) as caught:
        Options(**{name: value})
    assert str(caught.value) == f"--{name} is {value!r}, expected {OPTIONS[name].expected}"


@pytest.mark.parametrize("text", ["2ep", "0.5ep", "500st", "0.05", ".5", "0st"])
def test_lengths_are_epochs_steps_or_parts_of_the_run(text: str) -> None:
    assert Options(warmup=text).warmup == text
    assert Options(milestones=f"{text},{text}").milestones == f"{text},{text}"


@pytest.mark.parametrize(
    ("values", "depends"),
    [
        ({}, False), ({"schedule": "cosine"}, True), ({"schedule": "linear"}, True),
        ({"schedule": "onecycle"}, True), ({"schedule": "triangle"}, True),
        ({"schedule": "plateau"}, False), ({"lookahead": 5}, True),
        ({"schedule": "step", "milestones": "2ep,40st"}, False), ({"warmup": "2ep"}, False),
        ({"schedule": "step", "milestones": "2ep,0.9"}, True), ({"warmup": "0.1"}, True),
    ],
)  # fmt: skip
def test_the_length_of_a_run_may_change_unless_learning_rates_depend_on_it(
    values: dict[str, Any], depends: bool
) -> None:
    recorded = of_mnist(**values).as_dict()
    for name in ("epochs", "max_steps"):
        asked, named = replace(Options(), **{name: 9}), frozenset({name})
        if depends:
            with pytest.raises(OptionError, match=f"--{name} is 9, expected .* learning rates"):
                resumed(asked, named, recorded)
        else:
            assert getattr(resumed(asked, named, recorded), name) == 9
    same = Options(epochs=recorded["epochs"])
    assert resumed(same, frozenset({"epochs"}), recorded) == Options(**recorded)


def test_recorded_options_that_do_not_go_together_are_a_checkpoint_s_fault() -> None:
    with pytest.raises(CheckpointError, match="the checkpoint's options: --nesterov"):
        resumed(Options(), frozenset(), of_mnist().as_dict() | {"nesterov": True})
