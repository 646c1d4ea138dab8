"""Which networks want pictures of digits as MNIST has them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from dpcnn.data.digits import preparation
from dpcnn.data.formats import registry
from dpcnn.data.sources import find


def test_mnist_and_the_built_in_digits_want_digits(mnist: Path) -> None:
    for dataset in (find.load("digits"), registry.read(mnist)):
        assert preparation(dataset) == "digit"
        assert preparation(dataset.limited(5, 5)) == "digit"
        inverted = replace(dataset.train, images=255 - dataset.train.images)
        assert preparation(replace(dataset, train=inverted)) == "resize"
