"""Augmentation: training images are changed at random, in another way whenever they are seen.

What is asked for is done in this order, whatever the order of the words, on batches in [0, 1]
before normalisation. What comes in from outside an image is 0, the black of the pixels; with
reflect the image itself, mirrored at its border.

1. alternate, reflect: mirrored, and moved by whole pixels over the mirrored border, in one go.
2. flip, crop, shift, rotate, scale: where each pixel comes from, in one go. By whole pixels without
   rotate and scale, else with one bilinear interpolation for all of them.
3. brightness, contrast: x*b, then the distance from the image's mean times c; then cut to [0, 1].
4. cutout: a square of 0 around a random pixel, cut off at the border.
5. mixup: each image is mixed with another of its micro-batch, and so are their labels.

Axes of a batch: x (C, H, W, N). What is drawn is (N,), a value for each image.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dpcnn.data.geometry import Geometry
from dpcnn.data.normalize import along_lines, as_lines, image_means

Array = NDArray[Any]
Shape = tuple[int, int, int]

# The second word of the key of the random numbers, in the place where nn/layer.py has the number
# of a layer: no network has so many. The rest of key and counter is laid out as there.
STREAM = 2**64 - 1
ALTERNATE = 2**64 - 2  # in the same place, of what is drawn once for all training images


def generator(seed: int, step: int, microbatch: int) -> np.random.Generator:
    """Return the random generator for a micro-batch: a pure function of the run, not of a rank."""
    key = np.array([seed, STREAM], np.uint64)
    return np.random.Generator(np.random.Philox(key=key, counter=[0, 0, microbatch, step]))


def mirrored_first(seed: int, count: int) -> Array:
    """Return which of a run's training images alternate mirrors in odd epochs, (count,) bool."""
    key = np.array([seed, ALTERNATE], np.uint64)
    drawn: Array = np.random.Generator(np.random.Philox(key=key)).random(count) < 0.5
    return drawn


@dataclass(frozen=True)
class Augmentation:
    """How much may be done to an image; 0 stands for nothing.

    flip: 1 to mirror half of the images, left to right. alternate: 1 to mirror each image in every
    other epoch, half of them in the odd ones (Jordan, "94% on CIFAR-10 in 3.29 seconds on a single
    GPU", 2024). crop: pixels of zeros around the image before a window of its own size is cut out
    at random (He et al., "Deep residual learning for image recognition", CVPR 2016). shift: the
    most pixels to move by, up or down and left or right; reflect: the same, with the image mirrored
    at its border in place of zeros.
    rotate: the most degrees, either way. scale: by factors from 1 - scale to 1 + scale, and
    brightness and contrast alike. cutout: the side of the square in pixels (DeVries and Taylor,
    "Improved regularization of convolutional neural networks with cutout", 2017). mixup: the alpha
    of Beta(alpha, alpha), from which the shares are drawn (Zhang et al., "mixup: beyond empirical
    risk minimization", ICLR 2018).
    """

    flip: int = 0
    alternate: int = 0
    crop: int = 0
    shift: int = 0
    reflect: int = 0
    rotate: float = 0
    scale: float = 0
    brightness: float = 0
    contrast: float = 0
    cutout: int = 0
    mixup: float = 0

    def words(self) -> list[str]:
        """Return what is done, as the words of --augment and in its order."""
        amounts = {name: amount for name, amount in asdict(self).items() if amount}
        return [
            name if name in ("flip", "alternate") else f"{name}:{amount:g}"
            for name, amount in amounts.items()
        ]


NOTHING = Augmentation()


class Draws(NamedTuple):
    """What happens to each image of a micro-batch.

    flipped: whether it is mirrored; alternated: whether alternate does so in this epoch. down,
    right: the pixels that it is moved by; reflected: these two (2, N) for reflect. angle: in
    radians, counterclockwise. factor: of its size. row, column: the middle of its square. partner:
    the image that it is mixed with; share: its own share of the mixture, at least 1/2.
    """

    flipped: Array
    down: Array
    right: Array
    angle: Array
    factor: Array
    brightness: Array
    contrast: Array
    row: Array
    column: Array
    partner: Array
    share: Array
    reflected: Array
    alternated: Array


def draw(augmentation: Augmentation, rng: np.random.Generator, count: int, shape: Shape) -> Draws:
    """Return what happens to each of `count` images (C, H, W).

    What is drawn for a word does not depend on the others that there are, but for mixup's shares.
    """
    a = augmentation
    _, height, width = shape
    uniform = rng.random((11, count))
    around_0 = 2 * uniform - 1
    crops = np.floor(uniform[1:3] * (2 * a.crop + 1)) - a.crop
    shifts = np.floor(uniform[3:5] * (2 * a.shift + 1)) - a.shift
    down, right = (crops + shifts).astype(np.int64)
    reflected = np.zeros((2, count))
    if a.reflect:  # further numbers: those of the other words stay as they are
        reflected = np.floor(rng.random((2, count)) * (2 * a.reflect + 1)) - a.reflect
    # Whose share is the larger one is a matter of whose place it is in: Beta is symmetric.
    share = rng.beta(a.mixup, a.mixup, count) if a.mixup else np.ones(count)
    partner = rng.permutation(count) if a.mixup else np.arange(count)
    return Draws(
        flipped=uniform[0] < a.flip / 2,
        down=down,
        right=right,
        angle=around_0[5] * math.radians(a.rotate),
        factor=1 + around_0[6] * a.scale,
        brightness=1 + around_0[7] * a.brightness,
        contrast=1 + around_0[8] * a.contrast,
        row=np.floor(uniform[9] * height).astype(np.int64),
        column=np.floor(uniform[10] * width).astype(np.int64),
        partner=partner,
        share=np.maximum(share, 1 - share),
        reflected=reflected.astype(np.int64),
        alternated=np.zeros(count, bool),
    )


class Mixture(NamedTuple):
    """The second labels (N,) of mixed images, and the weights (N,) of their first ones."""

    other_labels: Array
    weights: Array


class Augmenter:
    """Augments micro-batches in place; its buffers are made once for each shape."""

    def __init__(self, augmentation: Augmentation) -> None:
        self.augmentation = augmentation
        self._geometry = Geometry()

    def augment(
        self, x: Array, labels: Array, rng: np.random.Generator, alternated: Array | None = None
    ) -> Mixture | None:
        """Change the images x (C, H, W, N) in [0, 1] at random, in place.

        alternated: those (N,) that alternate mirrors in this epoch, if it is asked for. Returns
        what all that makes of the labels (N,): None unless they are mixed.
        """
        channels, height, width, count = x.shape
        draws = draw(self.augmentation, rng, count, (channels, height, width))
        if alternated is not None:
            draws = draws._replace(alternated=alternated)
        self.apply(x, draws)
        if not self.augmentation.mixup:
            return None
        return Mixture(labels[draws.partner], draws.share)

    def apply(self, x: Array, draws: Draws) -> None:
        """Change the images x (C, H, W, N) in [0, 1] as drawn, in place."""
        a = self.augmentation
        if a.alternate or a.reflect:
            self._geometry.reflect(x, draws.alternated, *draws.reflected)
        moves = draws.flipped, draws.down, draws.right
        if a.rotate or a.scale:
            self._geometry.resample(x, *moves, draws.angle, draws.factor)
        elif a.flip or a.crop or a.shift:
            self._geometry.move(x, *moves, a.crop + a.shift)
        if a.brightness or a.contrast:
            _change_tones(x, draws.brightness, draws.contrast if a.contrast else None)
        if a.cutout:
            _cut_out(x, draws.row, draws.column, a.cutout)
        if a.mixup:
            _mix(x, draws.partner, draws.share)


def _change_tones(x: Array, brightness: Array, contrast: Array | None) -> None:
    """Return x*b, then mean + (x - mean)*c unless c is None, in [0, 1]: in place."""
    lines = as_lines(x)
    if contrast is None:
        lines *= along_lines(brightness, x)
    else:
        offset = along_lines((1 - contrast) * brightness * image_means(x), x)
        lines *= along_lines(brightness * contrast, x)
        lines += offset
    np.clip(x, 0, 1, out=x)


def _cut_out(x: Array, row: Array, column: Array, side: int) -> None:
    """Blacken a square of each image, whose middle is at (row, column): in place.

    Image by image: a mask for all of them takes longer (tests/benchmarks/bench_augment.py).
    """
    corners = zip((row - side // 2).tolist(), (column - side // 2).tolist(), strict=True)
    for image, (first_row, first_column) in enumerate(corners):
        rows = slice(max(first_row, 0), first_row + side)
        columns = slice(max(first_column, 0), first_column + side)
        x[:, rows, columns, image] = 0


def _mix(x: Array, partner: Array, share: Array) -> None:
    """Return share*x + (1 - share)*partner: in place."""
    others = np.take(x, partner, axis=3)
    others -= x
    lines = as_lines(others)
    lines *= along_lines(1 - share, x)
    x += others
