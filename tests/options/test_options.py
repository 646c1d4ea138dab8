"""The declarations of the options, their values and texts, and what a resumed run may change."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import pytest

from dpcnn.errors import CheckpointError, OptionError
from dpcnn.options import OPTIONS, Options, resumed
from tests.networks import of_mnist

# As in DESIGN, section 8; None stands for all, auto or none.
DEFAULTS = {
    "dataroot": "auto", "mirror": None, "train_limit": None, "test_limit": None, "num_class": None,
    "num_channel": None, "img_height": None, "img_width": None, "normalize": "none",
    "augment": None, "model": None, "init_from": None,
    "keys": None, "layout": "auto", "size": None, "grey": False, "test_fraction": None,
    "n_filter": 32,
    "h_filter": 7, "w_filter": 7, "stride": 1, "padding": 1, "lr": 0.01, "epochs": 50,
    "minibatch_size": 64, "microbatch_size": None, "last_minibatch": "scaled",
    "shuffle": "epoch", "seed": 0,
    "max_steps": None, "reduce": "exact",
    "evaluate_on": "all", "threads": None, "timeout": 300.0, "run_dir": None, "resume": None,
    "resume_with": None,
    "checkpoint_every": "1ep", "keep_checkpoints": 3, "progress": "auto",
    "tensorboard": False, "watch": False,
    "stream": False, "respawn": False, "validation": None, "patience": None,
    "label_smoothing": 0.0, "class_weights": None,
    "optimizer": "sgd", "momentum": None, "nesterov": False, "beta1": None, "beta2": None,
    "eps": None, "weight_decay": None, "decay_all": False, "lr_factors": None, "clip_norm": None,
    "ema": None, "lookahead": None, "tta": "none",
    "schedule": "constant", "warmup": None, "milestones": None, "gamma": None,
    "plateau_patience": None, "first_lr": None, "final_lr": None, "pct_start": None,
    "debug": False, "dry_run": False,
}  # fmt: skip
# Of each option that may change on resume, another value than the default.
OTHER = {
    "dataroot": "x.hdf5", "mirror": "http://x", "epochs": 7, "max_steps": 7, "evaluate_on": "rank0",
    "threads": 7, "timeout": 7.0, "run_dir": "x", "resume": "auto", "resume_with": "lr=0.1",
    "checkpoint_every": "7st",
    "keep_checkpoints": 7, "progress": "none", "model": "x:y", "tensorboard": True,
    "watch": True, "debug": True, "dry_run": True,
    "respawn": True, "patience": 7, "tta": "flip",
}  # fmt: skip


def test_the_defaults_are_those_of_the_design() -> None:
    assert Options().as_dict() == DEFAULTS


def test_every_field_is_declared_under_its_name() -> None:
    assert [field.name for field in fields(Options)] == list(OPTIONS)
    for name, option in OPTIONS.items():
        assert option.name == name
        assert option.default == DEFAULTS[name]
        assert option.value_type in (bool, int, float, str)
        assert option.help
        assert option.group


@pytest.mark.parametrize("name", OPTIONS)
def test_a_value_is_what_its_text_stands_for(name: str) -> None:
    option = OPTIONS[name]
    for value in (option.default, OTHER.get(name, option.default), *option.choices):
        assert option.parse(option.text(value)) == value
        assert option.convert(value) == value


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("timeout", 300.0, "300"), ("lr", 0.25, "0.25"), ("stream", True, "true"),
        ("threads", None, "auto"), ("mirror", None, "none"), ("run_dir", "runs/v1.0", "runs/v1.0"),
    ],
)  # fmt: skip
def test_the_text_of_a_value_is_what_a_user_types(name: str, value: Any, text: str) -> None:
    assert OPTIONS[name].text(value) == text
    assert OPTIONS[name].parse(text) == value


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("lr", True), ("lr", "0.1"), ("lr", None), ("lr", float("nan")), ("epochs", 1.0),
        ("epochs", 0), ("epochs", True), ("stream", 1), ("stream", "true"), ("dataroot", ""),
        ("dataroot", "a\0b"), ("dataroot", None), ("shuffle", "sometimes"), ("shuffle", None),
        ("threads", "auto"), ("run_dir", b"x"), ("checkpoint_every", "0ep"), ("mirror", "x"),
    ],
)  # fmt: skip
def test_an_option_never_has_a_value_that_is_not_allowed(name: str, value: Any) -> None:
    with pytest.raises(OptionError) as caught:
        Options(**{name: value})
    assert str(caught.value) == f"--{name} is {value!r}, expected {OPTIONS[name].expected}"


@pytest.mark.parametrize("name", OTHER)
def test_an_option_that_does_not_decide_the_bits_may_change_on_resume(name: str) -> None:
    recorded = of_mnist().as_dict() | {name: "recorded"}
    asked = replace(Options(), **{name: OTHER[name]})
    assert getattr(resumed(asked, frozenset({name}), recorded), name) == OTHER[name]


def test_options_that_are_not_named_are_the_recorded_ones() -> None:
    recorded = of_mnist(lr=0.5, epochs=3, microbatch_size=4, dataroot="x").as_dict()
    assert resumed(Options(), frozenset(), recorded) == Options(**recorded)
    expected = Options(**recorded | {"epochs": 9})
    assert resumed(Options(epochs=9), frozenset({"epochs"}), recorded) == expected


def test_every_contradiction_is_named_at_once() -> None:
    recorded = of_mnist(lr=0.5, microbatch_size=16, train_limit=100).as_dict()
    asked = Options(lr=0.1, seed=3, n_filter=32)
    named = frozenset({"lr", "seed", "n_filter", "train_limit", "epochs"})
    with pytest.raises(OptionError) as caught:
        resumed(asked, named, recorded)
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    assert "--lr is 0.1, expected 0.5" in message
    assert "--seed is 3, expected 0" in message
    assert "--train_limit is all, expected 100" in message
    assert "n_filter" not in message
    assert "epochs" not in message


def test_a_microbatch_size_of_auto_is_the_recorded_one() -> None:
    recorded = of_mnist(microbatch_size=8).as_dict()
    assert resumed(Options(), frozenset({"microbatch_size"}), recorded).microbatch_size == 8


def test_no_other_option_may_change_on_resume() -> None:
    assert {name for name, option in OPTIONS.items() if option.may_change} == set(OTHER)


@pytest.mark.parametrize(
    "change", [{"lr": -1.0}, {"epochs": "many"}, {"nonsense": 0.9}, {"img_width": None}]
)
def test_recorded_options_that_are_not_this_version_s_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(CheckpointError, match=next(iter(change))):
        resumed(Options(), frozenset(), of_mnist().as_dict() | change)
