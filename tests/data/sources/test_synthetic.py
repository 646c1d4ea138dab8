"""The built-in digits: the same bytes each time, in the frame, varied, and worth learning."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from dpcnn.data.sources import synthetic

Sample = tuple[NDArray[np.uint8], NDArray[np.uint8]]

MNIST_INK = 0.13  # the mean of MNIST's training images


@pytest.fixture(scope="module")
def sample() -> Sample:
    return synthetic.draw(2_000, seed=0)


def flat(images: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return the images as rows (N, 784) in [0, 1]."""
    return images.reshape(len(images), -1) / 255


def nearest_mean(train: Sample, test: Sample) -> float:
    """Return the accuracy on `test` of choosing the class whose mean image in `train` is nearest.

    The simplest classifier there is, which shares no code with the networks of the project.
    """
    x, labels = flat(train[0]), train[1]
    means = np.stack([x[labels == c].mean(axis=0) for c in range(synthetic.CLASSES)])
    distances = ((flat(test[0])[:, None] - means) ** 2).sum(axis=2)
    return float(np.mean(distances.argmin(axis=1) == test[1]))


def test_the_same_arguments_give_the_same_bytes(sample: Sample) -> None:
    again = synthetic.draw(2_000, seed=0)
    for first, second in zip(sample, again, strict=True):
        np.testing.assert_array_equal(first, second)


def test_another_seed_gives_other_images_and_another_order(sample: Sample) -> None:
    images, labels = synthetic.draw(2_000, seed=1)
    assert not (labels == sample[1]).all()
    assert not {image.tobytes() for image in images} & {image.tobytes() for image in sample[0]}


@pytest.mark.parametrize("count", [0, 1, synthetic.CHUNK, synthetic.CHUNK + 1])
def test_any_count_can_be_drawn(count: int) -> None:
    images, labels = synthetic.draw(count, seed=3)
    assert images.shape == (count, 28, 28)
    assert labels.shape == (count,)
    assert images.dtype == labels.dtype == np.uint8


def test_every_class_is_drawn_equally_often_give_or_take_one() -> None:
    _, labels = synthetic.draw(1_234, seed=2)
    assert set(np.bincount(labels, minlength=10)) == {123, 124}


def test_labels_come_in_random_order(sample: Sample) -> None:
    neighbours_alike = np.mean(sample[1][1:] == sample[1][:-1])
    assert 0.07 < neighbours_alike < 0.13


def test_no_two_images_are_equal(sample: Sample) -> None:
    assert len({image.tobytes() for image in sample[0]}) == len(sample[0])


@pytest.mark.parametrize("label", range(10))
def test_images_of_one_class_differ_in_shape_not_only_in_noise(sample: Sample, label: int) -> None:
    ink = sample[0][sample[1] == label] > 127
    either, both = (ink[:-1] | ink[1:]).sum(axis=(1, 2)), (ink[:-1] & ink[1:]).sum(axis=(1, 2))
    assert np.mean(both / either) < 0.6


def test_the_whole_digit_is_in_the_frame(sample: Sample) -> None:
    border = np.ones((28, 28), bool)
    border[1:-1, 1:-1] = False
    assert sample[0][:, border].max() <= np.ceil(255 * synthetic.GRAIN)


def test_ink_is_light_on_black_and_about_as_much_as_in_mnist(sample: Sample) -> None:
    images, labels = sample
    assert np.mean(images < 32) > 0.7
    assert images.max(axis=(1, 2)).min() > 150
    assert images.mean() / 255 == pytest.approx(MNIST_INK, rel=0.2)
    by_class = np.array([images[labels == c].mean() for c in range(10)])
    assert by_class.argmin() == 1


def test_the_ink_of_every_image_is_in_one_piece(sample: Sample) -> None:
    assert {pieces(image > 64) for image in sample[0][:400]} == {1}


def test_every_zero_has_a_hole(sample: Sample) -> None:
    images, labels = sample
    assert all(pieces(image <= 96) >= 2 for image in images[labels == 0])


def pieces(mask: NDArray[np.bool_]) -> int:
    """Return the number of connected parts of the mask (H, W), connected by sides."""
    left: set[tuple[Any, ...]] = set(
        zip(*(axis.tolist() for axis in np.nonzero(mask)), strict=True)
    )
    count = 0
    while left:
        count += 1
        edge = [left.pop()]
        while edge:
            y, x = edge.pop()
            near = {(y + 1, x), (y - 1, x), (y, x + 1), (y, x - 1)} & left
            left -= near
            edge += near
    return count


def test_the_classes_can_be_learned_but_are_not_trivial(sample: Sample) -> None:
    accuracy = nearest_mean(sample, synthetic.draw(1_000, seed=1))
    assert 0.6 < accuracy < 0.97


@pytest.mark.parametrize(("label", "texts"), list(enumerate(synthetic.GLYPHS)))
def test_every_glyph_stays_in_its_box(label: int, texts: tuple[str, ...]) -> None:
    for text in texts:
        points, weights = synthetic._glyph(text)
        assert points.min() >= 0
        assert points.max() <= synthetic.BOX
        np.testing.assert_allclose(weights.sum(axis=1), 1)  # dots move with their points
        dots = weights @ points
        assert dots.min() > -1
        assert dots.max() < synthetic.BOX + 1, f"glyph of {label}: {text}"
