"""A dataset in another format trains to the bits of its HDF5 file, on any number of ranks."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from tests.launching import run

SMALL = ("--n_filter", 2, "--epochs", 2, "--progress", "none")


@pytest.mark.parametrize("kind", ["idx", "pictures"])
def test_four_files_and_a_folder_train_as_the_hdf5_file_does(
    kind: str, small: Path, tmp_path: Path
) -> None:
    with h5py.File(small) as file:
        arrays = {name: file[name][:150] for name in ("x_train", "y_train", "x_test", "y_test")}
    root = tmp_path / kind
    root.mkdir()
    if kind == "idx":
        stems = ("train-images", "train-labels", "t10k-images", "t10k-labels")
        for name, stem in zip(arrays, stems, strict=True):
            array = arrays[name].reshape(150, 28, 28) if name[0] == "x" else arrays[name]
            head = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes()
            (root / f"{stem}-idx{array.ndim}-ubyte").write_bytes(head + array.tobytes())
    else:
        image = pytest.importorskip("PIL.Image")
        for part in ("train", "test"):
            order = np.argsort(arrays[f"y_{part}"], kind="stable")  # as a folder lists them
            arrays |= {name: arrays[name][order] for name in (f"x_{part}", f"y_{part}")}
            pairs = zip(arrays[f"x_{part}"], arrays[f"y_{part}"], strict=True)
            for number, (pixels, label) in enumerate(pairs):
                folder = root / part / str(label)
                folder.mkdir(parents=True, exist_ok=True)
                image.fromarray(pixels[0]).save(folder / f"{number:03}.png")
    with h5py.File(tmp_path / "plain.h5", "w") as file:
        for name, array in arrays.items():
            file[name] = array
    options = (*SMALL, "--dataroot")
    cache = {"DPCNN_CACHE": str(tmp_path / "cache")}
    plain = run(None, *options, "plain.h5", cwd=tmp_path)
    found = [run(ranks, *options, kind, cwd=tmp_path, **cache) for ranks in (2, 3)]
    assert plain.returncode == 0, plain.stderr
    assert [result.sha for result in found] == [plain.sha] * 2, found
