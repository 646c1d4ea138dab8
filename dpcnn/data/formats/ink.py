"""Finding a digit on paper: its ink, drawn light on dark and centred as in MNIST's images.

Arrays are (height, width) floats from 0 to 1. Meant for pictures of one digit, in any ink on any
plain ground (paper, board, screen), under light that may be uneven.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from dpcnn.errors import DataError

Array = NDArray[Any]

RING = 0.05  # of the shorter side: a margin of this width is taken to be ground
STROKE = 0.35  # of the shorter side: strokes are narrower than this, shadows are wider
FAINT = 0.08  # anything that takes less of the ground's light is not ink
CELLS = 80  # along the longer side: the grid on which the parts of a digit are separated
SPECK = 0.1  # of the heaviest part's ink: a part with less is not of the digit
CONTACT = 1.5  # of the root of a part's area: with more on the edge it comes from outside
BOX = 20 / 28  # of the image's sides: MNIST scales digits to fit this box


def find(grey: Array) -> Array:
    """Return the ink of the digit in a grey picture, cropped to the digit: 0 is ground, 1 is ink.

    Raises DataError if there is no ink.
    """
    lightness = 1 - grey if _is_light(grey) else grey
    ground = closing(lightness, max(3, round(STROKE * min(grey.shape))))
    ink = (ground - lightness) / np.maximum(ground, 1 / 255)
    threshold, paper, full = otsu(ink)
    if full - paper < FAINT:
        raise DataError("nothing on it, expected a digit")
    ink = np.clip((ink - paper) / (full - paper), 0, 1)
    mask = _parts(ink > (threshold - paper) / (full - paper))
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    box = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    digit: Array = ink[box] * spread(mask, 5)[box]
    return digit


def centred(digit: Array, shape: tuple[int, int]) -> Array:
    """Return an image of this shape with the digit's centre of mass in its middle pixel.

    In MNIST's images of 28 x 28 that is pixel 14, counted from 0.
    """
    image = np.zeros(shape, digit.dtype)
    box = []
    for axis, (side, size) in enumerate(zip(shape, digit.shape, strict=True)):
        centre = np.average(np.arange(size), weights=digit.sum(axis=1 - axis))
        start = min(max(round(side // 2 - centre), 0), side - size)
        box.append(slice(start, start + size))
    image[tuple(box)] = digit
    return image


def _is_light(grey: Array) -> bool:
    """Tell whether the ink is lighter than the ground.

    Ink differs both from the ground near it and from the ground at all four edges; the inside of a
    loop, or a shadow, does not.
    """
    size = round(STROKE * min(grey.shape))
    margin = max(1, round(RING * min(grey.shape)))
    edges = np.stack(
        np.broadcast_arrays(
            *(part.mean(axis=0) for part in (grey[:margin], grey[-margin:])),
            *(part.mean(axis=1)[:, None] for part in (grey[:, :margin], grey[:, -margin:])),
        )
    )
    dark = np.minimum(closing(grey, size), edges.min(axis=0)) - grey
    light = np.minimum(closing(-grey, size), -edges.max(axis=0)) + grey
    return bool(np.sum(np.maximum(light, 0) ** 3) > np.sum(np.maximum(dark, 0) ** 3))


def closing(values: Array, size: int) -> Array:
    """Return the values with everything darker and narrower than `size` filled from around it.

    A slope towards an edge is assumed to continue beyond it.
    """
    size += 1 - size % 2
    wide = np.pad(values, size, mode="reflect", reflect_type="odd")
    return -spread(-spread(wide, size), size)[size:-size, size:-size]


def spread(values: Array, size: int) -> Array:
    """Return the largest value in the square of `size` x `size` (odd) pixels around each pixel."""
    for _ in ("rows", "columns"):
        grown = np.pad(values, [(size // 2, size // 2), (0, 0)], mode="edge")
        reach = 1  # the number of rows that each value is the maximum of; doubles each time
        while reach < size:
            step = min(reach, size - reach)
            grown = np.maximum(grown[:-step], grown[step:])
            reach += step
        values = grown.T
    return values


def otsu(values: Array, bins: int = 128) -> tuple[float, float, float]:
    """Return the threshold that best splits the values in two, and the mean of each part.

    The one with the largest variance between the parts: N. Otsu, "A threshold selection method from
    gray-level histograms", IEEE Transactions on Systems, Man, and Cybernetics 9(1), 1979.
    """
    counts, edges = np.histogram(values, bins)
    middles = (edges[1:] + edges[:-1]) / 2
    below, sums = np.cumsum(counts)[:-1], np.cumsum(counts * middles)[:-1]
    above, total = values.size - below, np.sum(counts * middles)
    variance = (sums * values.size - total * below) ** 2 / np.maximum(below * above, 1)
    best = int(variance.argmax())
    low, high = sums[best] / max(below[best], 1), (total - sums[best]) / max(above[best], 1)
    return float(edges[best + 1]), float(low), float(high)


def _parts(mask: Array) -> Array:
    """Return the mask without specks, and without parts that reach in from outside the picture."""
    step = -(-max(mask.shape) // CELLS)
    margins = [(0, -side % step) for side in mask.shape]
    padded = np.pad(mask, margins)
    rows, columns = padded.shape[0] // step, padded.shape[1] // step
    ink = padded.reshape(rows, step, columns, step).sum(axis=(1, 3))
    labels = _connected(ink > 0)
    areas, weights = np.bincount(labels.ravel()), np.bincount(labels.ravel(), ink.ravel())
    edges = np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]])
    contacts = np.bincount(edges, minlength=areas.size)
    inside = contacts < CONTACT * np.sqrt(areas)
    if weights[inside].max(initial=0) > SPECK * weights.max():
        weights = np.where(inside, weights, 0)
    main = weights.argmax()
    others = np.flatnonzero((contacts == 0) & (weights > SPECK * weights[main]))
    kept = np.isin(labels, [main, *others])
    whole = np.repeat(np.repeat(kept, step, axis=0), step, axis=1)
    return mask & whole[: mask.shape[0], : mask.shape[1]]


def _connected(mask: Array) -> Array:
    """Return a number from 1 on for each pixel of the mask, the same for all that touch; else 0."""
    labels = np.where(mask, np.arange(1, mask.size + 1).reshape(mask.shape), 0)
    while True:
        grown = np.where(mask, spread(labels, 3), 0)
        if np.array_equal(grown, labels):
            return labels
        labels = grown
