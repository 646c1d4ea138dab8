"""Evaluation: the size of its micro-batches, and the same figures on any number of ranks."""

from __future__ import annotations

import pytest

from dpcnn.data.dataset import Images
from dpcnn.data.sources import synthetic
from dpcnn.inference.evaluation import MANY, evaluate, microbatch_size
from dpcnn.nn import Convolution, Dense, Flatten, Layer, MaxPooling, ReLU
from dpcnn.nn.network import Network
from dpcnn.nn.plan import Plan
from dpcnn.parallel.communicator import Communicator
from tests.parallel.ranks import on_ranks

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
