"""What an estimator is given: images of any range and form, labels of any kind, both checked."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from math import prod
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dpcnn.data.dataset import as_images
from dpcnn.data.formats import pixels
from dpcnn.data.formats.raw import Part
from dpcnn.data.shapes import recognise
from dpcnn.errors import DataError, DpcnnError

Array = NDArray[Any]


class InputError(DataError, ValueError):
    """Images or labels that no estimator can take."""


class NotFittedError(DpcnnError, ValueError, AttributeError):
    """An estimator is used before it is fitted."""


def not_fitted(name: str) -> Exception:
    """Return the error for that, scikit-learn's own where it is installed."""
    text = f"this {name} is not fitted yet, expected fit() or load() before"
    with contextlib.suppress(ImportError):
        from sklearn.exceptions import NotFittedError as Theirs

        theirs: Exception = Theirs(text)
        return theirs
    return NotFittedError(text)


@dataclass(frozen=True)
class Pixels:
    """How images are written: their shape (C, H, W), and the values of black and white."""

    shape: tuple[int, int, int]
    low: float
    high: float

    @property
    def values(self) -> int:
        """Values of an image."""
        return prod(self.shape)

    @classmethod
    def of(cls, X: ArrayLike, shape: tuple[int, int, int] | None) -> Self:
        """Return how the images that are trained on are written; raises InputError."""
        x = check_images(X)
        try:
            encoding = pixels.encoding_of(Part(x, x, "X", "y"), "X")
            low, high = encoding.low, encoding.high
        except DataError:
            low, high = float(x.min()), float(x.max())
        return cls(shape or _shape(x), low, high if high > low else low + 1)

    def images(self, X: ArrayLike) -> Array:
        """Return images as (N, C, H, W), uint8 or float32 in [0, 1]; raises InputError."""
        x = check_images(X)
        if x.ndim == 2 and x.shape[1] != self.values:
            raise InputError(
                f"X has {x.shape[1]} features, but Classifier is expecting {self.values} features"
                " as input"
            )
        if x.dtype != np.uint8:
            unit = (x.astype(np.float64) - self.low) / (self.high - self.low)
            x = unit.clip(0, 1).astype(np.float32)
        try:
            return as_images(x, self.shape)
        except DataError as error:
            raise InputError(str(error)) from None


def check_images(X: ArrayLike) -> Array:
    """Return images as an array of finite numbers; raises InputError, TypeError if sparse."""
    if hasattr(X, "toarray"):
        raise TypeError("found a sparse matrix, expected a dense array: X.toarray()")
    x = np.asarray(X)
    if x.dtype.kind == "O":
        x = x.astype(np.float64)
    if x.dtype.kind == "c":
        raise InputError("Complex data not supported: X holds complex numbers")
    if x.dtype.kind not in "fiub":
        raise InputError(f"X holds {x.dtype}, expected numbers")
    if x.ndim < 2:
        raise InputError(f"Expected 2D array or images, got shape {x.shape}. Reshape your data")
    if 0 in x.shape:
        what = "sample(s)" if x.shape[0] == 0 else "feature(s)"
        raise InputError(
            f"Found array with 0 {what} (shape={x.shape}) while a minimum of 1 is required."
        )
    if not np.isfinite(x).all():
        raise InputError("X holds NaN or infinity (NaN, inf), expected finite numbers")
    return x


def check_labels(y: Any) -> Array:
    """Return labels (N,) of one kind; raises InputError for what are no classes."""
    if y is None:
        raise InputError("Classifier requires y to be passed, but the target y is None")
    labels = np.asarray(y)
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim != 1 or not len(labels):
        raise InputError(f"y has shape {labels.shape}, expected (N,): bad input shape")
    if labels.dtype.kind == "f":
        if not np.isfinite(labels).all():
            raise InputError("Input y contains NaN or infinity (inf), expected labels")
        if (labels != np.rint(labels)).any():
            raise InputError("Unknown label type: continuous, expected classes")
    return labels


def _shape(x: Array) -> tuple[int, int, int]:
    """Return the shape of images that nobody has named."""
    try:
        return recognise(x.shape).shape
    except DataError:
        if x.ndim == 2:
            return 1, 1, x.shape[1]
        raise InputError(f"X has shape {x.shape}, expected images") from None
