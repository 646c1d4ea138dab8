"""Images drawn with characters, for a terminal."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

Array = NDArray[Any]

RAMP = " .:-=+*#%@"
COLUMNS = 80


def drawing(image: Array) -> list[str]:
    """Return the lines of an image (C, H, W), uint8 or in [0, 1], drawn with characters."""
    grey = image.mean(axis=0) / (255 if image.dtype == "uint8" else 1)
    step = -(-2 * grey.shape[1] // COLUMNS)  # a pixel is two characters wide
    shades = (grey[::step, ::step] * (len(RAMP) - 1)).round().astype(int)
    return ["".join(2 * RAMP[shade] for shade in row).rstrip() for row in shades]
