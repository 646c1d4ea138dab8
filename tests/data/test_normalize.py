"""Normalisation: exact statistics, however the images come, and batches as in the formulas."""

from __future__ import annotations

import math
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from dpcnn.data import dataset as datasets
from dpcnn.data.dataset import Images, as_batch
from dpcnn.data.disk_array import StoredArray
from dpcnn.data.normalize import GRID, NONE, Normalization, from_config, standard
from dpcnn.errors import CheckpointError

Array = NDArray[Any]

sweep = settings(derandomize=True, deadline=None, max_examples=25)
shapes = st.tuples(st.integers(1, 9), st.integers(1, 4), st.integers(1, 6), st.integers(1, 6))
dtypes = st.sampled_from(["u1", "f4"])


def draw(shape: tuple[int, ...], dtype: str, seed: int = 0) -> Array:
    """Return images (N, C, H, W) of that dtype."""
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, shape, np.uint8) if dtype == "u1" else rng.random(shape, np.float32)


def slow_statistics(images: Array) -> tuple[list[Fraction], list[Fraction]]:
    """Return the mean and the variance of each channel as exact fractions."""
    means, variances = [], []
    for channel in images.transpose(1, 0, 2, 3):
        if images.dtype == np.uint8:
            values = [Fraction(int(value), 255) for value in channel.flat]
        else:
            values = [Fraction(round(float(value) * GRID), GRID) for value in channel.flat]
        mean = sum(values, Fraction()) / len(values)
        means.append(mean)
        variances.append(sum(((value - mean) ** 2 for value in values), Fraction()) / len(values))
    return means, variances


@sweep
@given(shapes, dtypes, st.integers(0, 9))
def test_the_statistics_are_exact(shape: tuple[int, ...], dtype: str, seed: int) -> None:
    images = draw(shape, dtype, seed)
    means, variances = slow_statistics(images)
    found = standard([images])
    assert found.mean == tuple(map(float, means))
    assert found.std == tuple(math.sqrt(variance) or 1.0 for variance in variances)


@sweep
@given(shapes, dtypes, st.data())
def test_the_statistics_do_not_depend_on_blocks_and_their_order(
    shape: tuple[int, ...], dtype: str, data: st.DataObject
) -> None:
    images = draw(shape, dtype)
    cuts = sorted(data.draw(st.sets(st.integers(1, max(1, len(images) - 1)))))
    blocks = [block for block in np.split(images, cuts) if len(block)]
    assert standard(data.draw(st.permutations(blocks))) == standard([images])


@pytest.mark.parametrize("dtype", ["u1", "f4"])
def test_streamed_images_have_the_statistics_of_those_in_memory(
    dtype: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(datasets, "BLOCK", 500)  # bytes
    pixels, labels = draw((40, 3, 5, 4), dtype), np.zeros(40, np.uint8)
    on_disk = Images(StoredArray.of(pixels, tmp_path / "x"), labels)
    assert len(list(on_disk.blocks())) > 4
    expected = standard([pixels])
    assert standard(Images(pixels, labels).blocks()) == standard(on_disk.blocks()) == expected
    limited = on_disk.first(7)
    assert standard(limited.blocks()) == standard([pixels[:7]]) != expected


def test_float_statistics_are_close_to_those_of_the_values() -> None:
    images = draw((50, 2, 8, 8), "f4")
    found = standard([images])
    np.testing.assert_allclose(found.mean, images.mean((0, 2, 3), np.float64), atol=1e-6)
    np.testing.assert_allclose(found.std, images.std((0, 2, 3), np.float64), atol=1e-6)


def test_large_sums_do_not_overflow() -> None:
    """Blocks are views of one image: sums of squares past 63 bits, without the memory."""
    block = np.broadcast_to(np.float32([0, 1]), (1, 1, 1 << 19, 2))
    found = standard([block] * 3)
    assert (found.mean, found.std) == ((0.5,), (0.5,))


def test_a_channel_that_does_not_vary_only_has_its_mean_subtracted() -> None:
    found = standard([np.full((3, 1, 2, 2), 51, np.uint8)])
    assert found == Normalization("standard", (0.2,), (1.0,))


@sweep
@given(shapes, dtypes, st.sampled_from([np.float32, np.float64]))
def test_standard_images_have_mean_0_and_variance_1(
    shape: tuple[int, ...], dtype: str, of: type[np.floating[Any]]
) -> None:
    images = draw(shape, dtype)
    normalization = standard([images])
    x = as_batch(images, of, normalization)
    unit = images / np.float64(255) if dtype == "u1" else images.astype(np.float64)
    mean, std = (np.array(v)[:, None, None] for v in (normalization.mean, normalization.std))
    expected = ((unit - mean) / std).transpose(1, 2, 3, 0)
    tolerance = (1e-5 if of is np.float32 else 1e-12) / min(normalization.std)
    np.testing.assert_allclose(x, expected, atol=tolerance)
    assert x.dtype == of
    assert x.flags.c_contiguous


@sweep
@given(shapes, dtypes, st.integers(0, 9))
def test_per_image_is_each_image_alone(shape: tuple[int, ...], dtype: str, seed: int) -> None:
    images = draw(shape, dtype, seed)
    x = as_batch(images, np.float64, Normalization("per_image"))
    for number, image in enumerate(images / np.float64(255) if dtype == "u1" else images):
        values = image.astype(np.float64)
        std = max(values.std(), 1 / math.sqrt(values.size))
        np.testing.assert_allclose(x[..., number], (values - values.mean()) / std, atol=1e-9)
        alone = as_batch(images[number : number + 1], np.float64, Normalization("per_image"))
        np.testing.assert_allclose(x[..., number], alone[..., 0], atol=1e-12)


def test_an_image_of_one_colour_is_not_divided_by_0() -> None:
    x = as_batch(np.full((2, 1, 4, 4), 200, np.uint8), np.float32, Normalization("per_image"))
    np.testing.assert_allclose(x, 0, atol=1e-6)


def test_without_normalisation_pixels_are_divided_by_255() -> None:
    images = np.arange(256, dtype=np.uint8).reshape(256, 1, 1, 1)
    expected = np.arange(256, dtype=np.float32) / np.float32(255)
    np.testing.assert_array_equal(as_batch(images, np.float32, NONE).ravel(), expected)


@pytest.mark.parametrize(
    ("normalization", "kind"),
    [
        (NONE, "none"),
        (Normalization("per_image"), "per_image"),
        (Normalization("standard", (0.25, 0.5), (0.1, 1.0)), "standard"),
    ],
)
def test_plain_data_gives_the_normalisation_again(normalization: Normalization, kind: str) -> None:
    assert from_config(normalization.config(), kind, 2) == normalization


@pytest.mark.parametrize(
    ("kind", "mean", "std"),
    [
        ("none", [], []),
        ("standard", [0.5], [0.5]),
        ("standard", [0.5, 0.5], [0.5]),
        ("standard", [0.5, 1.5], [0.5, 0.5]),
        ("standard", [0.5, 0.5], [0.5, 0]),
        ("standard", [0.5, 0.5], [0.5, 1e-30]),
        ("other", [0.5, 0.5], [0.5, 0.5]),
    ],
)
def test_a_record_that_does_not_fit_is_refused(kind: str, mean: Any, std: Any) -> None:
    config = {"kind": kind, "mean": mean, "std": std}
    with pytest.raises(CheckpointError, match=r"normalization is .* expected standard with a mean"):
        from_config(config, "standard", 2)
