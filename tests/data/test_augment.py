"""Augmentation: as plain loops do it, within its bounds, and a function of the run alone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from dpcnn.data.augment import NOTHING, Augmentation, Augmenter, draw, generator
from dpcnn.nn.layer import Layer
from tests.data import slow_augment

Array = NDArray[Any]

sweep = settings(derandomize=True, deadline=None, max_examples=25)
shapes = st.tuples(st.integers(1, 3), st.integers(2, 7), st.integers(2, 7))

ALL: dict[str, Any] = {
    "flip": 1, "crop": 1, "shift": 1, "rotate": 90.0, "scale": 0.5, "brightness": 0.8,
    "contrast": 0.9, "cutout": 2, "mixup": 0.4, "alternate": 1, "reflect": 1,
}  # fmt: skip
words = st.sets(st.sampled_from(list(ALL)))


def images(shape: tuple[int, ...], count: int, dtype: Any = np.float32, seed: int = 0) -> Array:
    """Return a batch (C, H, W, N) in (0, 1]."""
    return 1 - np.random.default_rng(seed).random((*shape, count), dtype)


def of(*names: str, **amounts: Any) -> Augmentation:
    return replace(NOTHING, **{name: ALL[name] for name in names} | amounts)


@sweep
@given(words, shapes, st.integers(1, 5), st.integers(0, 99))
def test_it_does_what_plain_loops_do(
    names: set[str], shape: tuple[int, int, int], count: int, seed: int
) -> None:
    augmentation = of(*names)
    draws = draw(augmentation, generator(seed, 3, 1), count, shape)
    if "alternate" in names:
        draws = draws._replace(alternated=np.arange(count) % 2 == 0)
    augmenter = Augmenter(augmentation)
    for dtype, tolerance in ((np.float64, 1e-10), (np.float32, 1e-5)):
        x = images(shape, count, dtype, seed)
        expected = slow_augment.apply(augmentation, x.astype(np.float64), draws)
        augmenter.apply(x, draws)
        np.testing.assert_allclose(x, expected, atol=tolerance)
        assert x.dtype == dtype


@pytest.mark.parametrize("name", ALL)
def test_every_word_alone_changes_images_as_plain_loops_do(name: str) -> None:
    augmentation, x = of(name), images((2, 8, 8), 6)
    draws = draw(augmentation, generator(0, 3, 1), 6, (2, 8, 8))
    draws = draws._replace(alternated=np.arange(6) % 2 < augmentation.alternate)
    expected = slow_augment.apply(augmentation, x.astype(np.float64), draws)
    before = x.copy()
    Augmenter(augmentation).apply(x, draws)
    assert (x != before).any()
    np.testing.assert_allclose(x, expected, atol=1e-5)


@sweep
@given(shapes, st.integers(1, 5), st.integers(0, 99))
def test_mirrored_twice_an_image_is_itself(
    shape: tuple[int, int, int], count: int, seed: int
) -> None:
    x, augmenter = images(shape, count), Augmenter(of("flip"))
    draws = draw(of("flip"), generator(seed, 0, 0), count, shape)
    before = x.copy()
    augmenter.apply(x, draws)
    mirrored = np.where(draws.flipped, before[:, :, ::-1], before)
    np.testing.assert_array_equal(x, mirrored)
    augmenter.apply(x, draws)
    np.testing.assert_array_equal(x, before)


def test_without_a_turn_resampling_is_moving_by_whole_pixels() -> None:
    x = images((3, 7, 6), 8)
    moving, resampling = of("flip", "crop", "shift"), of("flip", "crop", "shift", rotate=1e-300)
    draws = draw(moving, generator(0, 0, 0), 8, (3, 7, 6))
    moved = x.copy()
    Augmenter(moving).apply(moved, draws)
    Augmenter(resampling).apply(x, draws)
    np.testing.assert_array_equal(x, moved)


@sweep
@given(st.integers(1, 3), st.integers(0, 99))
def test_a_crop_is_a_window_of_the_image_in_a_border_of_zeros(pixels: int, seed: int) -> None:
    x = images((2, 6, 7), 5)
    padded = np.pad(x, [(0, 0), (pixels, pixels), (pixels, pixels), (0, 0)])
    Augmenter(of(crop=pixels)).augment(x, np.zeros(5), generator(seed, 0, 0))
    for n in range(5):
        windows = [
            padded[:, row : row + 6, column : column + 7, n]
            for row in range(2 * pixels + 1)
            for column in range(2 * pixels + 1)
        ]
        assert any((x[..., n] == window).all() for window in windows)


def test_draws_stay_within_their_bounds_and_reach_them() -> None:
    draws = draw(of(**ALL), generator(0, 0, 0), 20_000, (1, 9, 5))
    assert 0.48 < draws.flipped.mean() < 0.52
    for moves in (draws.down, draws.right):
        assert set(moves.tolist()) == {-2, -1, 0, 1, 2}
    for values, low, high in (
        (np.degrees(draws.angle), -90, 90),
        (draws.factor, 0.5, 1.5),
        (draws.brightness, 0.2, 1.8),
        (draws.contrast, 0.1, 1.9),
        (draws.share, 0.5, 1),
    ):
        margin = (high - low) / 1000
        assert low <= values.min() < low + margin
        assert high - margin < values.max() <= high
    assert set(draws.reflected.ravel().tolist()) == {-1, 0, 1}
    assert set(draws.row.tolist()) == set(range(9))
    assert set(draws.column.tolist()) == set(range(5))
    assert sorted(draws.partner.tolist()) == list(range(20_000))


def test_what_is_drawn_for_a_word_does_not_depend_on_the_others() -> None:
    every = draw(of(**ALL), generator(5, 6, 7), 16, (1, 8, 8))
    alone = draw(of("rotate"), generator(5, 6, 7), 16, (1, 8, 8))
    np.testing.assert_array_equal(every.angle, alone.angle)
    np.testing.assert_array_equal(draw(of("cutout"), generator(5, 6, 7), 16, (1, 8, 8)).row,
                                  every.row)  # fmt: skip


def test_the_square_is_cut_off_at_the_border() -> None:
    x = images((1, 9, 9), 64)
    augmenter = Augmenter(of(cutout=4))
    augmenter.augment(x, np.zeros(64), generator(0, 0, 0))
    zeros = (x == 0).sum(axis=(0, 1, 2))
    assert set(zeros.tolist()) <= {a * b for a in (2, 3, 4) for b in (2, 3, 4)}
    assert zeros.max() == 16


def test_mixed_images_have_the_labels_of_both() -> None:
    x, labels = images((1, 4, 4), 8), np.arange(8)
    before = x.copy()
    mixture = Augmenter(of(mixup=1.0)).augment(x, labels, generator(1, 0, 0))
    assert mixture is not None
    others, weights = mixture
    mixed = weights * before + (1 - weights) * before[..., others]
    np.testing.assert_allclose(x, mixed, atol=1e-6)
    assert sorted(others.tolist()) == labels.tolist()
    assert Augmenter(of("flip")).augment(x, labels, generator(1, 0, 0)) is None


def test_each_micro_batch_of_a_run_is_changed_in_its_own_way() -> None:
    keys = [(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1)]
    drawn = {generator(*key).random(4).tobytes() for key in keys}
    assert len(drawn) == 4
    assert generator(0, 1, 0).random(4).tobytes() in drawn


def test_the_random_numbers_are_those_of_no_layer() -> None:
    layer = Layer()
    layer.context.seed, layer.context.step, layer.context.microbatch = 3, 5, 7
    layer.number = 2**63
    ours, theirs = generator(3, 5, 7).bit_generator, layer.generator().bit_generator
    state, other = (each.state["state"] for each in (ours, theirs))
    np.testing.assert_array_equal(state["counter"], other["counter"])
    assert (state["key"][0], state["key"][1]) == (3, 2**64 - 1)
    assert (other["key"][0], other["key"][1]) == (3, 2**63)
