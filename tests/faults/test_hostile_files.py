"""Files that are meant to harm: each is refused in one line, and what it points at is not touched.

Real runs with 1 GiB of address space: what an edit declares or inflates to would not fit.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from dpcnn.data.formats import registry
from dpcnn.data.formats.raw import Wanted
from dpcnn.errors import DataError
from dpcnn.models.zoo import tutorial
from dpcnn.nn.config import to_config
from dpcnn.run import checkpoint as checkpoints
from dpcnn.run.checkpoint import MAGIC
from dpcnn.training.api import main
from tests.faults import hostile
from tests.faults.hostile import EDITS, Edit, canary, change, forge, set_text
from tests.launching import refusals

MEMORY = 1 << 30
SMALL = ["--train_limit", "128", "--test_limit", "10", "--n_filter", "2", "--max_steps", "1"]


def name(edit: Any) -> str:
    return getattr(edit, "__name__", "")


def refused(code: int, stderr: str, *words: str) -> None:
    """Hold that a run has ended with one line that has these words."""
    assert code == 2, stderr
    assert stderr.startswith("dpcnn: error: ")
    assert len(stderr.splitlines()) == 1, stderr
    assert all(each in stderr for each in words), stderr
    assert len(stderr) < 1500


def refused_run(cwd: Path, words: list[str], *options: Any) -> None:
    """Run with little memory; hold that it is refused and leaves nothing."""
    refused_runs(cwd, [(options, words)])


def refused_runs(cwd: Path, cases: Sequence[tuple[Sequence[Any], list[str]]]) -> None:
    """Run with the options of one case after the other, in one process with little memory.

    Holds that each is refused in a line with its words, and that nothing is left.
    """
    before = sorted(cwd.rglob("*"))
    under = ("prlimit", f"--as={MEMORY}")
    commands = [options for options, _ in cases]
    lines = refusals(None, "dpcnn.train", commands, cwd, under=under)
    for line, (_, words) in zip(lines, cases, strict=True):
        refused(2, line, *words)
    assert sorted(cwd.rglob("*")) == before


@pytest.fixture
def dataset(small: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(small, tmp_path / "set.hdf5"))


def test_a_hostile_dataset_is_refused(small: Path, tmp_path: Path) -> None:
    with h5py.File(small) as file:
        images = file["x_train"][()]
    cases = []
    with ExitStack() as canaries:
        for edit in [*EDITS, hostile.compressed_gigabytes]:
            (folder := tmp_path / name(edit)).mkdir()
            dataset = Path(shutil.copy(small, folder / "set.hdf5"))
            of_another = canaries.enter_context(canary(folder / "canary.hdf5", images))
            with h5py.File(dataset, "r+") as file:
                edit(file, "x_train", of_another)
            words = [str(dataset), EDITS.get(edit, "cannot be read as HDF5"), "expected"]
            cases.append((("--dataroot", dataset, *SMALL), words))
        refused_runs(tmp_path, cases)


@pytest.mark.parametrize("edit", EDITS, ids=name)
def test_a_hostile_dataset_is_not_streamed_from(edit: Edit, dataset: Path) -> None:
    folder = dataset.with_name("folder")
    folder.mkdir()
    with h5py.File(dataset) as file:
        images = file["x_train"][()]
    with canary(dataset.with_name("canary.hdf5"), images) as file_of_another:
        with h5py.File(dataset, "r+") as file:
            edit(file, "x_train", file_of_another)
        with pytest.raises(DataError) as caught:
            registry.read(dataset, Wanted((1, 28, 28), 10), folder)
    assert EDITS[edit] in str(caught.value)
    assert list(folder.iterdir()) == []


def test_labels_are_checked_as_images_are(dataset: Path) -> None:
    with h5py.File(dataset, "r+") as file:
        hostile.four_tebibytes(file, "y_test", dataset)
    refused_run(dataset.parent, ["y_test takes"], "--dataroot", dataset)


def test_other_arrays_of_a_dataset_are_not_looked_at(
    dataset: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(dataset.parent)
    with canary(dataset.with_name("canary.hdf5"), np.zeros(3)) as file_of_another:
        with h5py.File(dataset, "r+") as file:
            file["notes/author"] = "somebody"
            file["more"] = h5py.ExternalLink(str(file_of_another), "/array")
        assert main(["--dataroot", str(dataset), *SMALL]) == 0
    capfd.readouterr()


def special(kind: str, path: Path) -> tuple[Path, str]:
    """Make something at the path that is not a regular file; return it and its name in the line."""
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "directory":
        path.mkdir()
    else:
        path.symlink_to(kind)
    return path, "a directory" if kind == "directory" else "not a regular file"


@pytest.mark.parametrize("kind", ["fifo", "directory", "/dev/zero"])
def test_a_dataset_is_a_regular_file(kind: str, tmp_path: Path) -> None:
    path, word = special(kind, tmp_path / "set.hdf5")
    kind_expected = "a folder of pictures" if kind == "directory" else "an HDF5 dataset"
    refused_run(tmp_path, [str(path), word, f"expected {kind_expected}"], "--dataroot", path)


@pytest.mark.parametrize("kind", ["fifo", "/dev/zero"])
def test_a_checkpoint_is_a_regular_file(kind: str, tmp_path: Path) -> None:
    path, word = special(kind, tmp_path / "step.h5")
    refused_run(tmp_path, [str(path), word, "expected a checkpoint"], "--resume", path)


def test_a_checkpoint_is_not_read_if_it_is_too_large(tmp_path: Path) -> None:
    path = tmp_path / "step.h5"
    path.write_bytes(MAGIC)
    os.truncate(path, checkpoints.LIMIT + 1)
    refused_run(tmp_path, [str(path), "4,294,967,297 bytes", "at most"], "--resume", path)


@pytest.fixture(scope="module")
def sound(small: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint after one step of a real run."""
    run = tmp_path_factory.mktemp("sound") / "run"
    options = ["--dataroot", str(small), "--run_dir", str(run), *SMALL, "--progress", "none"]
    assert main(options) == 0
    return run / "checkpoints" / "step-00000001.h5"


@pytest.fixture
def forged(sound: Path, tmp_path: Path) -> Callable[[Callable[[h5py.File], None]], Path]:
    """Writes the sound checkpoint, edited, with the right SHA-256, and returns its path."""

    def write(edit: Callable[[h5py.File], None]) -> Path:
        path = tmp_path / "step.h5"
        path.write_bytes(forge(sound.read_bytes(), edit))
        return path

    return write


WEIGHTS = "model/dense1/W"


def test_a_hostile_checkpoint_is_refused(sound: Path, tmp_path: Path) -> None:
    weights = checkpoints.read(sound).model["dense1"]["W"]
    cases = []
    with ExitStack() as canaries:
        for edit, word in EDITS.items():
            (folder := tmp_path / name(edit)).mkdir()
            of_another = canaries.enter_context(canary(folder / "canary.hdf5", weights))
            path = folder / "step.h5"
            path.write_bytes(
                forge(sound.read_bytes(), partial(edit, name=WEIGHTS, canary=of_another))
            )
            cases.append((("--resume", path), [str(path), WEIGHTS, word, "expected"]))
        refused_runs(tmp_path, cases)


def alias(file: h5py.File) -> None:
    for number in range(1000):
        file[f"optimizer/slot{number}"] = file[WEIGHTS]


def link_model(file: h5py.File) -> None:
    hostile.replace(file, "model", h5py.ExternalLink("/dev/zero", "/model"))


def compress(file: h5py.File) -> None:
    file.create_dataset(WEIGHTS, data=hostile.take(file, WEIGHTS), compression="gzip")


def widen(file: h5py.File) -> None:
    file[WEIGHTS] = hostile.take(file, WEIGHTS).astype("f8")


def nest(file: h5py.File) -> None:
    file["model/dense1/more/W"] = np.zeros(3)


def add_array(file: h5py.File) -> None:
    file["more"] = np.zeros(3)


def add_attribute(file: h5py.File) -> None:
    file.attrs["more"] = 3


def long_text(file: h5py.File) -> None:
    file.attrs["progress"] = "of any length"


def many_texts(file: h5py.File) -> None:
    file.attrs["progress"] = np.array([b"{}", b"{}"])


def odd_name(file: h5py.File) -> None:
    file.move("model/dense1", "model/\x1b[2J\n")


def odd_slot(file: h5py.File) -> None:
    file["optimizer/velocity"] = np.zeros(3, np.float32)


WIDE = to_config(tutorial((1, 28, 28), 10, 65536, (7, 7), 1, 4096))
LINE = {"epoch": 1, "step": 1, "test_accuracy": 0.5, "weights_sha256": "00"}

IN_FORM = [
    (alias, "takes"),
    (link_model, "model is a link to another file, expected a group"),
    (compress, "filters [1], expected none"),
    (widen, "float64, expected float32"),
    (nest, "model/dense1/more is a group, expected an array"),
    (add_array, "it holds more, expected only average, model, optimizer"),
    (add_attribute, "it holds more, expected only changes, dataset"),
    (long_text, "attribute progress is object"),
    (many_texts, "attribute progress is |S2 of shape (2,)"),
    (odd_name, r"'\x1b[2J\n' in /model, expected a name"),
    (set_text("progress", "{"), "format 1"),
    (set_text("progress", "[" * 100_000), "recursion"),
    (set_text("metrics", "{}"), "metrics is {}, expected a list"),
    (set_text("metrics", "[3]"), "metrics[0] is 3, expected an object"),
    (set_text("metrics", json.dumps([LINE | {"step": 10**30}])), "metrics[0].step is 1000"),
    (
        set_text("metrics", json.dumps([LINE | {"test_accuracy": "x"}])),
        "test_accuracy is 'x'",
    ),
    (set_text("metrics", json.dumps([{"epoch": 1}])), "metrics[0].step is missing"),
    (set_text("options", "[]"), "options is [], expected an object"),
    (set_text("dataset", "{}"), "dataset.fingerprint is missing, expected a string"),
    (change("dataset", source=3), "dataset.source is 3"),
    (change("options", dataroot=["digits"]), "options.dataroot is ['digits']"),
    (change("options", dataroot="\ud800"), "surrogates not allowed"),
    (change("progress", step=-1), "progress.step is -1, expected an integer from 0"),
    (change("progress", step=1.0), "progress.step is 1.0"),
    (change("progress", step=True), "progress.step is True"),
    (change("progress", step=10**30), "progress.step is 1000"),
    (change("progress", epoch=...), "progress.epoch is missing"),
    (change("progress", loss=float("nan")), "progress.loss is nan, expected a finite number"),
    (change("progress", seconds=float("inf")), "progress.seconds is inf"),
    (change("progress", images="64"), "progress.images is '64'"),
]

IN_USE = [
    (odd_slot, "optimizer/velocity: found shape (3,), expected shape (11630,)"),
    (change("progress", step=2), "impossible with 2 steps an epoch and 128 images"),
    (change("progress", epoch=0, epoch_step=2, step=0, images=128), "the checkpoint's progress is"),
    (change("progress", epoch=10**15), "the checkpoint's progress is"),
    (change("progress", epoch_step=3, step=3, images=128), "the checkpoint's progress is"),
    (change("progress", images=0), "the checkpoint's progress is"),
    (change("progress", seconds=0), "the checkpoint's progress is"),
    (change("progress", loss=...), "the checkpoint's progress is"),
    (change("progress", more=1), "the checkpoint's progress is"),
    (change("options", lr=float("nan")), "the checkpoint's options: --lr is nan"),
    (change("options", epochs="many"), "the checkpoint's options: --epochs is 'many'"),
    (change("options", epochs=...), "from another version of dpcnn (options epochs)"),
    (change("options", dataroot="/dev/zero"), "not a regular file"),
    (set_text("network", json.dumps(WIDE)), "W: found shape (2, 1, 7, 7), expected shape (65536,"),
    (change("dataset", fingerprint=""), "not the data of the checkpoint"),
]


@pytest.mark.parametrize(("edit", "word"), IN_FORM + IN_USE)
def test_a_forged_checkpoint_is_refused(
    edit: Callable[[h5py.File], None],
    word: str,
    forged: Any,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = forged(edit)
    monkeypatch.chdir(path.parent)
    code = main(["--resume", str(path), "--progress", "none"])
    refused(code, capfd.readouterr().err, word)
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize(("edit", "word"), IN_FORM)
def test_the_sound_checkpoint_before_a_forged_one_is_taken(
    edit: Callable[[h5py.File], None],
    word: str,
    sound: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    run = Path(shutil.copytree(sound.parent.parent, tmp_path / "run"))
    newest = run / "checkpoints" / "step-00000002.h5"
    newest.write_bytes(forge(sound.read_bytes(), edit))
    assert main(["--run_dir", str(run), "--resume", "auto", "--progress", "plain"]) == 0
    printed = capfd.readouterr()
    assert str(newest) in printed.err
    assert word in printed.err
    assert "taking the one before it" in printed.err
    assert "after step 1, epoch 1" in printed.out
