"""Augmentation in plain loops, an image and a pixel at a time: the oracle of the fast one."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dpcnn.data.augment import Augmentation, Draws

Array = NDArray[Any]


def apply(augmentation: Augmentation, x: Array, draws: Draws) -> Array:
    """Return the images x (C, H, W, N) as drawn."""
    images = [reflected(x[..., n], draws, n) for n in range(x.shape[3])]
    images = [geometry(augmentation, image, draws, n) for n, image in enumerate(images)]
    images = [tones(augmentation, image, draws, n) for n, image in enumerate(images)]
    images = [cut_out(image, draws, n, augmentation.cutout) for n, image in enumerate(images)]
    mixed = [
        share * image + (1 - share) * images[partner]
        for image, partner, share in zip(images, draws.partner, draws.share, strict=True)
    ]
    return np.stack(mixed, axis=3)


def reflected(image: Array, draws: Draws, n: int) -> Array:
    """Return one image (C, H, W) mirrored and moved, in a border that is its mirror image."""
    if draws.alternated[n]:
        image = image[:, :, ::-1]
    _, height, width = image.shape
    (down, right), most = draws.reflected[:, n].tolist(), int(np.abs(draws.reflected).max())
    padded = np.pad(image, [(0, 0), (most, most), (most, most)], mode="reflect")
    return padded[:, most - down : most - down + height, most - right : most - right + width]


def geometry(augmentation: Augmentation, image: Array, draws: Draws, n: int) -> Array:
    """Return one image (C, H, W) mirrored, then moved, then turned and scaled."""
    _, height, width = image.shape
    middle_row, middle_column = (height - 1) / 2, (width - 1) / 2
    result = np.zeros_like(image)
    for row in range(height):
        for column in range(width):
            # Where the pixel comes from: the last change is undone first. y points up.
            right, up = column - middle_column, middle_row - row
            cosine, sine = math.cos(-draws.angle[n]), math.sin(-draws.angle[n])
            right, up = right * cosine - up * sine, right * sine + up * cosine
            right, up = right / draws.factor[n], up / draws.factor[n]
            right, up = right - draws.right[n], up + draws.down[n]
            right = -right if draws.flipped[n] else right
            result[:, row, column] = between(image, middle_row - up, middle_column + right)
    return result


def between(image: Array, row: float, column: float) -> Array:
    """Return the bilinear interpolation at a place, (C,); outside of the image are zeros."""
    total = np.zeros(len(image))
    for near_row in (math.floor(row), math.floor(row) + 1):
        for near_column in (math.floor(column), math.floor(column) + 1):
            if 0 <= near_row < image.shape[1] and 0 <= near_column < image.shape[2]:
                weight = (1 - abs(row - near_row)) * (1 - abs(column - near_column))
                total += weight * image[:, near_row, near_column]
    return total


def tones(augmentation: Augmentation, image: Array, draws: Draws, n: int) -> Array:
    """Return one image with another brightness and contrast."""
    if not (augmentation.brightness or augmentation.contrast):
        return image
    bright = image * draws.brightness[n]
    return np.clip(bright.mean() + (bright - bright.mean()) * draws.contrast[n], 0, 1)


def cut_out(image: Array, draws: Draws, n: int, side: int) -> Array:
    """Return one image with a square of zeros."""
    top, left = draws.row[n] - side // 2, draws.column[n] - side // 2
    result = image.copy()
    for row in range(top, top + side):
        for column in range(left, left + side):
            if 0 <= row < image.shape[1] and 0 <= column < image.shape[2]:
                result[:, row, column] = 0
    return result
