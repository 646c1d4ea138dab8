"""The plain twins of the fast paths, written from the formulas, and the shapes to compare them on.

Axes as in dpcnn.nn: activations (C, H, W, N), filters (K, C, F, F), S stride, P padding.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

Array = NDArray[Any]


class Case(NamedTuple):
    """A micro-batch and the filter that runs over it."""

    shape: tuple[int, int, int, int]  # (C, H, W, N)
    filter_size: tuple[int, int]
    stride: int
    padding: int

    @property
    def output(self) -> tuple[int, int]:
        """(Ho, Wo)."""
        (_, height, width, _), (fh, fw) = self.shape, self.filter_size
        ho = (height - fh + 2 * self.padding) // self.stride + 1
        wo = (width - fw + 2 * self.padding) // self.stride + 1
        return ho, wo


@st.composite
def cases(draw: st.DrawFn, max_size: int = 9, max_images: int = 4) -> Case:
    """Draw any case with a valid output size: also P >= F, S > F and F > H."""
    stride, padding = draw(st.integers(1, 3)), draw(st.integers(0, 3))
    valid = [
        (size, filter_size)
        for size in range(1, max_size + 1)
        for filter_size in range(1, size + 2 * padding + 1)
        if (size - filter_size + 2 * padding) % stride == 0
    ]
    (height, fh), (width, fw) = draw(st.sampled_from(valid)), draw(st.sampled_from(valid))
    channels, images = draw(st.integers(1, 3)), draw(st.integers(1, max_images))
    return Case((channels, height, width, images), (fh, fw), stride, padding)


def pad(x: Array, padding: int) -> Array:
    """Return x with P rows and columns of zeros around every image."""
    return np.pad(x, ((0, 0), (padding, padding), (padding, padding), (0, 0)))


def window_at(
    i: int, j: int, size: tuple[int, int], stride: tuple[int, int]
) -> tuple[slice, slice]:
    """Return the rows and columns of the window of output pixel (i, j)."""
    (fh, fw), (sh, sw) = size, stride
    return slice(i * sh, i * sh + fh), slice(j * sw, j * sw + fw)


def _fields(case: Case) -> Iterator[tuple[tuple[int, int, int], tuple[Any, ...]]]:
    """Yield (i, j, n) and the index of output pixel (i, j)'s receptive field in the padded x."""
    (ho, wo), (fh, fw), stride = case.output, case.filter_size, case.stride
    for i, j, n in np.ndindex(ho, wo, case.shape[3]):
        yield (i, j, n), (slice(None), *window_at(i, j, (fh, fw), (stride, stride)), n)


def im2col(x: Array, case: Case) -> Array:
    """Return (C*F*F, Ho*Wo*N): one receptive field a column."""
    padded = pad(x, case.padding)
    return np.stack([padded[field].ravel() for _, field in _fields(case)], axis=1)


def convolution(x: Array, W: Array, b: Array, case: Case) -> Array:
    """Return z (K, Ho, Wo, N): each pixel the sum of its receptive field times the filter, + b."""
    padded = pad(x, case.padding)
    z = np.empty((len(W), *case.output, x.shape[3]), x.dtype)
    for (i, j, n), field in _fields(case):
        for k in range(len(W)):
            z[k, i, j, n] = np.sum(padded[field] * W[k]) + b[k]
    return z


def convolution_gradients(x: Array, W: Array, dz: Array, case: Case) -> tuple[Array, Array, Array]:
    """Return dW, db, dx for dz (K, Ho, Wo, N): the chain rule, one output pixel at a time."""
    padded = pad(x, case.padding)
    dW, db, dpadded = np.zeros_like(W), np.zeros(len(W), W.dtype), np.zeros_like(padded)
    for (i, j, n), field in _fields(case):
        for k in range(len(W)):
            dW[k] += dz[k, i, j, n] * padded[field]
            db[k] += dz[k, i, j, n]
            dpadded[field] += dz[k, i, j, n] * W[k]
    (_, height, width, _), padding = x.shape, case.padding
    return dW, db, dpadded[:, padding : padding + height, padding : padding + width]
