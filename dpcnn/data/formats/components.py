"""Connected components of a mask: what touches, with its box, its area and its ink.

Masks are (height, width) bool. Pixels that share a side or a corner touch.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


class Components(NamedTuple):
    """The components of a mask; component k has the label k + 1.

    labels: (height, width), 0 where the mask is not. top, left, bottom, right: (K,), the rows and
    columns that enclose each component, bottom and right past the end. area: (K,) pixels. contact:
    (K,) pixels on the edge of the mask.
    """

    labels: Array
    top: Array
    left: Array
    bottom: Array
    right: Array
    area: Array
    contact: Array

    @property
    def height(self) -> Array:
        """The height of each component (K,)."""
        return self.bottom - self.top

    @property
    def width(self) -> Array:
        """The width of each component (K,)."""
        return self.right - self.left

    @property
    def side(self) -> Array:
        """The longer side of each component's box (K,)."""
        return np.maximum(self.height, self.width)

    def box(self, k: int) -> tuple[slice, slice]:
        """Return the rows and columns of the box of component k."""
        return slice(self.top[k], self.bottom[k]), slice(self.left[k], self.right[k])

    def mask(self, chosen: Array) -> Array:
        """Return the mask of the components that are chosen, (K,) bool."""
        mask: Array = np.concatenate([[False], chosen])[self.labels]
        return mask


def connected(mask: Array) -> Components:
    """Return the components of a mask.

    By the runs of its rows, of which those that touch are united: C. Ronse and P. A. Devijver,
    "Connected components in binary images: the detection problem", Research Studies Press 1984.
    """
    padded = np.pad(mask, [(0, 0), (1, 1)]).astype(np.int8)
    steps = np.diff(padded, axis=1)
    row, start = np.nonzero(steps == 1)
    end = np.nonzero(steps == -1)[1]
    label = _united(len(row), *_touching(row, start, end, mask.shape[1] + 2))
    count = int(label.max(initial=-1)) + 1
    labels = np.zeros(mask.shape, np.intp)
    labels[mask] = np.repeat(label + 1, end - start)
    box = [np.full(count, max(mask.shape)), np.full(count, max(mask.shape))]
    box += [np.zeros(count, np.intp), np.zeros(count, np.intp)]
    np.minimum.at(box[0], label, row)
    np.minimum.at(box[1], label, start)
    np.maximum.at(box[2], label, row + 1)
    np.maximum.at(box[3], label, end)
    edges = np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]])
    contact = np.bincount(edges, minlength=count + 1)[1:]
    return Components(
        labels,
        box[0],
        box[1],
        box[2],
        box[3],
        np.bincount(labels.ravel(), minlength=count + 1)[1:],
        contact,
    )


def _touching(row: Array, start: Array, end: Array, width: int) -> tuple[Array, Array]:
    """Return the pairs of runs in neighbouring rows that touch, as two arrays of their numbers."""
    below = (row + 1) * width
    first = np.searchsorted(row * width + end, below + start, "left")
    last = np.searchsorted(row * width + start, below + end, "right")
    counts = np.maximum(last - first, 0)
    upper = np.repeat(np.arange(len(row)), counts)
    offsets = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    return upper, np.repeat(first, counts) + offsets


def _united(count: int, a: Array, b: Array) -> Array:
    """Return a number from 0 on for each of so many runs, the same for a[i] and b[i], for all i."""
    root = np.arange(count)
    while not np.array_equal(root[a], root[b]):
        low, high = np.minimum(root[a], root[b]), np.maximum(root[a], root[b])
        np.minimum.at(root, high, low)
        while not np.array_equal(root, root[root]):
            root = root[root]
    return np.unique(root, return_inverse=True)[1]
