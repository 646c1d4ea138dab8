"""Which components of a mask are the strokes of a digit: no frame, no rule, no shadow, no dust.

K is the number of components. All sizes are in pixels.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from dpcnn.data.formats.components import Components, connected

Array = NDArray[Any]

SMALL = 0.04  # of the picture's longer side: no digit is smaller
FLAT = 2.5  # no digit is wider than so many times its height
THIN = 0.02  # of its length: lines and frames are thinner, strokes are not
FRAME = 0.1  # of the picture's longer side: no frame is smaller
HOLLOW = 0.35  # of its box: a frame fills less
CORNER = 0.1  # of the sides of its box: where a frame, even if askew, has its corners
CONTACT = 1.5  # of the root of its area: with more on the picture's edge it comes from outside
HOLES = 3  # squared paper has more, a digit has not
DUST = 0.02  # of the main component's ink: what has less is no stroke
BODY = 0.1  # of the main component's ink: what has less is no digit
NEAR = 0.25  # of the main component's longer side: the strokes of a digit are not further apart
ALIKE = 0.6  # of each other's height: digits side by side are as high, and as level


def printed(parts: Components) -> Array:
    """Return which components, (K,) bool, are thin lines, frames, or the paper in a frame.

    A frame is hollow and has corners, or another component in it.
    """
    found: Array = parts.area < THIN * parts.side**2
    hollow = parts.area < HOLLOW * parts.width * parts.height
    for k in map(int, np.flatnonzero(parts.side > FRAME * max(parts.labels.shape))):
        inside = (parts.top > parts.top[k]) & (parts.bottom < parts.bottom[k])
        inside &= (parts.left > parts.left[k]) & (parts.right < parts.right[k])
        around = (parts.side[inside] > 0.3 * parts.side[k]).any()
        rows, columns = parts.box(k)
        pixels = parts.labels[rows, columns] == k + 1
        cornered = _has_corners(pixels) and (hollow[k] or _holes(pixels) > 0)
        found[k] |= (hollow[k] and around) or cornered
    return found


def _has_corners(pixels: Array) -> bool:
    """Tell whether a component reaches into all four corners of its box."""
    down, across = (1 + int(CORNER * side) for side in pixels.shape)
    top_or_bottom = slice(down), slice(-down, None)
    left_or_right = slice(across), slice(-across, None)
    return all(pixels[y, x].any() for y in top_or_bottom for x in left_or_right)


def _holes(pixels: Array) -> int:
    """Return the number of holes in a component."""
    return int(np.sum(connected(~pixels).contact == 0))


def choose(parts: Components, weight: Array, printed: Array) -> tuple[Array, int]:
    """Return which components, (K,) bool, are the digit's, and how many digits there seem to be.

    weight: (K,), the ink of each. printed: (K,) bool, which cannot be the digit's. If there are
    several digits side by side, all of them are chosen.
    """
    shape = parts.labels.shape
    possible = _inside(parts, printed)
    bodies = possible & (parts.side >= SMALL * max(shape)) & (parts.width < FLAT * parts.height)
    if not bodies.any():
        return bodies, 0
    main = int(np.where(bodies, weight, 0).argmax())
    row = bodies & _beside(parts, main) & (weight > BODY * weight[main])
    count = _columns(parts, np.flatnonzero(row))
    if count > 1:
        return row, count
    near = _gaps(parts, main) < NEAR * parts.side[main]
    return possible & near & (weight > DUST * weight[main]), 1


def _inside(parts: Components, printed: Array) -> Array:
    """Return which components do not come in from outside, nor are printed.

    If there are none, the picture may be cropped to the digit.
    """
    height, width = parts.labels.shape
    across = (parts.width == width) | (parts.height == height)
    possible: Array = ~(printed | across | (parts.contact >= CONTACT * np.sqrt(parts.area)))
    if not possible.any():
        filling = (parts.width > 0.9 * width) & (parts.height > 0.9 * height) & ~printed
        for k in np.flatnonzero(filling):
            possible[k] = _holes(parts.labels == k + 1) <= HOLES
    return possible


def _beside(parts: Components, main: int) -> Array:
    """Return which components stand beside the main one, about as high as it is."""
    low = np.minimum(parts.height, parts.height[main])
    high = np.maximum(parts.height, parts.height[main])
    level = np.minimum(parts.bottom, parts.bottom[main]) - np.maximum(parts.top, parts.top[main])
    beside: Array = (low > ALIKE * high) & (level > ALIKE * low)
    return beside


def _columns(parts: Components, row: Array) -> int:
    """Return how many of these components, (k,) numbers, do not lie above or below one another."""
    count, end = 0, -1
    for k in row[np.argsort(parts.left[row])]:
        count += bool(end - parts.left[k] < 0.2 * parts.width[k])
        end = max(end, int(parts.right[k]))
    return count


def _gaps(parts: Components, main: int) -> Array:
    """Return the distance, along rows or columns, of each component's box from the main one's."""
    across = np.maximum(parts.left - parts.right[main], parts.left[main] - parts.right)
    down = np.maximum(parts.top - parts.bottom[main], parts.top[main] - parts.bottom)
    gaps: Array = np.maximum(across, down)
    return gaps
