"""Images as pictures: of the dataset, as they are and augmented, of mistakes, of filters."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.image import imsave
from numpy.typing import NDArray

from dpcnn.data.augment import NOTHING, Augmentation, Augmenter, generator
from dpcnn.data.dataset import Images, as_batch
from dpcnn.report.results import Guess
from dpcnn.report.style import BLUE, ORANGE, WIDTH

Array = NDArray[Any]

LARGEST = 64  # pixels of a picture's side; of larger images every n-th pixel is shown
CLASSES = 20  # that samples are shown of
SAMPLES = 10  # of each class
FILTERS = 64  # that are shown
VERSIONS = 5  # of each augmented image


@dataclass(frozen=True)
class Picture:
    """Pixels (H, W), (H, W, 3) or (H, W, 4), uint8, their name, and a caption."""

    pixels: Array
    name: str
    caption: str

    @property
    def url(self) -> str:
        """The picture as a data: URL."""
        buffer = io.BytesIO()
        gray = self.pixels.ndim == 2
        pixels = np.repeat(self.pixels[:, :, None], 3, axis=2) if gray else self.pixels
        imsave(buffer, np.ascontiguousarray(pixels), format="png")
        return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def to_pixels(image: Array) -> Array:
    """Return an image (C, H, W), uint8 or in [0, 1], as pixels: three channels as colours.

    Of any other number of channels only the first is shown.
    """
    step = -(-max(image.shape[1:]) // LARGEST)
    thinned = image[:, ::step, ::step]
    if thinned.dtype != np.uint8:
        thinned = np.round(thinned * 255).astype(np.uint8)
    return np.moveaxis(thinned, 0, 2) if len(thinned) == 3 else thinned[0]


def samples(images: Images, name: Callable[[int], str] = str) -> list[Picture]:
    """Return one picture per class: its first images, side by side. name: of a class."""
    return [_row(images, label, name(label)) for label in np.unique(images.labels)[:CLASSES]]


def _row(images: Images, label: int, name: str) -> Picture:
    """Return the first images of a class with gaps between them, blank where there are fewer."""
    of_class = np.flatnonzero(images.labels == label)
    row = [_opaque(to_pixels(image)) for image in images.rows(of_class[:SAMPLES])]
    row += [np.zeros_like(row[0])] * (SAMPLES - len(row))
    return Picture(_side_by_side(row), name, f"{name}: {len(of_class):,} images")


def _side_by_side(row: Sequence[Array]) -> Array:
    """Return the pixels of several images with gaps between them."""
    gap = np.zeros((row[0].shape[0], 2, *row[0].shape[2:]), np.uint8)
    parts = [part for pixels in row for part in (gap, pixels)]
    return np.concatenate(parts[1:], axis=1)


def augmented(images: Images, augmentation: Augmentation) -> list[Picture]:
    """Return a picture of some images as they are, and pictures of them augmented; or nothing.

    One image of each class at most, so that mixtures are of different classes.
    """
    if augmentation == NOTHING:
        return []
    _, of_classes = np.unique(images.labels, return_index=True)
    chosen = of_classes[:SAMPLES]
    rows, augmenter = images.rows(chosen), Augmenter(augmentation)
    batches = {"original": rows}
    for version in range(1, VERSIONS + 1):
        x = as_batch(rows, np.float32)
        alternated = np.full(len(chosen), bool(augmentation.alternate) and version % 2 == 1)
        augmenter.augment(x, images.labels[chosen], generator(0, version, 0), alternated)
        batches[f"version {version}"] = np.moveaxis(x, 3, 0)
    return [
        Picture(_side_by_side([_opaque(to_pixels(image)) for image in batch]), name, name)
        for name, batch in batches.items()
    ]


def _opaque(pixels: Array) -> Array:
    """Return pixels (H, W) or (H, W, 3) as (H, W, 4): gaps are clear then, not black as borders."""
    colors = pixels if pixels.ndim == 3 else np.repeat(pixels[:, :, None], 3, axis=2)
    return np.dstack([colors, np.full(pixels.shape[:2], 255, np.uint8)])


def mistake(guess: Guess, name: Callable[[int], str] = str) -> Picture:
    """Return a wrongly classified image with both classes, by name, and their probabilities."""
    right, taken_for = name(guess.label), name(guess.classes[0])
    caption = f"{right} ({guess.label_probability:.1%})"
    caption += f"\nas {taken_for} ({guess.probabilities[0]:.1%})"
    return Picture(to_pixels(guess.image), f"a {right} classified as {taken_for}", caption)


def filters(W: Array) -> list[Picture]:
    """Return filters (K, C, F, F): of three channels in their colours, of others their mean.

    In colours each is scaled to its largest weight, and grey is zero. A mean is orange above zero,
    blue below, and clear at it, on one scale for all.
    """
    shown = np.nan_to_num(W[:FILTERS])
    if shown.shape[1] == 3:
        largest = np.maximum(np.abs(shown).max(axis=(1, 2, 3), keepdims=True), 1e-30)
        pixels = np.moveaxis(0.5 + 0.5 * shown / largest, 1, 3)
    else:
        means = shown.mean(axis=1)
        pixels = np.empty((*means.shape, 4))
        pixels[..., :3] = np.where((means < 0)[..., None], to_rgb(BLUE), to_rgb(ORANGE))
        pixels[..., 3] = (np.abs(means) / max(float(np.abs(means).max()), 1e-30)) ** 0.7
    tiles = np.round(pixels * 255).astype(np.uint8)
    return [Picture(tile, f"filter {place}", f"{place}") for place, tile in enumerate(tiles, 1)]


def sheet(pictures: Sequence[Picture], title: str, columns: int) -> Figure:
    """Return a figure of the pictures, row by row, with their captions."""
    rows = -(-len(pictures) // columns)
    height, width = pictures[0].pixels.shape[:2]
    figure = Figure(figsize=(WIDTH, 0.4 + rows * (WIDTH / columns * height / width + 0.35)))
    figure.suptitle(title, x=0.01, ha="left", fontsize=9.5, fontweight="bold")
    for chart in figure.subplots(rows, columns, squeeze=False).flat:
        chart.set_axis_off()
    for chart, picture in zip(figure.axes, pictures, strict=False):
        chart.imshow(picture.pixels, cmap="gray", vmin=0, vmax=255, interpolation="none")
        chart.set_title(picture.caption, loc="center", fontsize=6.5, fontweight="normal", pad=2)
    return figure
