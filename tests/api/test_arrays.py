"""dpcnn.train() on arrays and on datasets that were read: the bits of the file, or a refusal."""

from __future__ import annotations

import inspect
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import dpcnn
from dpcnn.errors import DataError, DpcnnError
from dpcnn.options import OPTIONS
from tests.conftest import Trained
from tests.launching import metrics

Array = Any

# The same images in other forms that a program may have them in.
FORMS: dict[str, Callable[[Array], Array]] = {
    "as the file has them": lambda x: x,
    "channels last": lambda x: x.transpose(0, 2, 3, 1),
    "rows of floats": lambda x: x.reshape(len(x), -1) / 255,
    "nested lists of integers": lambda x: x[:, 0].astype(int).tolist(),
}


@pytest.fixture(scope="module")
def digits(small: Path) -> Any:
    return dpcnn.read(small)


@pytest.fixture
def command(alone: Callable[..., Trained]) -> Trained:
    return alone("--train_limit", 256, "--epochs", 2)


@pytest.mark.parametrize("form", FORMS)
def test_arrays_give_the_bits_of_the_file_by_the_command(
    form: str, command: Trained, digits: Any, quick: dict[str, Any]
) -> None:
    train, test = digits.train, digits.test
    x, x_test = FORMS[form](train.images), FORMS[form](test.images)
    found = dpcnn.train(
        None, x, train.labels, x_test=x_test, y_test=test.labels, run_dir="run", **quick
    )
    assert found.weights_sha256 == command[1]
    assert metrics(Path("run")) == metrics(command[0])


def test_a_dataset_that_was_read_gives_them_and_records_where_it_lies(
    command: Trained, digits: Any, small: Path, quick: dict[str, Any]
) -> None:
    found = dpcnn.train(dataset=digits, run_dir="run", **quick)
    assert found.weights_sha256 == command[1]
    assert json.loads(Path("run/options.json").read_text())["dataroot"] == str(small)


def test_a_run_of_a_file_goes_on_with_arrays_and_one_of_arrays_with_the_file(
    command: Trained, digits: Any, small: Path, quick: dict[str, Any]
) -> None:
    sets = digits.train.images, digits.train.labels
    tests = {"x_test": digits.test.images, "y_test": digits.test.labels}
    dpcnn.train(None, *sets, **tests, run_dir="arrays", max_steps=3, **quick)
    shutil.copytree("arrays", "refused")
    more = {"resume": "auto", "max_steps": None} | quick
    with pytest.raises(DataError, match="arrays from Python, which are kept nowhere, expected --d"):
        dpcnn.train(run_dir="refused", **more)
    found = dpcnn.train(dataroot=small, run_dir="arrays", **more)
    assert found.weights_sha256 == command[1]
    longer = dpcnn.train(None, *sets, **tests, run_dir="arrays", **more | {"epochs": 3})
    assert len(longer.metrics) == 3


def test_a_test_set_may_be_set_apart_and_labels_be_names(
    digits: Any, quick: dict[str, Any]
) -> None:
    names = np.array([f"digit {label}" for label in digits.train.labels])
    found = dpcnn.train(None, digits.train.images, names, test_fraction=0.2, max_steps=2, **quick)
    assert found.model.class_names == tuple(f"digit {number}" for number in range(10))


X, Y = np.zeros((20, 8, 8)), np.arange(20) % 2


@pytest.mark.parametrize(
    ("passed", "words"),
    [
        ({"X": X}, "found no y, expected images and their labels"),
        ({"X": X, "y": Y, "x_test": X}, "found no y_test"),
        ({"X": X, "y": Y[1:]}, "arrays from Python: 20 images in X, 19 labels in y"),
        ({"X": X - 1j, "y": Y}, "arrays from Python: X holds complex128"),
        ({"X": X + np.nan, "y": Y}, "arrays from Python: X holds NaN"),
        ({"X": X, "y": Y / 3}, "arrays from Python: y holds numbers with a fraction"),
        ({"X": [[1], [1, 2]], "y": Y}, "X is no array"),
        ({"X": X, "y": Y}, "no test set, expected one: --test_fraction 0.2"),
        ({"X": X, "y": Y, "dataroot": "digits"}, "found dataroot= beside arrays"),
        ({"X": X, "y": Y, "dataset": 3}, "found dataset= beside arrays"),
        ({"dataset": X}, "expected what dpcnn.read() returns"),
    ],
)
def test_what_cannot_be_trained_on_is_refused(
    passed: dict[str, Any], words: str, quick: dict[str, Any], here: Path
) -> None:
    with pytest.raises(DpcnnError) as refused:
        dpcnn.train(**passed, **quick)
    assert words in str(refused.value)
    assert list(here.iterdir()) == []


def test_the_signature_and_the_help_list_every_option() -> None:
    parameters = inspect.signature(dpcnn.train).parameters
    assert [*parameters][:3] == ["network", "X", "y"]
    for name, option in OPTIONS.items():
        assert parameters[name].default == option.default
        assert f"\n{name} : {option.value_type.__name__}" in str(inspect.getdoc(dpcnn.train))
    assert not any(each.kind == each.VAR_KEYWORD for each in parameters.values())
