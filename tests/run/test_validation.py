"""What a checkpoint says besides its arrays: plain data of the right form, or refused by name."""

from __future__ import annotations

import json
from typing import Any

import pytest

from dpcnn.run import validation
from tests.run.states import state

NAMES = ("progress", "options", "metrics", "dataset", "network", "changes")


def sound() -> dict[str, Any]:
    """What a checkpoint says, as it is read."""
    checkpoint = state(accuracies={5: 0.5, 7: 0.75})
    texts = {name: json.dumps(getattr(checkpoint, name)).encode() for name in NAMES}
    return {name: validation.parse(text) for name, text in texts.items()}


def refused(values: dict[str, Any]) -> str:
    """Return the message with which these values are refused."""
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        validation.check(**values)
    return str(caught.value)


def test_what_is_written_is_in_form() -> None:
    validation.check(**sound())


@pytest.mark.parametrize("text", [b"", b"{", b"nothing", b'"\xff"', b'"\\ud800"'])
def test_other_texts_are_refused(text: bytes) -> None:
    with pytest.raises(ValueError, match=r"line 1|decode|surrogates"):
        validation.parse(text)


def test_a_text_that_is_nested_too_deep_is_refused() -> None:
    with pytest.raises(RecursionError):
        validation.parse(b"[" * 100_000)


@pytest.mark.parametrize("name", ["progress", "options", "dataset"])
@pytest.mark.parametrize("value", [None, 3, "text", []])
def test_what_should_be_an_object_is_one(name: str, value: Any) -> None:
    assert refused(sound() | {name: value}) == f"{name} is {value!r}, expected an object"


@pytest.mark.parametrize("name", ["metrics", "network", "changes"])
@pytest.mark.parametrize("value", [None, 3, "text", {}])
def test_what_should_be_a_list_of_objects_is_one(name: str, value: Any) -> None:
    assert refused(sound() | {name: value}) == f"{name} is {value!r}, expected a list"
    [first, *_] = sound()[name]
    found = refused(sound() | {name: [first, []]})
    assert found == f"{name}[1] is [], expected an object"


COUNT = [-1, 2**63, 1.0, True, None, "1", [], {}]
NUMBER = [2**63, -(2**63), float("nan"), float("inf"), True, None, "1", [], {}]
TEXT = [1, 1.0, True, None, [], {}]
PLAIN = [10**30, -(10**30), [], {}]
DATA = [10**30, [10**30], {"deep": [{"er": 10**30}]}]
MEMBERS = [None, {}, "text", [3], [{"rank": 0}], [{"rank": 0, "process": -1}], [{"process": 1}]]
NORMALIZATION = [
    *(None, "text", [], {}, {"kind": "none", "mean": []}),
    {"kind": 3, "mean": [], "std": []},
    {"kind": "standard", "mean": [None], "std": [0.5]},
    {"kind": "standard", "mean": [0.5], "std": 0.5},
    {"kind": "standard", "mean": [0.5], "std": [float("inf")]},
    {"kind": "none", "mean": [], "std": [], "more": 0},
]

FORMS = {
    "progress.step": COUNT,
    "progress.epoch": COUNT,
    "progress.epoch_step": COUNT,
    "progress.loss": NUMBER,
    "progress.anything": NUMBER,
    "progress.deaths": MEMBERS,
    "options.lr": PLAIN,
    "dataset.fingerprint": TEXT,
    "dataset.source": TEXT,
    "dataset.normalization": NORMALIZATION,
    "dataset.anything": PLAIN,
    "metrics.epoch": COUNT,
    "metrics.step": COUNT,
    "metrics.test_accuracy": NUMBER,
    "metrics.validation_accuracy": NUMBER,
    "metrics.loss": PLAIN,
    "metrics.deaths": MEMBERS,
    "metrics.ranks": MEMBERS,
    "metrics.weights_sha256": TEXT,
    "network.layer": TEXT,
    "network.filters": DATA,
}
NEEDED = {
    *("progress.step", "progress.epoch", "progress.epoch_step", "progress.deaths"),
    *("dataset.fingerprint", "dataset.source", "network.layer"),
    "dataset.normalization",
    *(f"metrics.{key}" for key in ("epoch", "step", "test_accuracy", "deaths", "ranks")),
    "metrics.weights_sha256",
}


@pytest.mark.parametrize("path", FORMS)
def test_a_value_that_is_not_of_its_form_is_refused_by_its_path(path: str) -> None:
    name, _, key = path.partition(".")
    values = sound()
    several = isinstance(values[name], list)
    place = f"{name}[{len(values[name]) - 1}].{key}" if several else path
    parent = values[name][-1] if several else values[name]
    for value in FORMS[path]:
        parent[key] = value
        assert refused(values).startswith(f"{place} is {value!r}, expected ")
    del parent[key]
    if path in NEEDED:
        assert refused(values).startswith(f"{place} is missing, expected ")
    else:
        validation.check(**values)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("options", {"a": None, "b": True, "c": "", "d": -(2**63) + 1, "e": float("nan")}),
        ("network", [{"layer": "X", "a": [1, [2.5, None]], "b": [{"layer": "Y", "c": {}}]}]),
        ("network", []),
        ("metrics", []),
    ],
)
def test_what_is_left_to_others_to_judge_passes(name: str, value: Any) -> None:
    validation.check(**sound() | {name: value})


def test_a_message_repeats_no_more_than_the_beginning_of_a_value() -> None:
    values = sound() | {"dataset": ["x" * 100_000]}
    assert len(refused(values)) < 300
