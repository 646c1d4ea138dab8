"""The shape (C, H, W) of images, read off the shape of the array that holds them.

C, H, W: channels, height, width in pixels. An array holds N images as (N, C, H, W), as (N, H, W) if
they have one channel, with the channels last as (N, H, W, C), or as rows of either order.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dpcnn.errors import DataError

Array = NDArray[Any]

ImageShape = tuple[int, int, int]
NamedShape = tuple[int | None, int | None, int | None]  # None: as the array has it

ANY: NamedShape = (None, None, None)
OPTIONS = ("--num_channel", "--img_height", "--img_width")
COLOURS = (1, 3)  # channels that images have when nobody says so
LAST = (1, 3, 4)  # channels that images (H, W, C) have when nobody says so
LAYOUTS = {"auto": (False, True), "chw": (False,), "hwc": (True,)}  # whether the channels are last
CLEARLY = 0.8  # a reading is smoother than another if its pixels differ by less than that share


@dataclass(frozen=True)
class Form:
    """The shape (C, H, W) of images, and how they lie in an array.

    last: with the channels last. sure: whether nothing else is as likely. note: what to say of it.
    """

    shape: ImageShape
    last: bool = False
    sure: bool = True

    @property
    def note(self) -> str:
        """What to say of it, if anything."""
        return "channels last" if self.last and self.shape[0] > 1 else ""

    def images(self, values: Array) -> Array:
        """Return the images (n, C, H, W) of rows of the array."""
        channels, height, width = self.shape
        if not self.last:
            return values.reshape(-1, channels, height, width)
        return values.reshape(-1, height, width, channels).transpose(0, 3, 1, 2)


def image_forms(shape: ImageShape) -> list[tuple[int, ...]]:
    """Return the shapes that one image (C, H, W) may have in an array."""
    channels, height, width = shape
    return [(channels * height * width,), shape, *([(height, width)] if channels == 1 else [])]


def recognise(array_shape: tuple[int, ...], named: NamedShape = ANY, layout: str = "auto") -> Form:
    """Return the form of the images in an array of this shape.

    named: C, H, W as the user has them. Rows are square images of one channel or three, unless it
    says otherwise. Raises DataError, which says what was found and expected, for anything else.
    """
    forms = list(
        dict.fromkeys(
            form
            for last in LAYOUTS[layout]
            for form in _forms(array_shape[1:], named, last)
            if min(form.shape) > 0 and agrees(form.shape, named)
        )
    )
    if len(array_shape) == 4 and layout == "auto" and len(forms) == 2:
        forms = [forms[_is_last(array_shape)]]
    shapes = dict.fromkeys(form.shape for form in forms)
    if len(shapes) == 1:
        return replace(forms[0], sure=len(forms) == 1)
    if shapes:
        both = " or ".join("x".join(map(str, shape)) for shape in shapes)
        raise DataError(f"shape {array_shape}, images of {both}: name all of {', '.join(OPTIONS)}")
    raise DataError(f"shape {array_shape}, expected {_expected(array_shape, named)}")


def smoother(sample: Array, form: Form) -> Form:
    """Return the form with the channels first or last, in which images of rows are smoother.

    sample: some rows (n, C*H*W). Pixels one above the other are alike in the right order of the
    axes, and lie apart in the wrong one. First if neither is clearly smoother.
    """
    if form.shape[1] < 2:
        return form
    first, last = (
        np.abs(np.diff(replace(form, last=last).images(sample.astype(float)), axis=2)).mean()
        for last in (False, True)
    )
    return replace(form, last=bool(last < CLEARLY * first))


def agrees(shape: ImageShape, named: NamedShape) -> bool:
    """Tell whether the shape has what is named."""
    return all(size in (None, other) for size, other in zip(named, shape, strict=True))


def in_options(named: NamedShape) -> str:
    """Return what is named as options: --img_height 27."""
    pairs = zip(OPTIONS, named, strict=True)
    return ", ".join(f"{name} {size}" for name, size in pairs if size is not None)


def _forms(form: tuple[int, ...], named: NamedShape, last: bool) -> Iterator[Form]:
    """Yield the forms that images which take this shape in an array may have."""
    match form:
        case (first, second, third):
            yield Form((third, first, second), last) if last else Form((first, second, third))
        case (height, width):
            yield Form((1, height, width))
        case (values,):
            for shape in _readings_of_row(values, named):
                yield Form(shape, last and shape[0] > 1)


def _is_last(array_shape: tuple[int, ...]) -> bool:
    """Tell whether an array (N, a, b, c) which may be both has the channels last."""
    return array_shape[1] not in COLOURS and array_shape[3] in LAST


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
    return "(N, C*H*W) or (N, C, H, W) or (N, H, W) or (N, H, W, C)"
