"""Finding a digit on paper: its ink, drawn light on dark and centred as in MNIST's images.

Arrays are (height, width) floats from 0 to 1. Meant for pictures of one digit, in any ink on any
plain ground (paper, board, screen), under light that may be uneven.

The ground is what is left when everything narrower than a stroke is filled from around it; ink is
what takes a share of the ground's light. So the threshold is a local one, as in J. Bernsen,
"Dynamic thresholding of gray-level images", ICPR 1986, and the edge of a shadow is no ink.

How wide strokes are, and whether they are darker or lighter than the ground, is not known but
tried. A digit is found again when wider strokes are looked for; shadows, sheets of paper and the
gaps between strokes then change. And strokes are long for their width, which those are not.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dpcnn.data.formats import strokes
from dpcnn.data.formats.components import connected
from dpcnn.errors import DataError

Array = NDArray[Any]

WIDTHS = (0.035, 0.06, 0.1, 0.16, 0.25, 0.4, 0.6)  # to look for, of the shorter side
STEADY = 0.75  # of the pixels: a digit shares as many with what is found at the next width
CLEAR = 0.45  # blank and ruled sheets reach a score of 0.4, faint and small digits 0.6, others 1
LIGHT = 0.8  # light ink is rarer than dark: with a score as good it is rather paper
FAINT = 0.08  # anything that takes less of the ground's light is not ink
DIM, DIM_DARK = 0.1, 0.5  # a ground (dark for light ink) of less light: shares are mostly noise
NARROW = 2  # a picture that is longer than so many times its width is a cropped 1
BOX = 20 / 28  # of the image's sides: MNIST scales digits to fit this box


class Candidate(NamedTuple):
    """What may be the digit.

    ink: all of the picture's; mask: the digit's part of it; digits: how many seem to be in the
    mask; weight: of the ink in it in pixels, less if there is more ink around; score: 0 to
    about 3, how much like a digit it is.
    """

    ink: Array
    mask: Array
    digits: int
    weight: float
    score: float = 0


def find(grey: Array) -> Array:
    """Return the ink of the digit in a grey picture, cropped to the digit: 0 is ground, 1 is ink.

    Raises DataError if there is no digit, or more than one.
    """
    best = [_best(_widened(grey), DIM, 1), _best(_widened(1 - grey), DIM_DARK, LIGHT)]
    found = max(filter(None, best), key=lambda candidate: candidate.score, default=None)
    if found is None or found.score < CLEAR:
        raise DataError("nothing on it, expected a digit")
    if found.digits > 1:
        raise DataError(
            f"several digits ({found.digits} found), expected one: crop the picture to it"
        )
    rows, columns = (np.flatnonzero(found.mask.any(axis=axis)) for axis in (1, 0))
    box = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    digit: Array = found.ink[box] * spread(found.mask, 5)[box]
    return digit


def _widened(lightness: Array) -> Array:
    """Return a picture that is as narrow as a cropped 1 with ground on both sides."""
    least = max(lightness.shape) / NARROW
    margins = [max(0, round((least - side) / 2)) for side in lightness.shape]
    ground = np.quantile(lightness, 0.98)
    return np.pad(lightness, [(margin, margin) for margin in margins], constant_values=ground)


def _best(lightness: Array, dim: float, prior: float) -> Candidate | None:
    """Return the candidate darker than the ground with the best score, None if there is none.

    The weight of a stroke is its length times its width times its contrast, so the score is about
    the root of contrast times length over width. prior: what scores are multiplied by. Where wider
    strokes than needed give a steadier candidate, that is returned: it has the whole ink.
    """
    sizes = [max(3, round(width * min(lightness.shape))) for width in WIDTHS]
    row = [_candidate(lightness, size, dim) for size in sizes]
    steady = np.array([_overlap(a, b) for a, b in pairwise(row)])
    weights = np.array([0 if candidate is None else candidate.weight for candidate in row[:-1]])
    scores = np.where(steady > STEADY, steady**2, 0) * np.sqrt(weights) / sizes[:-1]
    place = int(scores.argmax())
    score = prior * float(scores[place])
    while place + 1 < len(steady) and steady[place + 1] > steady[place]:
        place += 1
    best = row[place]
    return None if best is None else best._replace(score=score)


def _overlap(a: Candidate | None, b: Candidate | None) -> float:
    """Return the share of the pixels in either mask that are in both."""
    if a is None or b is None:
        return 0
    return float(np.sum(a.mask & b.mask) / np.sum(a.mask | b.mask))


def _candidate(lightness: Array, size: int, dim: float) -> Candidate | None:
    """Return the digit whose strokes are narrower than so many pixels; None if there is none."""
    ground = closing(lightness, size)
    ink = (ground - lightness) / np.maximum(ground, dim)
    threshold, paper, full = otsu(ink)
    if full - paper < FAINT:
        return None
    ink = np.clip((ink - paper) / (full - paper), 0, 1)
    mask = ink > (threshold - paper) / (full - paper)
    parts = connected(mask)
    weight = np.bincount(parts.labels.ravel(), ink.ravel(), len(parts.area) + 1)[1:]
    printed = strokes.printed(parts)
    digit, count = strokes.choose(parts, weight, printed)
    if count == 0:
        return None
    share = weight[digit].sum() / weight[~printed].sum()
    own = weight[digit].sum() * share * (full - paper)
    return Candidate(ink, parts.mask(digit), count, float(own))


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
