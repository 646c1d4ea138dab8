"""Checkpoints: what is written is read bit by bit, and nothing else is taken for one."""

from __future__ import annotations

import hashlib
import io
import json
import os
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from dpcnn.errors import CheckpointError
from dpcnn.run import checkpoint as checkpoints
from dpcnn.run.checkpoint import MAGIC, TEXTS, USER_BLOCK, Checkpoint
from tests.run.states import state


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A checkpoint file, the only file of its directory."""
    checkpoints.write(tmp_path / "step.h5", state())
    return tmp_path / "step.h5"


def same(found: Checkpoint, expected: Checkpoint) -> bool:
    """Tell whether two checkpoints are the same bit by bit."""
    assert json.dumps([getattr(found, name) for name in TEXTS]) == json.dumps(
        [getattr(expected, name) for name in TEXTS]
    )
    arrays = [(found.optimizer, expected.optimizer)]
    for layers, others in ((found.model, expected.model), (found.average, expected.average)):
        assert layers.keys() == others.keys()
        arrays += [(layers[layer], others[layer]) for layer in others]
    for one, other in arrays:
        assert one.keys() == other.keys()
        for name in other:
            assert one[name].dtype == other[name].dtype == np.float32
            assert one[name].shape == other[name].shape
            assert one[name].tobytes() == other[name].tobytes()
    return True


def test_a_copy_keeps_its_values_and_shares_the_lines_of_the_metrics() -> None:
    original = state(7, {1: 0.5, 2: 0.75})
    copied = original.copy()
    weights = copied.model["dense"]["weights"].copy()
    original.model["dense"]["weights"][...] = 0
    original.metrics.append({"epoch": 3})
    np.testing.assert_array_equal(copied.model["dense"]["weights"], weights)
    assert len(copied.metrics) == 2
    assert copied.metrics[0] is original.metrics[0], "thousands of epochs are not copied"


def refused(path: Path) -> str:
    """Return the line with which the file is refused."""
    with pytest.raises(CheckpointError) as caught:
        checkpoints.read(path)
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    assert str(path) in message
    return message


def test_what_is_written_is_read_bit_by_bit(path: Path) -> None:
    assert same(checkpoints.read(path), state())


def test_special_values_keep_their_bits(path: Path) -> None:
    special = state()
    bits = [0x7FC00001, 0xFF800000, 0x80000000, 1, 0x7F7FFFFF]
    special.optimizer["velocity"][:5] = np.array(bits, "u4").view("f4")
    checkpoints.write(path, special)
    assert same(checkpoints.read(path), special)


def test_an_optimizer_without_slots_and_a_view_are_kept(path: Path) -> None:
    bare = state()
    bare.optimizer.clear()
    bare.model["dense"]["weights"] = bare.model["dense"]["weights"].T
    checkpoints.write(path, bare)
    found = checkpoints.read(path)
    assert found.optimizer == {}
    np.testing.assert_array_equal(
        found.model["dense"]["weights"], bare.model["dense"]["weights"], strict=True
    )


def test_averages_are_what_is_used_where_there_are_any(path: Path) -> None:
    found = checkpoints.read(path)
    assert found.best_values is found.average
    found.average.clear()
    checkpoints.write(path, found)
    found = checkpoints.read(path)
    assert found.average == {}
    assert found.best_values is found.model


def test_the_metrics_of_many_epochs_fit(path: Path) -> None:
    many = state(accuracies={step: 1 / step for step in range(1, 3000)})
    checkpoints.write(path, many)
    assert same(checkpoints.read(path), many)


def test_it_is_hdf5_with_the_documented_names(path: Path) -> None:
    with h5py.File(path, "r") as file:
        assert file.attrs["format"] == checkpoints.FORMAT
        assert json.loads(file.attrs["progress"])["step"] == 7
        assert set(file.attrs) == {"format", *TEXTS}
        names: list[str] = []
        file.visititems(lambda name, each: names.append(name) if hasattr(each, "dtype") else None)
        weights = file["model/convolution/weights"]
        np.testing.assert_array_equal(weights, state().model["convolution"]["weights"])
        assert weights.dtype == np.float32
    assert sorted(names) == [
        "average/convolution/bias",
        "average/convolution/weights",
        "average/dense/bias",
        "average/dense/weights",
        "model/convolution/bias",
        "model/convolution/weights",
        "model/dense/bias",
        "model/dense/weights",
        "optimizer/velocity",
    ]


def test_every_changed_byte_is_found(path: Path) -> None:
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    places = {*range(0, USER_BLOCK, 9), *rng.integers(0, len(whole), 250).tolist()}
    for place in places:
        changed = bytes([whole[place] ^ int(rng.integers(1, 256))])
        path.write_bytes(whole[:place] + changed + whole[place + 1 :])
        refused(path)


def test_every_truncation_is_found(path: Path) -> None:
    whole = path.read_bytes()
    for length in [*range(0, len(whole), 13), len(whole) - 1]:
        path.write_bytes(whole[:length])
        refused(path)


@pytest.mark.parametrize("more", [b"\0", b"x" * 1000])
def test_what_is_behind_the_end_is_found(more: bytes, path: Path) -> None:
    path.write_bytes(path.read_bytes() + more)
    assert "damaged" in refused(path)


def hdf5_image(**attributes: Any) -> bytes:
    memory = io.BytesIO()
    with h5py.File(memory, "w") as file:
        file["x"] = np.zeros(3)
        file.attrs.update(attributes)
    return memory.getvalue()


@pytest.mark.parametrize("content", [b"", b"PK\3\4", b"\0" * 1000, hdf5_image()])
def test_a_foreign_file_is_no_checkpoint(content: bytes, path: Path) -> None:
    path.write_bytes(content)
    assert "not a dpcnn checkpoint" in refused(path)


@pytest.mark.parametrize(
    "image",
    [
        b"",
        b"no HDF5 at all",
        hdf5_image(),
        hdf5_image(format=2),
        hdf5_image(format=1),
        hdf5_image(format=1, **dict.fromkeys(TEXTS, np.bytes_("{"))),
        hdf5_image(format=1, **dict.fromkeys(TEXTS, np.bytes_("{}"))),
        hdf5_image(format=1, **dict.fromkeys(TEXTS, 3)),
    ],
)
def test_a_sound_file_of_another_form_is_refused(image: bytes, path: Path) -> None:
    block = MAGIC + hashlib.sha256(image).hexdigest().encode() + b"\n"
    path.write_bytes(block.ljust(USER_BLOCK, b"\0") + image)
    assert "format 1" in refused(path)


def test_a_missing_file_and_a_directory_are_named(path: Path) -> None:
    assert "no such file" in refused(path.with_name("gone.h5"))
    assert "directory" in refused(path.parent)


def test_a_write_that_fails_leaves_the_old_checkpoint_alone(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fails)
    with pytest.raises(OSError, match="No space left"):
        checkpoints.write(path, state(8))
    assert list(path.parent.iterdir()) == [path]
    assert same(checkpoints.read(path), state())


def test_a_write_replaces_the_old_checkpoint_and_leaves_no_other_file(path: Path) -> None:
    checkpoints.write(path, state(8))
    assert list(path.parent.iterdir()) == [path]
    assert same(checkpoints.read(path), state(8))
