"""Images moved, mirrored, turned and scaled: each pixel is fetched from where it comes from.

Axes: x (C, H, W, N); a value for each image is (N,). Images are written over, and what comes in
from outside is 0. One gather serves all images: copies image by image would be short strided runs.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

Array = NDArray[Any]


class Geometry:
    """Moves the images of micro-batches; its buffers are made once for each shape."""

    def __init__(self) -> None:
        self._buffers: dict[tuple[str, tuple[int, ...]], Array] = {}

    def move(self, x: Array, flipped: Array, down: Array, right: Array, most: int) -> None:
        """Mirror the flipped images left to right, then move all by whole pixels, in place.

        flipped: bool; down, right: integers from -most to most.
        """
        _, height, width, count = x.shape
        plane = width + 2 * most
        columns = np.arange(width)[:, None] - right
        columns = np.where(flipped, width - 1 - columns, columns) + most
        rows = np.arange(height)[:, None] - down + most
        index = self._buffer("index", (height, width, count), np.intp)
        np.add((rows * plane * count)[:, None], columns * count + np.arange(count), out=index)
        for channel, padded in zip(x, self._padded(x, most, most), strict=True):
            np.take(padded.reshape(-1), index, out=channel, mode="clip")

    def reflect(self, x: Array, flipped: Array, down: Array, right: Array) -> None:
        """Mirror the flipped images, then move all by whole pixels, in place.

        As `move`, but what comes in from outside is the image, mirrored at its border without the
        border's own pixels; down, right: less than the height and the width.
        """
        _, height, width, count = x.shape
        columns = _mirrored(np.arange(width)[:, None] - right, width)
        columns = np.where(flipped, width - 1 - columns, columns)
        rows = _mirrored(np.arange(height)[:, None] - down, height)
        index = self._buffer("index", (height, width, count), np.intp)
        np.add((rows * width * count)[:, None], columns * count + np.arange(count), out=index)
        for channel, copied in zip(x, self._padded(x, 0, 0), strict=True):
            np.take(copied.reshape(-1), index, out=channel, mode="clip")

    def resample(
        self, x: Array, flipped: Array, down: Array, right: Array, angle: Array, factor: Array
    ) -> None:
        """Mirror and move images as `move` does, then turn and scale them about the centre.

        In place, with one bilinear interpolation. angle: in radians, counterclockwise; factor:
        larger than 1 makes larger.
        """
        _, _, width, count = x.shape
        row, column = self._sources(x, flipped, down, right, angle, factor)
        index, row_fraction, column_fraction = self._corners(row, column)
        row_length = (width + 3) * count
        for channel, padded in zip(x, self._padded(x, 1, 2), strict=True):
            flat = padded.reshape(-1)
            upper = self._between(flat, index, count, column_fraction, "upper")
            lower = self._between(flat[row_length:], index, count, column_fraction, "lower")
            lower -= upper
            lower *= row_fraction
            np.add(upper, lower, out=channel)

    def _sources(
        self, x: Array, flipped: Array, down: Array, right: Array, angle: Array, factor: Array
    ) -> tuple[Array, Array]:
        """Return the row and the column, (H, W, N) each, that each pixel comes from."""
        _, height, width, _ = x.shape
        middle_row, middle_column = (height - 1) / 2, (width - 1) / 2
        u = (np.arange(height) - middle_row)[:, None]
        v = (np.arange(width) - middle_column)[:, None]
        sine, cosine = np.sin(angle) / factor, np.cos(angle) / factor
        mirror = np.where(flipped, -1, 1)
        row, column = (self._buffer(name, x.shape[1:], x.dtype) for name in ("row", "column"))
        row_parts = cosine * u - down + middle_row, sine * v
        column_parts = (-sine * u - right) * mirror + middle_column, cosine * v * mirror
        for source, (of_row, of_column) in ((row, row_parts), (column, column_parts)):
            of_row, of_column = of_row.astype(x.dtype), of_column.astype(x.dtype)
            np.add(of_row[:, None], of_column[None], out=source)
        return row, column

    def _corners(self, row: Array, column: Array) -> tuple[Array, Array, Array]:
        """Return the index of the pixel up and left of each source, and how far the source is off.

        The index is one into an image with a border of one pixel up and left, two down and right.
        Sources that are further outside are brought to the border.
        """
        height, width, count = row.shape
        low = self._buffer("low", row.shape, row.dtype)
        index = self._buffer("index", row.shape, np.intp)
        other = self._buffer("other index", row.shape, np.intp)
        for source, most, corner in ((row, height, index), (column, width, other)):
            np.clip(source, -1, most, out=source)
            np.floor(source, out=low)
            source -= low
            np.copyto(corner, low, casting="unsafe")
        index *= width + 3
        index += other
        index += width + 4  # for the border
        index *= count
        index += np.arange(count)
        return index, row, column

    def _between(self, flat: Array, index: Array, right: int, fraction: Array, name: str) -> Array:
        """Return the interpolation between the pixels at an index and those on their right."""
        near = self._buffer(name, index.shape, flat.dtype)
        far = self._buffer("far", index.shape, flat.dtype)
        np.take(flat, index, out=near, mode="clip")
        np.take(flat[right:], index, out=far, mode="clip")
        far -= near
        far *= fraction
        near += far
        return near

    def _padded(self, x: Array, before: int, after: int) -> Array:
        """Return the images with rows and columns of zeros before and after them."""
        channels, height, width, count = x.shape
        border = before + after
        shape = (channels, height + border, width + border, count)
        padded = self._buffer(f"padded {before}", shape, x.dtype)
        padded[:, before : before + height, before : before + width] = x
        return padded

    def _buffer(self, name: str, shape: tuple[int, ...], dtype: DTypeLike) -> Array:
        """Return the buffer of that name and shape; a new one is 0."""
        key = (name, shape)
        if key not in self._buffers:
            self._buffers[key] = np.zeros(shape, dtype)
        return self._buffers[key]


def _mirrored(place: Array, size: int) -> Array:
    """Return places outside 0 to size - 1 mirrored at the nearer end."""
    inside: Array = (size - 1) - np.abs((size - 1) - np.abs(place))
    return inside
