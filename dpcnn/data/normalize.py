"""Normalisation of images: what the network sees of pixels in [0, 1].

Axes of a batch: x (C, H, W, N). The statistics of a training set are exact: its pixels are integers
on a grid, whose sums have no rounding and so no order, whether they are in memory or streamed.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from dpcnn.errors import CheckpointError

Array = NDArray[Any]

# Pixels kept as float32 are rounded to a multiple of 2^-19 for the statistics alone: the sum of the
# squares of a block, up to 2^24 of a channel, then fits in 63 bits. A mean moves by 1e-6 at most.
GRID = 1 << 19
SMALLEST = 1e-6  # standard deviation; a channel that varies by less only has its mean subtracted


@dataclass(frozen=True)
class Normalization:
    """One way to normalise images.

    kind: `none` leaves them in [0, 1]; `standard` gives (x - mean)/std of each channel; `per_image`
    gives (x - mean)/std of each image over all of its values, with a std of at least 1/sqrt(C*H*W),
    as tf.image.per_image_standardization does. mean, std: (C,) for `standard`, otherwise empty.
    """

    kind: str = "none"
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()

    def constants(self, dtype: DTypeLike, largest: int = 1) -> tuple[Array, Array]:
        """Return scale and offset, (C, 1, 1, 1) each: x*scale + offset is `standard`.

        largest: the value that stands for 1, so that pixels kept as uint8 need no division before.
        """
        mean, std = np.array([self.mean, self.std])[:, :, None, None, None]
        return (1 / (std * largest)).astype(dtype), (-mean / std).astype(dtype)

    def apply(self, x: Array) -> None:
        """Normalise the batch x (C, H, W, N) in [0, 1], in place."""
        if self.kind == "standard":
            scale, offset = self.constants(x.dtype)
            x *= scale
            x += offset
        elif self.kind == "per_image":
            _standardize_images(x)

    def config(self) -> dict[str, Any]:
        """Return this as plain data, as a checkpoint keeps it."""
        return {name: list(v) if name != "kind" else v for name, v in asdict(self).items()}


NONE = Normalization()


def _standardize_images(x: Array) -> None:
    lines = as_lines(x)
    lines -= along_lines(image_means(x), x)
    variance = image_means(np.square(x))
    lines /= along_lines(np.maximum(np.sqrt(variance), smallest_std(x.shape[:3])), x)


def smallest_std(shape: tuple[int, ...]) -> float:
    """Return what an image (C, H, W) is divided by, per_image, if it varies by less."""
    return 1 / math.sqrt(math.prod(shape))


def as_lines(x: Array) -> Array:
    """Return a view (C*H, W*N) of a batch (C, H, W, N): arithmetic with what `along_lines` returns
    is in long runs, with (N,) it would be in short ones."""
    channels, height, width, count = x.shape
    return x.reshape(channels * height, width * count)


def along_lines(values: Array, x: Array) -> Array:
    """Return the values (N,) of the images of a batch, repeated along a line of it, (W*N,)."""
    return np.tile(values, x.shape[2]).astype(x.dtype)


def image_means(x: Array) -> Array:
    """Return the mean of each image of a batch, (N,) float64."""
    sums = as_lines(x).sum(axis=0, dtype=np.float64).reshape(x.shape[2:]).sum(axis=0)
    means: Array = sums / x[..., 0].size
    return means


def from_config(config: dict[str, Any], kind: str, channels: int) -> Normalization:
    """Return the normalisation that a checkpoint has recorded for a run with --normalize `kind`.

    Its form, but nothing else, has been checked (run/validation.py). Raises CheckpointError.
    """
    found = Normalization(config["kind"], tuple(config["mean"]), tuple(config["std"]))
    count = channels if kind == "standard" else 0
    sound = (
        found.kind == kind
        and len(found.mean) == len(found.std) == count
        and all(0 <= mean <= 1 for mean in found.mean)
        and all(SMALLEST <= std <= 1 for std in found.std)
    )
    if not sound:
        raise CheckpointError(
            f"the checkpoint's normalization is {config!s:.300}, expected {kind} with a mean from 0"
            f" to 1 and a std from {SMALLEST:g} to 1 for each of {count} channels"
        ).on_all_ranks()
    return found


def standard(blocks: Iterable[Array]) -> Normalization:
    """Return the standard normalisation for images that come in blocks (n, C, H, W).

    All uint8 k, for k/255, or all floats in [0, 1]. The mean and the variance are exact fractions
    of the pixels, so that the blocks' size and order do not change them, and are rounded once.
    """
    count, largest = 0, 255
    totals: Array = np.array(0, object)  # Python's integers, which no dataset is too large for
    squares: Array = totals
    for block in blocks:
        largest = 255 if block.dtype == np.uint8 else GRID
        values, squared = _on_grid(block)
        totals = totals + values.sum(axis=(0, 2, 3), dtype=np.int64).astype(object)
        squares = squares + squared.sum(axis=(0, 2, 3), dtype=np.int64).astype(object)
        count += block[:, 0].size
    means = [Fraction(total, count) for total in totals]
    variances = [Fraction(s, count) - mean**2 for s, mean in zip(squares, means, strict=True)]
    stds = [math.sqrt(variance / largest**2) for variance in variances]
    return Normalization(
        "standard",
        tuple(float(mean / largest) for mean in means),
        tuple(std if std >= SMALLEST else 1.0 for std in stds),
    )


def _on_grid(block: Array) -> tuple[Array, Array]:
    """Return the pixels of a block as integers, and their squares."""
    if block.dtype == np.uint8:
        return block, np.multiply(block, block, dtype=np.uint16)
    values = np.rint(block.astype(np.float64) * GRID).astype(np.int64)
    return values, values * values
