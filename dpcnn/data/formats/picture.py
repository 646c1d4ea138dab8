"""Pictures, PNG and JPEG files, brought to the form of the images that a network was trained on."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dpcnn.data.formats import ink
from dpcnn.errors import DataError, OptionError
from dpcnn.system import safe_hdf5

if TYPE_CHECKING:
    from PIL.Image import Image

Array = NDArray[Any]

SUFFIXES = (".png", ".jpg", ".jpeg")
FORMATS = ("PNG", "JPEG")
MOST = 1 << 26  # pixels of a picture that is read; a bomb has thousands of millions
LONGEST = 320  # pixels along the longer side of the picture that a digit is looked for in
SMOOTH = 300  # of the longer side is what is averaged against the noise
MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}  # by channels


def read(path: Path, shape: tuple[int, int, int], digit: bool) -> Array:
    """Return the picture of a file as an image (C, H, W) uint8.

    digit: a photo or scan of a digit becomes light on dark, scaled and centred as MNIST's images
    are. Otherwise, and where it is such an image already, it is only scaled, the middle of it if
    its sides are in another ratio. Raises DataError for a file that is no such picture, OptionError
    without Pillow.
    """
    try:
        from PIL import ImageOps
    except ImportError as error:
        raise OptionError(
            f"{path}: found no Pillow in this environment, expected it to read pictures:"
            " pip install dpcnn[images]"
        ) from error
    channels, height, width = shape
    if channels not in MODES:
        raise DataError(f"{path}: a picture, expected images of {channels} channels as .npy")
    try:
        picture = _open(path, 4 * max(width, height, LONGEST))
        if digit and not _is_ready(picture, (width, height)):
            return _digit(picture, (height, width))[None]
        fitted = ImageOps.fit(picture.convert(MODES[channels]), (width, height))
        return np.asarray(fitted).reshape(height, width, channels).transpose(2, 0, 1)
    except DataError as error:
        raise DataError(f"{path}: {error}") from None
    except Exception as error:  # Pillow's decoders raise whatever they meet
        reason = safe_hdf5.one_line(error)
        raise DataError(f"{path}: cannot be read ({reason}), expected PNG or JPEG") from error


def _open(path: Path, enough: int) -> Image:
    """Return the picture of a file, upright, in grey or colours of 8 bits, without transparency.

    One whose shorter side has several times `enough` pixels is reduced, to take less memory.
    """
    import PIL.Image
    from PIL import ImageOps

    safe_hdf5.file_size(path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of sizes, which are refused here, and of metadata
        with PIL.Image.open(path, formats=FORMATS) as opened:
            if opened.width * opened.height > MOST:
                raise DataError(
                    f"{opened.width:,} x {opened.height:,} pixels, expected at most {MOST:,}"
                )
            opened.draft("RGB", (enough, enough))
            ImageOps.exif_transpose(opened, in_place=True)
            opened.load()
    picture: Image = opened
    if picture.mode.startswith(("I", "F")):  # 16 bits, which Pillow would cut off at 255
        picture = PIL.Image.fromarray((np.asarray(picture) // 257).astype(np.uint8))
    elif picture.mode not in ("L", "RGB", "RGBA") or "transparency" in picture.info:
        picture = picture.convert("RGBA" if picture.has_transparency_data else "RGB")
    picture = picture.reduce(max(1, min(picture.size) // enough))
    return _opaque(picture) if picture.mode == "RGBA" else picture


def _opaque(picture: Image) -> Image:
    """Return the picture on a ground: black under something light, else white."""
    from PIL import Image

    grey, alpha = (
        np.asarray(each, np.float32) for each in (picture.convert("L"), picture.getchannel("A"))
    )
    light = np.sum(grey * alpha) > 127.5 * np.sum(alpha)
    ground = Image.new("RGBA", picture.size, "black" if light else "white")
    return Image.alpha_composite(ground, picture).convert("RGB")


def _is_ready(picture: Image, size: tuple[int, int]) -> bool:
    """Tell whether it is an image of the training's size, with dark edges."""
    grey = np.asarray(picture.convert("L"))
    edges = np.concatenate([grey[0], grey[-1], grey[:, 0], grey[:, -1]])
    return picture.size == size and bool(np.median(edges) < 64)


def _digit(picture: Image, shape: tuple[int, int]) -> Array:
    """Return the digit on a picture as an image (H, W) uint8 in the form of MNIST's."""
    from PIL import Image, ImageFilter

    grey = picture.convert("L")
    grey = grey.reduce(max(1, -(-max(grey.size) // LONGEST)))
    if max(grey.size) > SMOOTH // 2:
        grey = grey.filter(ImageFilter.GaussianBlur(max(grey.size) / SMOOTH))
    found = ink.find(np.asarray(grey, np.float32) / 255)
    scale = min(ink.BOX * side / size for side, size in zip(shape, found.shape, strict=True))
    height, width = (max(1, round(size * scale)) for size in found.shape)
    fine = Image.fromarray(found.astype(np.float32))
    digit = np.asarray(fine.resize((width, height), Image.Resampling.HAMMING))
    return (ink.centred(digit, shape) * 255).round().astype(np.uint8)
