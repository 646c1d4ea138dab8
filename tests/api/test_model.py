"""A trained network in use from Python: the functions that are commands too, the best epoch."""

from __future__ import annotations

import inspect
import json
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import dpcnn
from dpcnn.errors import CheckpointError, OptionError
from dpcnn.evaluate import main as evaluate
from tests.conftest import Trained


@pytest.fixture
def run(alone: Callable[..., Trained]) -> Path:
    return alone("--train_limit", 256, "--epochs", 2)[0]


@pytest.fixture(scope="module")
def digits(small: Path) -> Any:
    return dpcnn.read(small)


@pytest.fixture(scope="module")
def unsteady(small: Path, tmp_path_factory: pytest.TempPathFactory) -> dpcnn.Run:
    """A run whose best epoch is not its last."""
    path = tmp_path_factory.mktemp("unsteady")
    options = {"dataroot": small, "train_limit": 256, "lr": 0.5, "progress": "silent"}
    found = dpcnn.train(run_dir=path, epochs=4, keep_checkpoints=1, **options)
    assert found.best_epoch is not None
    assert found.best_epoch["epoch"] < 4
    return found


def test_a_model_predicts_and_evaluates_images_in_any_form(run: Path, digits: Any) -> None:
    model = dpcnn.load(run)
    images, labels = digits.test.images, digits.test.labels
    expected = model.predict_proba(images)
    for form in (images.transpose(0, 2, 3, 1), images.reshape(len(images), -1), images[:, 0] / 255):
        np.testing.assert_array_equal(model.predict_proba(form), expected)
        found = model.evaluate(form, labels)
        np.testing.assert_array_equal(found.predicted, expected.argmax(axis=1))
        assert found.accuracy == model.checkpoint.metrics[-1]["test_accuracy"]
        assert found.loss == model.checkpoint.metrics[-1]["test_loss"]
    assert found.confusion.sum() == found.per_class.support.sum() == len(labels)
    assert str(found).startswith(f"loss {found.loss:.4f}, accuracy {found.accuracy:.4f}")
    assert sum(mistake.images for mistake in found.mistakes) == (found.predicted != labels).sum()


def test_it_is_saved_exported_and_summed_up(run: Path, tmp_path: Path, digits: Any) -> None:
    model = dpcnn.load(run)
    again = dpcnn.load(model.save(tmp_path / "digits.h5"))
    assert again.weights_sha256 == model.weights_sha256
    dense = np.load(model.export(tmp_path / "digits.npz"))["dense1/W"]
    np.testing.assert_array_equal(dense, model.network.named_values()["dense1"]["W"])
    assert dpcnn.export(run, tmp_path / "b.npz").read_bytes() == (
        (tmp_path / "digits.npz").read_bytes()
    )
    assert "dense1" in model.summary()
    assert model.summary().endswith(f"{model.network.parameters.size:,}")
    with pytest.raises(OptionError, match=r"found .*a.pt to write, expected NAME.onnx or NAME.npz"):
        model.export(tmp_path / "a.pt")


def test_it_draws_the_charts_of_a_report(run: Path) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed (extra report)")
    figure = dpcnn.load(run).plot("loss")
    assert figure.axes[0].get_title(loc="left") == "Loss"
    with pytest.raises(OptionError, match="found chart 'los', expected one of accuracy, loss"):
        dpcnn.load(run).plot("los")


def test_the_best_epoch_is_what_best_means_everywhere(
    unsteady: dpcnn.Run, digits: Any, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    best, path = unsteady.best_epoch, unsteady.directory
    assert best is not None
    model = dpcnn.load(path, best=True)
    assert model.checkpoint.metrics[-1] == best
    assert model.weights_sha256 == best["weights_sha256"] != unsteady.weights_sha256
    assert dpcnn.load(path / "checkpoints/best.h5").weights_sha256 == model.weights_sha256
    assert model.evaluate(digits.test.images, digits.test.labels).accuracy == best["test_accuracy"]
    assert evaluate([str(path), "--best", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["weights_sha256"] == model.weights_sha256
    assert dpcnn.evaluate(path, best=True).accuracy == best["test_accuracy"]
    exported = [dpcnn.export(path, tmp_path / f"{best}.npz", best=best) for best in (True, False)]
    assert exported[0].read_bytes() != exported[1].read_bytes()
    with pytest.raises(CheckpointError, match="a checkpoint, expected a run directory with --best"):
        dpcnn.load(path / "checkpoints/best.h5", best=True)


def test_the_last_lines_and_the_report_name_the_best_epoch(
    unsteady: dpcnn.Run, small: Path, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed (extra report)")
    best = unsteady.best_epoch
    assert best is not None
    options = {"dataroot": small, "train_limit": 256, "lr": 0.5, "progress": "none"}
    dpcnn.train(run_dir="run", epochs=4, **options)
    accuracy, epoch = best["test_accuracy"], best["epoch"]
    assert capsys.readouterr().out.splitlines()[-3] == (
        f"Best epoch: {epoch}, Test Accuracy = {accuracy:.4f}, in checkpoints/best.h5"
    )
    page = dpcnn.report("run", best=True).read_text()
    assert f"{100 * accuracy:.2f}%" in page
    assert f"best, epoch {epoch}" in page
    assert f"step {best['step']:,}" in page


def test_without_a_finished_epoch_there_is_no_best(small: Path, here: Path) -> None:
    dpcnn.train(dataroot=small, run_dir="run", max_steps=1, progress="silent")
    with pytest.raises(CheckpointError, match="no sound checkpoint of a finished epoch"):
        dpcnn.load("run", best=True)


def test_evaluate_predict_and_verify_are_functions(
    run: Path, digits: Any, small: Path, tmp_path: Path
) -> None:
    images, labels = digits.test.images, digits.test.labels
    found = dpcnn.evaluate(run, images, labels)
    assert (
        found.accuracy
        == dpcnn.evaluate(run).accuracy
        == dpcnn.evaluate(run, dataroot=small).accuracy
    )
    assert dpcnn.evaluate(run, split="train", train_limit=50).facts["images"] == 50
    with pytest.raises(OptionError, match="unknown option lr, expected dataroot"):
        dpcnn.evaluate(run, lr=3)
    np.save(tmp_path / "some.npy", images[:3])
    answers = dpcnn.predict(run, tmp_path / "some.npy")
    assert [answer.label for answer in answers] == found.predicted[:3].tolist()
    assert [answer.index for answer in answers] == [0, 1, 2]
    assert dpcnn.verify(run) == 4
    assert dpcnn.verify(run, all=True) == 8


def test_importing_a_command_leaves_its_function(run: Path) -> None:
    for name in ("train", "evaluate", "predict", "export", "report", "verify"):
        assert callable(getattr(import_module(f"dpcnn.{name}"), "main", print))
        assert inspect.isfunction(getattr(dpcnn, name))
        assert sys.modules[f"dpcnn.{name}"] is not getattr(dpcnn, name)
