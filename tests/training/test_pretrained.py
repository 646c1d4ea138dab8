"""Fine-tuning: what is taken of another run's weights, and what is said of the rest."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import dpcnn
from dpcnn.errors import CheckpointError, OptionError
from dpcnn.nn import Dense, Flatten, Sequential

FEW: dict[str, Any] = {"train_limit": 256, "epochs": 1, "n_filter": 4}


@pytest.fixture(scope="module")
def first(small: Path, tmp_path_factory: pytest.TempPathFactory) -> dpcnn.Run:
    path = tmp_path_factory.mktemp("first") / "run"
    return dpcnn.train(dataroot=small, run_dir=path, progress="silent", **FEW)


def test_a_run_begins_with_the_weights_of_another(
    first: dpcnn.Run, small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = FEW | {"dataroot": small, "init_from": first.directory, "seed": 3, "ema": 0.9}
    found = dpcnn.train(run_dir=tmp_path / "a", max_steps=1, lr=1e-12, progress="none", **options)
    assert f"initial weights  {first.directory}, 4 of 4 arrays\n" in capsys.readouterr().out
    for layer, arrays in first.model.network.named_values().items():
        for key, array in arrays.items():
            taken = found.model.network.named_values()[layer][key]
            np.testing.assert_allclose(taken, array, rtol=1e-6, atol=1e-9)
    longer = dpcnn.train(run_dir=tmp_path / "a", resume="auto", max_steps=None, progress="silent")
    straight = dpcnn.train(run_dir=tmp_path / "b", lr=1e-12, progress="silent", **options)
    assert longer.weights_sha256 == straight.weights_sha256
    assert dpcnn.verify(tmp_path / "b", all=True) == 4


def test_what_does_not_fit_is_listed_and_begins_as_usual(
    first: dpcnn.Run, small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = FEW | {"dataroot": small, "init_from": first.directory, "padding": 0, "max_steps": 1}
    found = dpcnn.train(run_dir=tmp_path / "run", progress="none", lr=1e-12, **options)
    printed = capsys.readouterr().out
    shapes = r"\d+(x\d+)+ there, \d+(x\d+)+ here"
    assert re.search(rf"3 of 4 arrays; not dense1/W \({shapes}\)", printed)
    del options["init_from"]
    fresh = dpcnn.train(run_dir=tmp_path / "fresh", progress="silent", lr=1e-12, **options)
    arrays = [run.model.network.named_values()["dense1"]["W"] for run in (found, fresh)]
    np.testing.assert_allclose(*arrays, rtol=1e-6, atol=1e-9)


def test_what_cannot_begin_a_run_is_refused(first: dpcnn.Run, small: Path, tmp_path: Path) -> None:
    options = FEW | {"dataroot": small, "run_dir": tmp_path / "run", "progress": "silent"}
    with pytest.raises(CheckpointError, match="expected a checkpoint"):
        dpcnn.train(init_from=tmp_path / "gone", **options)
    layers = [Flatten(), Sequential(Dense(10))]
    del options["n_filter"]
    with pytest.raises(OptionError, match=r"no array fits, found .* \(not there\)"):
        dpcnn.train(layers, init_from=first.directory, **options)
    assert not (tmp_path / "run").exists()
