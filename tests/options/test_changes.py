"""--resume_with: what it may change, what it refuses, and what is recorded of before."""

from __future__ import annotations

from typing import Any

import pytest

from dpcnn.errors import CheckpointError, OptionError
from dpcnn.options import (
    Options,
    before_change,
    change_from,
    check_order,
    differences,
    resumed,
    resumed_with_changes,
)
from dpcnn.options.resume import RATES
from tests.networks import of_mnist


def changed(text: str, recorded: Options, **named: Any) -> tuple[Options, Options]:
    """Return the options before and after a resume that asks for this, and names these besides."""
    asked = Options(resume="auto", resume_with=text, **named)
    return resumed_with_changes(asked, frozenset({"resume_with", *named}), recorded.as_dict())


def refusal(text: str, **recorded: Any) -> str:
    with pytest.raises(OptionError) as refused:
        changed(text, of_mnist(**recorded))
    assert "\n" not in str(refused.value)
    return str(refused.value)


def test_the_learning_rate_and_the_schedule_change_and_nothing_else() -> None:
    text = "lr=0.05,schedule=step,milestones=2ep,4ep,gamma=0.5,epochs=7"
    before, after = changed(text, of_mnist(lr=0.1, seed=3))
    assert (before.lr, before.schedule, before.epochs) == (0.1, "constant", 50)
    assert (after.lr, after.schedule, after.milestones) == (0.05, "step", "2ep,4ep")
    assert (after.gamma, after.epochs, after.seed) == (0.5, 7, 3)
    assert differences(before, after)["lr"] == (0.1, 0.05)
    assert differences(before, after).keys() == {"lr", "schedule", "milestones", "gamma", "epochs"}
    assert before_change(after, change_from(before, 8)) == before


def test_a_job_that_is_started_again_finds_its_change_made_and_its_old_options_named() -> None:
    _, after = changed("lr=0.05", of_mnist(lr=0.1), lr=0.1)
    again = changed("lr=0.05", after, lr=0.1)
    assert again[0] == again[1]
    assert differences(*again) == {}


def test_a_change_is_not_made_again_by_whoever_does_not_ask_for_it() -> None:
    _, after = changed("lr=0.05", of_mnist(lr=0.1))
    assert resumed(Options(), frozenset(), after.as_dict()).resume_with is None
    unasked = resumed_with_changes(Options(), frozenset(), after.as_dict())
    assert unasked[0] == unasked[1]


def test_the_length_of_a_run_whose_rates_depend_on_it_may_change_too_if_asked() -> None:
    cosine = of_mnist(schedule="cosine", epochs=3)
    with pytest.raises(OptionError, match=r"--resume_with epochs=5 changes it from here on\)$"):
        resumed(Options(epochs=5), frozenset({"epochs"}), cosine.as_dict())
    assert changed("epochs=5", cosine)[1].epochs == 5
    assert "averages of --lookahead depend on it" in refusal("epochs=5", lookahead=2)
    assert "lookahead" in refusal("max_steps=5", lookahead=2, schedule="cosine")


@pytest.mark.parametrize(
    ("text", "recorded", "words"),
    [
        ("seed=3", {}, "--resume_with has 'seed', expected some of lr, schedule, warmup,"),
        ("lr=fast", {}, "--lr is 'fast', expected a number from"),
        ("schedule=step", {}, "--resume_with schedule=step: --schedule is step without --miles"),
        ("schedule=cosine", {"schedule": "plateau", "gamma": 0.5}, "--gamma is 0.5 with --sch"),
        ("lr=0.001", {"schedule": "cosine", "final_lr": 0.002}, "--final_lr is 0.002, expected at"),
    ],
)  # fmt: skip
def test_what_cannot_change_is_refused(text: str, recorded: dict[str, Any], words: str) -> None:
    assert words in refusal(text, **recorded)


@pytest.mark.parametrize("text", ["lr", "lr=", "=0.1", "lr=0.1,", "lr=0.1=0.2", "LR=0.1"])
def test_what_is_no_list_of_changes_is_refused(text: str) -> None:
    if text == "lr=0.1,":
        assert "--lr is '0.1,'" in refusal(text)
    else:
        with pytest.raises(OptionError, match="expected a list such as lr="):
            Options(resume_with=text)


def test_a_value_is_set_back_by_its_word() -> None:
    recorded = of_mnist(schedule="plateau", gamma=0.5)
    assert changed("schedule=cosine,gamma=auto", recorded)[1].gamma is None


def test_changes_that_no_run_can_have_had_are_a_checkpoint_s_fault() -> None:
    options = of_mnist()
    change = dict(change_from(options, 3))
    for wrong in (
        {"step": 3},
        change | {"seed": 1},
        change | {"lr": "fast"},
        change | {"schedule": "step"},
    ):
        with pytest.raises(CheckpointError, match="the checkpoint's changes"):
            before_change(options, wrong)
    for steps in ([4], [3, 2]):
        with pytest.raises(CheckpointError, match="the checkpoint's changes are of the steps"):
            check_order([change | {"step": step} for step in steps], 3)
    assert change.keys() == {"step", *RATES}
