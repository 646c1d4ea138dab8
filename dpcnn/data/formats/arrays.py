"""Arrays in memory as a dataset: read and checked as those of a file are, to the same bits."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dpcnn.data.formats.raw import Raw, parts
from dpcnn.data.formats.roles import ROLES
from dpcnn.errors import DataError
from dpcnn.system.text import one_line

WHERE = "arrays from Python"
NAMES = dict(zip(ROLES, ("X", "y", "x_test", "y_test"), strict=True))


def raw(
    x: ArrayLike,
    y: ArrayLike,
    x_test: ArrayLike | None = None,
    y_test: ArrayLike | None = None,
) -> Raw:
    """Return images and labels, and those to test on if there are any, as a reader does.

    x: (N, C, H, W), (N, H, W, C), (N, H, W) or (N, C*H*W); y: (N,), (N, 1) or one-hot rows; any
    type that a file may have. Raises DataError for images without labels, or what is no array.
    """
    values = dict(zip(ROLES, (x, y, x_test, y_test), strict=True))
    for images, labels in (ROLES[:2], ROLES[2:]):
        if (values[images] is None) != (values[labels] is None):
            missing = labels if values[labels] is None else images
            raise DataError(f"found no {NAMES[missing]}, expected images and their labels")
    arrays = {role: _array(each, NAMES[role]) for role, each in values.items() if each is not None}
    return Raw(f"{WHERE}: ", *parts(arrays, NAMES))


def _array(values: ArrayLike, name: str) -> NDArray[Any]:
    try:
        return np.asarray(values)
    except (ValueError, TypeError, RuntimeError) as error:  # rows of several lengths, a GPU tensor
        raise DataError(f"{name} is no array ({one_line(error)}), expected a NumPy array") from None
