"""The shape (C, H, W) of images, read off the shape of the array that holds them.

C, H, W: channels, height, width in pixels. An array holds N images as (N, C, H, W), as (N, H, W) if
they have one channel, or as rows (N, C*H*W).
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from dpcnn.errors import DataError

ImageShape = tuple[int, int, int]
NamedShape = tuple[int | None, int | None, int | None]  # None: as the array has it

ANY: NamedShape = (None, None, None)
OPTIONS = ("--num_channel", "--img_height", "--img_width")
COLOURS = (1, 3)  # channels that images have when nobody says so


def image_forms(shape: ImageShape) -> list[tuple[int, ...]]:
    """Return the shapes that one image (C, H, W) may have in an array."""
    channels, height, width = shape
    return [(channels * height * width,), shape, *([(height, width)] if channels == 1 else [])]


def recognise(array_shape: tuple[int, ...], named: NamedShape = ANY) -> ImageShape:
    """Return (C, H, W) of the images in an array of this shape.

    named: C, H, W as the user has them. Rows are square images of one channel or three, unless it
    says otherwise. Raises DataError, which says what was found and expected, for anything else.
    """
    readings = [
        reading
        for reading in _readings(array_shape[1:], named)
        if min(reading) > 0 and agrees(reading, named)
    ]
    if len(readings) == 1:
        return readings[0]
    if readings:
        both = " or ".join("x".join(map(str, reading)) for reading in readings)
        raise DataError(f"shape {array_shape}, images of {both}: name all of {', '.join(OPTIONS)}")
    raise DataError(f"shape {array_shape}, expected {_expected(array_shape, named)}")


def agrees(shape: ImageShape, named: NamedShape) -> bool:
    """Tell whether the shape has what is named."""
    return all(size in (None, other) for size, other in zip(named, shape, strict=True))


def in_options(named: NamedShape) -> str:
    """Return what is named as options: --img_height 27."""
    pairs = zip(OPTIONS, named, strict=True)
    return ", ".join(f"{name} {size}" for name, size in pairs if size is not None)


def _readings(form: tuple[int, ...], named: NamedShape) -> Iterator[ImageShape]:
    """Yield the shapes that an image of this form may have."""
    match form:
        case (channels, height, width):
            # (H, W, C), the order of other libraries, must not pass for an image of H channels.
            if named != ANY or channels in COLOURS or width not in COLOURS:
                yield channels, height, width
        case (height, width):
            yield 1, height, width
        case (values,):
            yield from _readings_of_row(values, named)


def _readings_of_row(values: int, named: NamedShape) -> Iterator[ImageShape]:
    """Yield the shapes of that many values, made of what is named, or square."""
    channels, height, width = named
    candidates = COLOURS if channels is None else (channels,)
    if channels is None and height is not None and width is not None:
        candidates = (values // (height * width),)
    for channels in candidates:
        pixels = values // max(1, channels)
        rows = height or (pixels // width if width else math.isqrt(pixels))
        columns = width or (pixels // height if height else rows)
        if channels * rows * columns == values:
            yield channels, rows, columns


def _expected(array_shape: tuple[int, ...], named: NamedShape) -> str:
    """Say what array was expected."""
    channels, height, width = named
    if channels is not None and height is not None and width is not None:
        forms = [str(("N", *form)) for form in image_forms((channels, height, width))]
        return " or ".join(forms).replace("'", "")
    if named != ANY:
        return f"images with {in_options(named)}"
    if len(array_shape) == 2:
        return f"rows of square images of 1 or 3 channels: name {', '.join(OPTIONS)}"
    return "(N, C*H*W) or (N, C, H, W) or (N, H, W)"
