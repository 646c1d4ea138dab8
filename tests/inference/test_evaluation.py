"""Evaluation: the size of its micro-batches, and the same figures on any number of ranks."""

from __future__ import annotations

import numpy as np
import pytest

from dpcnn.data.dataset import Images
from dpcnn.data.sources import synthetic
from dpcnn.inference.evaluation import MANY, evaluate, mean_logits, microbatch_size, probabilities
from dpcnn.nn import Convolution, Dense, Flatten, Layer, MaxPooling, ReLU
from dpcnn.nn.network import Network
from dpcnn.nn.plan import Plan
from dpcnn.parallel.communicator import Communicator
from tests.parallel.ranks import on_ranks
from tests.reference import Array

SHAPE = (1, 28, 28)


def layers(filters: int) -> list[Layer]:
    return [Convolution(filters, 7, stride=3), ReLU(), MaxPooling(2), Flatten(), Dense(10)]


@pytest.mark.parametrize(
    ("filters", "images", "expected"),
    [(2, MANY, 64), (2, MANY - 1, 16), (2, 1, 16), (20_000, MANY, 16)],
)
def test_many_images_are_computed_64_at_a_time_unless_that_takes_much_memory(
    filters: int, images: int, expected: int
) -> None:
    assert microbatch_size(Plan(layers(filters), SHAPE), images) == expected


@pytest.mark.parametrize("count", [40, MANY + 5])
def test_three_ranks_evaluate_as_one(count: int) -> None:
    pixels, labels = synthetic.draw(count, seed=0)
    images = Images(pixels[:, None], labels)

    def figures(comm: Communicator) -> tuple[float, float, list[int]]:
        network = Network(Plan(layers(2), SHAPE))
        network.initialize(seed=0)
        loss, accuracy, predicted = evaluate(network, images, comm)
        return loss, accuracy, predicted.tolist()

    [alone] = on_ranks(1, figures)
    assert len(alone[2]) == count
    assert on_ranks(3, figures) == [alone] * 3


def test_copies_are_mirrored_and_moved_by_a_pixel_and_half_counts_the_image_as_it_is() -> None:
    network = Network(Plan(layers(2), SHAPE), np.float64)
    network.initialize(seed=0)
    x = np.random.default_rng(0).random((*SHAPE, 3))
    padded = np.pad(x, [(0, 0), (1, 1), (1, 1), (0, 0)], mode="reflect")
    moved = [padded[:, :28, :28], padded[:, 2:, 2:]]

    def mirrored_too(images: Array) -> Array:
        both = [network.forward(each.copy()).copy() for each in (images, images[:, :, ::-1])]
        return np.mean(both, axis=0)

    as_it_is = mirrored_too(x)
    np.testing.assert_allclose(mean_logits(network, x.copy(), "flip"), as_it_is)
    expected = (as_it_is + np.mean([*map(mirrored_too, moved)], axis=0)) / 2
    np.testing.assert_allclose(mean_logits(network, x.copy(), "shift"), expected)


def test_an_image_and_its_mirror_image_are_classified_alike() -> None:
    network = Network(Plan(layers(2), SHAPE))
    network.initialize(seed=0)
    pixels, labels = synthetic.draw(20, seed=0)
    both = [
        probabilities(network, Images(np.ascontiguousarray(each), labels), tta="flip")
        for each in (pixels[:, None], pixels[:, None, :, ::-1])
    ]
    np.testing.assert_allclose(*both, rtol=1e-5)
    plain = probabilities(network, Images(pixels[:, None], labels))
    assert np.abs(plain - both[0]).max() > 1e-3
