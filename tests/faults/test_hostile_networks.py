"""Checkpoints of real networks that are meant to harm, or were changed: each is refused in a line.

Layers in layers, running statistics, averages, slots, normalisation, and options.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from dpcnn.evaluate import main as evaluate
from dpcnn.training.api import main
from tests.faults.hostile import change, forge, set_text
from tests.faults.test_hostile_files import refused

FileEdit = Callable[[h5py.File], object]

OPTIONS = (
    *("--model", "tests.mpi.real_network:network", "--train_limit", "64", "--test_limit", "10"),
    *("--minibatch_size", "32", "--max_steps", "1", "--optimizer", "adam", "--ema", "0.9"),
    *("--normalize", "standard", "--schedule", "step", "--milestones", "1ep"),
)


@pytest.fixture(scope="module")
def sound(small: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint after one step of two."""
    run = tmp_path_factory.mktemp("sound") / "run"
    where = ("--dataroot", str(small), "--run_dir", str(run), "--progress", "silent")
    assert main([*OPTIONS, *where]) == 0
    return run / "checkpoints" / "step-00000001.h5"


def put(name: str, value: float) -> FileEdit:
    """Return an edit that puts a value in the first place of an array."""

    def edit(file: h5py.File) -> None:
        file[name][(0,) * file[name].ndim] = value

    return edit


def cut(name: str) -> FileEdit:
    """Return an edit that leaves three values of an array."""

    def edit(file: h5py.File) -> None:
        array = file[name][:3]
        del file[name]
        file[name] = array

    return edit


def without(name: str) -> FileEdit:
    """Return an edit that takes an array, or a group, away."""
    return lambda file: file.pop(name)


def normalization(**values: Any) -> FileEdit:
    """Return an edit of the recorded normalisation."""

    def edit(file: h5py.File) -> None:
        found = json.loads(file.attrs["dataset"])["normalization"]
        change("dataset", normalization=found | values)(file)

    return edit


def layer(place: int, **values: Any) -> FileEdit:
    """Return an edit of the arguments of a layer in the network."""

    def edit(file: h5py.File) -> None:
        network = json.loads(file.attrs["network"])
        network[place] |= values
        set_text("network", json.dumps(network))(file)

    return edit


def nested(depth: int) -> FileEdit:
    """Return an edit that makes the network layers in layers."""
    inner = '[{"layer": "Sequential", "layers": ' * depth
    return set_text("network", f"{inner}[]{'}]' * depth}")


def branches(count: int, **more: Any) -> FileEdit:
    """Return an edit that makes the network one layer of so many branches."""
    branch = {"layer": "Convolution", "filters": 65536, "filter_size": 1} | more
    network = [{"layer": "Concatenate", "branches": [branch] * count}]
    return set_text("network", json.dumps(network))


MEAN, VARIANCE = "batchnorm1/mean", "batchnorm1/variance"
# The edit, words of the line, and whether the network cannot be used either.
CASES: list[tuple[FileEdit, str, bool]] = [
    (cut(f"model/{MEAN}"), f"{MEAN}: found shape (3,), expected shape (8,)", True),
    (without(f"model/{VARIANCE}"), f"{VARIANCE}: found no array", True),
    (put(f"model/{MEAN}", np.nan), f"{MEAN}: found nan, expected finite values", True),
    (put(f"model/{VARIANCE}", np.inf), f"{VARIANCE}: found inf, expected finite values f", True),
    (put(f"model/{VARIANCE}", -1), f"{VARIANCE}: found -1.0, expected finite values from 0", True),
    (put("model/dense1/W", np.nan), "dense1/W: found nan, expected finite values", True),
    (put(f"average/{VARIANCE}", -2), f"average/{VARIANCE}: found -2.0, expected", True),
    (put("average/dense1/b", np.nan), "average/dense1/b: found nan, expected finite", True),
    (cut(f"average/{MEAN}"), f"average/{MEAN}: found shape (3,), expected shape (8,)", True),
    (without("average"), f"average/{MEAN}: found no array, expected shape", True),
    (change("options", ema=None), f"average/{MEAN}: found shape (8,), expected no array", True),
    (without("optimizer"), "found none, expected mean, mean_square", False),
    (cut("optimizer/mean"), "optimizer/mean: found shape (3,), expected shape", True),
    (put("optimizer/mean", np.inf), "optimizer/mean: found inf, expected finite values", False),
    (put("optimizer/mean_square", -1), "mean_square: found -1.0, expected finite values", False),
    (normalization(std=[0.0]), "'std': [0.0]}, expected standard with", True),
    (normalization(std=[0.5, 0.5]), "for each of 1 channels", True),
    (normalization(mean=[]), "'mean': [], ", True),
    (normalization(mean=[1e300]), "expected standard with a mean from 0 to 1", True),
    (normalization(mean=["0"]), "expected an object with kind, mean and std", True),
    (normalization(kind="none"), "normalization is {'kind': 'none'", True),
    (change("dataset", normalization=...), "dataset.normalization is missing", True),
    (change("options", normalize="per_image"), "expected per_image with", True),
    (change("options", ema=1.0), "--ema is 1.0, expected a number from 0 to 0.999999", True),
    (change("options", label_smoothing=2), "--label_smoothing is 2, expected", True),
    (change("options", optimizer="evil"), "--optimizer is 'evil', expected sgd, adam", True),
    (change("options", momentum=0.9), "--momentum is 0.9 with --optimizer adam", True),
    (change("options", milestones=None), "--schedule is step without --milestones", True),
    (change("options", milestones="9" * 10_000), "--milestones is '9999", True),
    (change("options", augment="spin"), "--augment has 'spin', expected some of flip", False),
    (change("options", class_weights="1,2"), "--class_weights has 2 numbers", False),
    (change("options", validation=64), "--validation is 64, 64 of 64 training images", False),
    (nested(100), "found layers in layers 21 deep, expected at most 20", True),
    (nested(1000), "not a checkpoint of format 1 (", True),
    (branches(1001), "layers, expected 1 to 1,000", True),
    (branches(300), "output is (19660800, 28, 28), expected (10,), a value", True),
    (branches(2, layer="os.system"), "found layer 'os.system', expected one of", True),
    (branches(2, layer="own.Evil"), "layers that are not dpcnn's (Evil)", True),
    (layer(0, groups=3), "Convolution's groups is 3, expected a divisor of its 8 filters", True),
    (layer(1, eps=0), "BatchNorm's eps is 0, expected a number from 1e-12 to 1", True),
    (layer(1, momentum="fast"), "BatchNorm's momentum is 'fast', expected a number", True),
    (layer(3, body=3), "found 3, expected a layer or a list of layers", True),
    (layer(3, body={"name": "x"}), "body is {'name': 'x'}, expected text, a float", True),
    (layer(8, rate=1.0), "Dropout's rate is 1.0, expected a number from 0, below 1", True),
]


@pytest.mark.parametrize(("edit", "words", "useless"), CASES, ids=range(len(CASES)))
def test_a_forged_checkpoint_is_refused(
    edit: FileEdit,
    words: str,
    useless: bool,
    sound: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = tmp_path / "step.h5"
    path.write_bytes(forge(sound.read_bytes(), edit))
    monkeypatch.chdir(tmp_path)
    code = main(["--resume", str(path), "--max_steps", "2", "--progress", "none"])
    refused(code, capfd.readouterr().err, words)
    assert list(tmp_path.iterdir()) == [path]
    if useless:
        code = evaluate([str(path)])
        refused(code, capfd.readouterr().err, words)
