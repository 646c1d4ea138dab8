"""The estimator: scikit-learn's own checks, pipelines, and the bits of the command."""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import dpcnn
from dpcnn.nn import Dense, Flatten, Layer, ReLU
from tests.conftest import Trained

QUICK = {"lr": 0.2, "momentum": 0.9, "minibatch_size": 16}
# Of scikit-learn's checks, those that are not passed, and why.
NOT_PASSED = {
    "check_no_attributes_set_in_init": "options such as lr are parameters, and so attributes",
    "check_do_not_raise_errors_in_init_or_set_params": "an unknown option is refused at once",
    "check_supervised_y_2d": "a column of labels is taken, as from a file, without a warning",
    "check_methods_subset_invariance": "float32: 1e-7 is less than it can tell",
}


def dense(shape: tuple[int, int, int], classes: int) -> list[Layer]:
    return [Flatten(), Dense(32), ReLU(), Dense(classes)]


@pytest.fixture(scope="module")
def digits(small: Path) -> Any:
    return dpcnn.read(small)


def test_fit_gives_the_bits_of_the_command(
    alone: Callable[..., Trained], digits: Any, tmp_path: Path
) -> None:
    train, test = digits.train, digits.test
    sets = train.images[:256], train.labels[:256], test.images, test.labels
    found = dpcnn.Classifier(epochs=2).fit(*sets)
    assert found.model_.weights_sha256 == alone("--train_limit", 256, "--epochs", 2)[1]
    accuracy = found.metrics_[-1]["test_accuracy"]
    assert found.score(test.images, test.labels) == accuracy
    names = np.array([f"digit {label}" for label in train.labels])
    named = dpcnn.Classifier(epochs=2).fit(train.images[:256] / 255, names[:256])
    assert named.model_.weights_sha256 == found.model_.weights_sha256
    assert named.predict(test.images[:1])[0] == f"digit {found.predict(test.images[:1])[0]}"
    again = pickle.loads(pickle.dumps(named))
    np.testing.assert_array_equal(
        again.predict_proba(test.images), named.predict_proba(test.images)
    )
    loaded = dpcnn.Classifier().load(named.save(tmp_path / "digits.h5"), np.unique(names))
    np.testing.assert_array_equal(loaded.predict(test.images), named.predict(test.images))


def test_partial_fit_goes_on_from_the_weights_there_are(digits: Any) -> None:
    train, test = digits.train, digits.test
    found = dpcnn.Classifier(dense, **QUICK)
    with pytest.raises(ValueError, match="found no classes="):
        found.partial_fit(train.images[:64], train.labels[:64])
    scores = []
    for first in range(0, 1000, 250):
        rows = slice(first, first + 250)
        found.partial_fit(train.images[rows], train.labels[rows], classes=range(10))
        scores.append(found.score(test.images, test.labels))
    assert scores[-1] > scores[0]
    assert scores[-1] > 0.5
    with pytest.raises(ValueError, match="not among the classes"):
        found.partial_fit(train.images[:2], [3, 11])


def test_parameters_are_told_set_and_refused() -> None:
    found = dpcnn.Classifier("resnet8", lr=0.3)
    assert found.get_params() == {"model": "resnet8", "epochs": 10, "image_shape": None, "lr": 0.3}
    assert repr(found.set_params(lr=0.5, batch_size=32)) == (
        "Classifier(model='resnet8', epochs=10, image_shape=None, lr=0.5, batch_size=32)"
    )
    for wrong in (found.set_params, dpcnn.Classifier):
        with pytest.raises((TypeError, ValueError), match="unknown option learnrate"):
            wrong(learnrate=1)
    with pytest.raises(ValueError, match="not fitted yet"):
        found.predict(np.zeros((1, 8, 8)))


def test_it_works_in_a_pipeline_and_in_cross_validation(digits: Any) -> None:
    pytest.importorskip("sklearn", reason="scikit-learn is not installed (extra sklearn)")
    from sklearn.model_selection import cross_val_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    rows, labels = digits.train.images[:400].reshape(400, -1), digits.train.labels[:400]
    pipeline = make_pipeline(StandardScaler(), dpcnn.Classifier(dense, epochs=4, **QUICK))
    scores = cross_val_score(pipeline, rows, labels, cv=2)
    assert scores.shape == (2,)
    assert scores.min() > 0.25


def test_it_passes_the_checks_of_scikit_learn() -> None:
    checks = pytest.importorskip(
        "sklearn.utils.estimator_checks", reason="scikit-learn is not installed (extra sklearn)"
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = checks.check_estimator(
            dpcnn.Classifier(dense, epochs=10, **QUICK),
            expected_failed_checks=NOT_PASSED,
            on_fail=None,
            on_skip=None,
        )
    statuses = {each["check_name"]: each["status"] for each in found}
    failed = {each["check_name"]: each["exception"] for each in found if each["status"] == "failed"}
    assert failed == {}
    assert {name for name in statuses if statuses[name] == "xfail"} <= NOT_PASSED.keys()
    assert list(statuses.values()).count("passed") >= 45
