"""Images as pictures: of the dataset, of mistakes, of filters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from dpcnn.data.dataset import Images
from dpcnn.report.figures import BLUE, ORANGE, WIDTH

Array = NDArray[Any]

LARGEST = 64  # pixels of a picture's side; larger images are thinned out
CLASSES, EACH = 20, 10  # classes of a sample sheet at most, and images of each
FILTERS = 64  # that are shown


@dataclass(frozen=True)
class Tile:
    """A picture (H, W), (H, W, 3) or (H, W, 4), uint8, and what stands under it."""

    pixels: Array
    caption: str


def pixels(image: Array) -> Array:
    """Return an image (C, H, W), uint8 or in [0, 1], as a picture; of odd channels the first."""
    step = -(-max(image.shape[1:]) // LARGEST)
    thin = image[:, ::step, ::step]
    values = thin if thin.dtype == np.uint8 else np.round(thin * 255).astype(np.uint8)
    return np.moveaxis(values, 0, 2) if len(values) == 3 else values[0]


def samples(images: Images) -> list[Tile]:
    """Return the first images of each class, side by side in one picture a class."""
    tiles = []
    for label in np.unique(images.labels)[:CLASSES]:
        rows = images.rows(np.flatnonzero(images.labels == label)[:EACH])
        found = [pixels(image) for image in rows]
        gap = np.zeros((found[0].shape[0], 2, *found[0].shape[2:]), np.uint8)
        row = [part for each in found for part in (gap, each)][1:]
        blank = np.zeros_like(found[0])
        row += [part for _ in range(EACH - len(found)) for part in (gap, blank)]
        count = int((images.labels == label).sum())
        tiles.append(Tile(np.concatenate(row, axis=1), f"{label}: {count:,} images"))
    return tiles


def filters(W: Array) -> list[Tile]:
    """Return filters (K, C, F, F), the mean over C: orange above zero, blue below, clear at it."""
    means = W[:FILTERS].mean(axis=1)
    strength = np.abs(means) / max(float(np.abs(means).max()), 1e-30)
    colors = [[int(color[at : at + 2], 16) for at in (1, 3, 5)] for color in (BLUE, ORANGE)]
    rgba = np.empty((*means.shape, 4), np.uint8)
    rgba[..., :3] = np.where((means < 0)[..., None], *colors)
    rgba[..., 3] = np.round(np.nan_to_num(strength) ** 0.7 * 255)
    return [Tile(each, str(number)) for number, each in enumerate(rgba, 1)]


def sheet(tiles: Sequence[Tile], title: str, columns: int) -> Figure:
    """Return a figure of the tiles, row by row."""
    rows = -(-len(tiles) // columns)
    shape = tiles[0].pixels.shape
    height = WIDTH / columns * shape[0] / shape[1] + 0.35
    figure = Figure(figsize=(WIDTH, 0.4 + rows * height))
    figure.suptitle(title, x=0.01, ha="left", fontsize=9.5, fontweight="bold")
    for chart in figure.subplots(rows, columns, squeeze=False).flat:
        chart.set_axis_off()
    for chart, tile in zip(figure.axes, tiles, strict=False):
        chart.imshow(tile.pixels, cmap="gray", vmin=0, vmax=255, interpolation="none")
        chart.set_title(tile.caption, loc="center", fontsize=6.5, fontweight="normal", pad=2)
    return figure
