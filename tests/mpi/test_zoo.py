"""Networks of the zoo on ranks: the same bits on any number, and every command knows them."""

from __future__ import annotations

import h5py
import numpy as np
import pytest

from tests.launching import run


@pytest.fixture(scope="module")
def colours(tmp_path_factory):
    """A directory with 40 + 16 images of 3x12x12 in rows, of 4 classes, and a run on them."""
    folder = tmp_path_factory.mktemp("zoo")
    rng = np.random.default_rng(0)
    with h5py.File(folder / "data.h5", "w") as file:
        for part, count in (("train", 40), ("test", 16)):
            file[f"x_{part}"] = rng.integers(0, 256, (count, 3 * 12 * 12), np.uint8)
            file[f"y_{part}"] = np.arange(count) % 4
    return folder


OPTIONS = ("--model", "resnet8", "--dataroot", "data.h5", "--epochs", 2, "--minibatch_size", 32)
OPTIONS += ("--microbatch_size", 8)


def test_a_residual_network_has_the_same_bits_on_any_number_of_ranks(colours):
    alone = run(None, *OPTIONS, "--run_dir", "alone", cwd=colours)
    assert alone.returncode == 0, alone.stderr
    assert "residual3" in alone.stdout
    stopped = run(3, *OPTIONS, "--run_dir", "ranks", "--max_steps", 1, cwd=colours)
    assert stopped.returncode == 0, stopped.stderr
    resumed = run(2, "--resume", "ranks", "--max_steps", "none", "--model", "resnet8", cwd=colours)
    assert resumed.returncode == 0, resumed.stderr
    assert resumed.sha == alone.sha
    verified = run(2, "alone", "--all", cwd=colours, module="dpcnn.verify")
    assert verified.returncode == 0, verified.stderr
    other = run(None, "--resume", "ranks", "--model", "resnet20", cwd=colours)
    assert other.returncode == 2
    assert "layer 6 of the network: found {'layer': 'Convolution'" in other.stderr


def test_another_image_size_than_the_dataset_s_is_refused_on_all_ranks(colours):
    result = run(2, *OPTIONS, "--img_height", 13, "--run_dir", "no", cwd=colours)
    assert result.returncode == 2
    expected = "x_train has shape (40, 432), expected images with --img_height 13\n"
    assert result.stderr == f"dpcnn: error: data.h5: {expected}"
