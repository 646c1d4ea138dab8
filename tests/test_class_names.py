"""The names of classes are in what every command shows and writes, and move no terminal."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import numpy as np
import pytest

from dpcnn.evaluate import main as evaluate
from dpcnn.export import main as export
from dpcnn.predict import main as predict
from dpcnn.training.api import main

NAMES = ("apple", "pear\x1b[2J")
IMAGES = np.random.default_rng(0).integers(0, 256, (24, 1, 8, 8), np.uint8)
LABELS = np.arange(24) % 2
Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run of a step on two classes, one of which has a name that would clear the screen."""
    folder = tmp_path_factory.mktemp("names")
    with h5py.File(folder / "data.h5", "w") as file:
        for part in ("train", "test"):
            file[f"x_{part}"], file[f"y_{part}"] = IMAGES, LABELS
        file.attrs["class_names"] = np.bytes_(json.dumps(NAMES))
    size = ["--n_filter", "2", "--h_filter", "3", "--w_filter", "3"]
    options = ["--dataroot", str(folder / "data.h5"), "--max_steps", "1", "--progress", "none"]
    assert main([*options, *size, "--run_dir", str(folder / "run")]) == 0
    return folder / "run"


def test_predict_and_evaluate_print_them(trained: Path, tmp_path: Path, capsys: Capture) -> None:
    np.save(tmp_path / "a.npy", IMAGES)
    assert predict([str(trained), str(tmp_path / "a.npy")]) == 0
    assert {line.split("\t")[1] for line in capsys.readouterr().out.splitlines()} <= {
        "apple", "pear?[2J"
    }  # fmt: skip
    assert evaluate([str(trained)]) == 0
    text = capsys.readouterr().out
    assert "0 apple" in text
    assert "1 pear?[2J" in text
    assert "\x1b" not in text


def test_other_images_are_named_as_an_argument_or_as_an_option(
    trained: Path, tmp_path: Path, capsys: Capture
) -> None:
    picture = pytest.importorskip("PIL.Image", reason="Pillow is not installed (extra images)")
    for number, name in enumerate(["apple", "pear?[2J"]):
        (tmp_path / "set" / name).mkdir(parents=True)
        picture.fromarray(IMAGES[number, 0]).save(tmp_path / "set" / name / "a.png")
    found = []
    for how in ([], ["--dataroot"]):
        assert evaluate([str(trained), *how, str(tmp_path / "set")]) == 0
        found.append(capsys.readouterr().out)
    assert found[0] == found[1]
    assert "2 test images" in found[0]
    assert evaluate([str(trained), "a", "--dataroot", "b"]) == 2
    assert "found a beside --dataroot" in capsys.readouterr().err


def test_an_exported_network_carries_them(trained: Path, tmp_path: Path) -> None:
    assert export([str(trained), str(tmp_path / "a.npz")]) == 0
    metadata = json.loads(str(np.load(tmp_path / "a.npz")["metadata"]))
    assert json.loads(metadata["class_names"]) == ["apple", "pear?[2J"]


def test_a_report_shows_them(trained: Path) -> None:
    pytest.importorskip("jinja2", reason="Jinja is not installed (extra report)")
    from dpcnn.report import pages, results, run

    page = pages.of_run(run.read(trained), results.load(run.read(trained)))
    assert '<td class="number">apple</td>' in page
    assert ">pear?[2J<" in page
    assert "\x1b" not in page
