"""A trained network, read back, answers as the run that trained it did."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dpcnn.data.formats import registry
from dpcnn.data.formats.raw import Wanted
from dpcnn.errors import CheckpointError, DataError, DpcnnError
from dpcnn.inference.model import load, restore
from dpcnn.nn import Convolution, Dense, Flatten, MaxPooling, ReLU
from dpcnn.nn.config import to_config
from tests.launching import run


@pytest.fixture(scope="module")
def trained(small, tmp_path_factory):
    """The run directory of two epochs with a smaller network than the default."""
    cwd = tmp_path_factory.mktemp("trained")
    options = ("--dataroot", small, "--epochs", 2, "--n_filter", 4, "--run_dir", "run")
    assert run(2, *options, cwd=cwd).returncode == 0
    return cwd / "run"


def test_a_loaded_model_has_the_accuracy_that_was_recorded(trained, small):
    test = registry.read(small, Wanted((1, 28, 28), 10)).test
    *_, last = map(json.loads, (trained / "metrics.jsonl").read_text().splitlines())
    model = load(trained)
    assert (model.predict(test.images) == test.labels).mean() == last["test_accuracy"]
    likely = model.probabilities(test.images)[np.arange(len(test)), test.labels]
    assert -np.log(likely).mean() == pytest.approx(last["test_loss"], rel=1e-5)


def test_images_may_come_in_any_form_of_a_dataset(trained, small):
    images = registry.read(small, Wanted((1, 28, 28), 10)).test.images[:5]
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
    assert load(copy).checkpoint.progress["step"] == 16
    assert "step-00000032.h5: damaged or cut off" in capsys.readouterr().err
    with pytest.raises(CheckpointError, match="no sound checkpoint"):
        load(tmp_path)
    with pytest.raises(CheckpointError, match=r"nothing\.h5: no such file"):
        load(Path("nothing.h5"))


def test_another_network_is_refused(trained):
    first = Convolution(4, (7, 7), 1, 1, initializer="tutorial", algorithm="mec")
    own = [first, ReLU(), Flatten(), Dense(10)]
    load(trained, own)
    with pytest.raises(
        CheckpointError, match=r"layer 4 of the network: found .*11.*, expected .*10.* as in"
    ):
        load(trained, [*own[:-1], Dense(11)])


# Sound layers in an order, or of sizes, that no network has.
MISFITS = [
    ([Flatten(), Convolution(1, 1)], "convolution1, .* takes maps"),
    ([Flatten(), MaxPooling(2)], "maxpooling1, .* takes maps"),
    ([Convolution(1, 1)], r"the network's output is \(1, 28, 28\), expected \(10,\)"),
    ([Flatten()], r"the network's output is \(784,\)"),
    ([Dense(10)], "takes flat input"),
    ([Flatten(), Dense(11)], r"output is \(11,\)"),
    ([MaxPooling(29), Flatten(), Dense(10)], "29x29 does not fit into 28x28"),
    ([Convolution(3, 29), Flatten(), Dense(10)], r"\(28 - 29 \+ 2\*0\)/1 \+ 1 = 0"),
    (
        [Flatten(), *(Dense(65536) for _ in range(900)), Dense(10)],
        r"checkpoint's convolution1/W: found shape .*, expected no array",
    ),
]


@pytest.mark.parametrize(("layers", "words"), MISFITS)
def test_a_checkpoint_whose_layers_do_not_fit_is_refused_in_one_line(trained, layers, words):
    sound = load(trained).checkpoint
    with pytest.raises(DpcnnError, match=words) as refusal:
        restore(replace(sound, network=to_config(layers)))
    assert len(str(refusal.value).splitlines()) == 1
