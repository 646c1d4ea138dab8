"""A trained network, read back, answers as the run that trained it did."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from dpcnn.data import hdf5
from dpcnn.errors import CheckpointError, DataError
from dpcnn.model import load
from dpcnn.nn.layers import Convolution, Dense, Flatten, ReLU
from dpcnn.nn.models import describe, described, tutorial
from tests.launching import run


@pytest.fixture(scope="module")
def trained(small, tmp_path_factory):
    """The run directory of two epochs with a smaller network than the default."""
    cwd = tmp_path_factory.mktemp("trained")
    options = ("--dataroot", small, "--epochs", 2, "--n_filter", 4, "--run_dir", "run")
    assert run(2, *options, cwd=cwd).returncode == 0
    return cwd / "run"


def test_a_loaded_model_has_the_accuracy_that_was_recorded(trained, small):
    test = hdf5.read(small, (1, 28, 28), 10).test
    *_, last = map(json.loads, (trained / "metrics.jsonl").read_text().splitlines())
    model = load(trained)
    assert (model.predict(test.images) == test.labels).mean() == last["test_accuracy"]
    likely = model.probabilities(test.images)[np.arange(len(test)), test.labels]
    assert -np.log(likely).mean() == pytest.approx(last["test_loss"], rel=1e-5)


def test_images_may_come_in_any_form_of_a_dataset(trained, small):
    images = hdf5.read(small, (1, 28, 28), 10).test.images[:5]
    model = load(str(trained / "checkpoints/step-00000032.h5"))
    expected = model.probabilities(images)
    assert expected.shape == (5, 10)
    np.testing.assert_allclose(expected.sum(axis=1), 1, rtol=1e-6)
    for form in (images.reshape(5, 784), images[:, 0], images / 255, images.tolist()):
        given = np.asarray(form, np.uint8) if isinstance(form, list) else form
        np.testing.assert_array_equal(model.probabilities(given), expected)
    assert model.probabilities(images[:0]).shape == (0, 10)


@pytest.mark.parametrize(
    ("images", "words"),
    [
        (np.zeros((2, 27, 28), np.uint8), "(2, 27, 28)"),
        (np.zeros(784, np.uint8), "(784,)"),
        (np.zeros((2, 784), np.int64), "int64"),
        (np.full((2, 784), 2.0), "from 2 to 2"),
        (np.full((2, 784), np.nan), "from nan to nan"),
    ],
)
def test_other_images_are_refused_by_name(trained, images, words):
    with pytest.raises(DataError) as refusal:
        load(trained).predict(images)
    assert words in str(refusal.value)


def test_a_damaged_checkpoint_is_passed_over(trained, tmp_path, capsys):
    copy = shutil.copytree(trained, tmp_path / "copy")
    newest = copy / "checkpoints/step-00000032.h5"
    newest.write_bytes(newest.read_bytes()[:-1])
    assert load(copy).checkpoint.position["step"] == 16
    assert "step-00000032.h5: damaged or cut off" in capsys.readouterr().err
    with pytest.raises(CheckpointError, match="no sound checkpoint"):
        load(tmp_path)
    with pytest.raises(CheckpointError, match=r"nothing\.h5: no such file"):
        load(Path("nothing.h5"))


def test_another_network_is_refused(trained):
    own = [Convolution(4, (7, 7), 1, 1), ReLU(), Flatten(), Dense(10)]
    load(trained, own)
    with pytest.raises(CheckpointError, match="the checkpoint is of the network"):
        load(trained, [*own[:-1], Dense(11)])


def test_a_description_gives_the_layers_it_was_made_from():
    layers = tutorial(5, (3, 4), 2, 1, 7)
    again = described(json.loads(json.dumps(describe(layers))))
    assert list(map(repr, again)) == list(map(repr, layers))


@pytest.mark.parametrize(
    "description",
    [
        [{"layer": "Layer"}],
        [{"layer": "os.system", "command": 1}],
        [{}],
        [{"layer": "Dense"}],
        [{"layer": "Dense", "outputs": -1}],
        [{"layer": "Dense", "outputs": 10, "more": 1}],
        [{"layer": "Dense", "outputs": True}],
        [{"layer": "Convolution", "filters": 1, "filter_size": [2, 1 << 40]}],
    ],
)
def test_a_description_of_anything_else_is_refused(description):
    with pytest.raises(ValueError, match="found"):
        described(description)
