"""Whole runs with --normalize: recorded once, and applied wherever the network is used."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import dpcnn
from dpcnn.data.formats import registry
from dpcnn.data.formats.raw import Wanted
from dpcnn.data.normalize import standard
from dpcnn.errors import CheckpointError, OptionError
from dpcnn.evaluate import main as evaluate
from dpcnn.inference.model import restore
from dpcnn.inference.onnx import npz, onnx
from dpcnn.nn import Convolution, Dense, Flatten, MaxPooling, ReLU
from dpcnn.verify import main as verify

KINDS = ("standard", "per_image")


@pytest.fixture(scope="module")
def runs(small: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Two epochs with each kind of normalisation."""
    folder = tmp_path_factory.mktemp("normalized")
    return {kind: train(small, folder / kind, normalize=kind) for kind in ("none", *KINDS)}


def train(small: Path, directory: Path, **options: Any) -> dpcnn.Run:
    layers = [Convolution(3, 5), ReLU(), MaxPooling(4), Flatten(), Dense(10)]
    defaults = {"dataroot": small, "train_limit": 300, "epochs": 2, "lr": 0.02}
    return dpcnn.train(layers, run_dir=directory, progress="silent", **defaults | options)


def test_the_kinds_train_other_networks(runs: dict[str, Any]) -> None:
    assert len({run.weights_sha256 for run in runs.values()}) == 3


def test_the_checkpoint_has_the_statistics_of_the_images_trained_on(
    runs: dict[str, Any], small: Path
) -> None:
    train_set = registry.read(small, Wanted((1, 28, 28), 10)).train
    expected = standard([train_set.images[:300]])
    model = dpcnn.load(runs["standard"].directory)
    assert model.checkpoint.dataset["normalization"] == expected.config()
    assert model.normalization == runs["standard"].model.normalization == expected


@pytest.mark.parametrize("kind", KINDS)
def test_a_loaded_network_sees_the_images_as_in_training(
    runs: dict[str, Any], kind: str, small: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, test = runs[kind], registry.read(small, Wanted((1, 28, 28), 10)).test
    model = dpcnn.load(run.directory)
    assert (model.predict(test.images) == test.labels).mean() == run.accuracy
    floats = model.probabilities(test.images / np.float32(255))
    np.testing.assert_allclose(floats, model.probabilities(test.images), atol=1e-6)
    assert evaluate([str(run.directory), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["accuracy"], told["loss"]) == (run.accuracy, run.metrics[-1]["test_loss"])


@pytest.mark.parametrize("kind", KINDS)
def test_verify_and_a_resumed_run_use_what_is_recorded(
    runs: dict[str, Any], kind: str, small: Path, tmp_path: Path
) -> None:
    train(small, tmp_path / "run", normalize=kind, max_steps=6)
    resumed = train(small, tmp_path / "run", resume="auto", max_steps=None)
    assert resumed.weights_sha256 == runs[kind].weights_sha256
    assert verify([str(tmp_path / "run"), "--all"]) == 0
    with pytest.raises(OptionError, match=f"--normalize is none, expected {kind}"):
        train(small, tmp_path / "run", resume="auto", normalize="none")


@pytest.mark.parametrize("kind", KINDS)
def test_an_onnx_graph_normalises_too(runs: dict[str, Any], kind: str, small: Path) -> None:
    pytest.importorskip("onnx", reason="onnx is not installed (extra onnx)")
    reason = "onnxruntime is not installed (extra test)"
    onnxruntime = pytest.importorskip("onnxruntime", reason=reason)
    model = runs[kind].model
    images = registry.read(small, Wanted((1, 28, 28), 10)).test.images
    session = onnxruntime.InferenceSession(onnx(model))
    [found] = session.run(["probabilities"], {"images": (images / 255).astype(np.float32)})
    expected = model.probabilities(images)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    np.testing.assert_array_equal(found.argmax(axis=1), expected.argmax(axis=1))


def test_npz_tells_the_normalisation(runs: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "a.npz").write_bytes(npz(runs["standard"].model))
    told = json.loads(str(np.load(tmp_path / "a.npz")["metadata"]))
    assert json.loads(told["normalization"]) == runs["standard"].model.normalization.config()


def test_a_record_of_another_kind_is_refused(runs: dict[str, Any]) -> None:
    checkpoint = dpcnn.load(runs["standard"].directory).checkpoint.copy()
    checkpoint.dataset["normalization"] = {"kind": "none", "mean": [], "std": []}
    with pytest.raises(CheckpointError, match="normalization is"):
        restore(checkpoint)


def test_a_validation_set_is_not_in_the_statistics(small: Path, tmp_path: Path) -> None:
    run = train(small, tmp_path / "run", normalize="standard", validation=0.2, epochs=1)
    whole = standard([registry.read(small, Wanted((1, 28, 28), 10)).train.images[:300]])
    assert 0 < abs(run.model.normalization.mean[0] - whole.mean[0]) < 0.01
    command = [str(tmp_path / "run"), "--split", "validation", "--json"]
    assert evaluate(command) == 0
