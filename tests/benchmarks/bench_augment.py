"""What augmenting a micro-batch of CIFAR's size costs, and why squares are cut image by image.

python -m pytest tests/benchmarks/bench_augment.py
"""

from __future__ import annotations

import numpy as np
import pytest

from dpcnn.data import augment, words

SHAPE, IMAGES = (3, 32, 32), 16
WORDS = [
    *("flip", "crop:4", "shift:2", "rotate:10", "scale:0.1", "brightness:0.2", "contrast:0.2"),
    *("cutout:8", "mixup:0.2"),
]


@pytest.mark.parametrize("text", [*WORDS, "flip,crop:4", ",".join(WORDS)])
def test_words(benchmark, text):
    augmenter = augment.Augmenter(words.parse(text, SHAPE))
    x = np.random.default_rng(0).random((*SHAPE, IMAGES), np.float32)
    labels = np.zeros(IMAGES, np.uint8)
    benchmark(lambda: augmenter.augment(x, labels, augment.generator(0, 1, 2)))


def cut_out_by_mask(x, row, column, side):
    """The twin of augment._cut_out for all images at once."""
    _, height, width, _ = x.shape
    top, left = row - side // 2, column - side // 2
    rows, columns = np.arange(height)[:, None], np.arange(width)[:, None]
    in_rows = (rows >= top) & (rows < top + side)
    in_columns = (columns >= left) & (columns < left + side)
    x *= ~(in_rows[:, None] & in_columns)


@pytest.mark.parametrize("cut_out", [augment._cut_out, cut_out_by_mask])
def test_squares(benchmark, cut_out):
    rng = np.random.default_rng(0)
    x = rng.random((*SHAPE, IMAGES), np.float32)
    row, column = rng.integers(0, 32, (2, IMAGES))
    benchmark(cut_out, x, row, column, 8)
