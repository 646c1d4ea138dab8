"""Pictures of the usual formats, made into images like those that the network was trained on."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dpcnn.data.formats import ink
from dpcnn.errors import DataError, OptionError
from dpcnn.system.files import file_size
from dpcnn.system.text import one_line

if TYPE_CHECKING:
    from PIL.Image import Image

Array = NDArray[Any]

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp", ".gif")
FORMATS = ("PNG", "JPEG", "WEBP", "TIFF", "BMP", "GIF")
EXPECTED = "expected PNG, JPEG, WebP, TIFF, BMP or GIF"
MOST = 1 << 26  # pixels of a picture that is read; a decompression bomb has billions
LONGEST = 320  # pixels along the longer side, to which a picture of a digit is reduced
SMOOTH = 300  # the longer side over the radius of the blur that removes noise
MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}  # by number of channels


def read(path: Path, shape: tuple[int, int, int], prepare: str) -> Array:
    """Return the picture in a file as an image (C, H, W) uint8.

    prepare: `digit` for a photo or scan of a digit, to be made light on dark, scaled and centred
    like MNIST's images, unless it is one already; `resize`: the picture is only scaled, and cropped
    to its middle if its sides have another ratio; `none`: it has the size already. Raises DataError
    if this is no picture of that size, or no digit can be seen, OptionError without Pillow.
    """
    check_installed(path)
    from PIL import ImageOps

    channels, height, width = shape
    if channels not in MODES:
        raise DataError(
            f"{path}: a picture, expected images of {channels} channels in an .npy file"
        )
    try:
        picture = _open(path, 4 * max(width, height, LONGEST))
        if prepare == "none" and picture.size != (width, height):
            raise DataError(
                f"{picture.width} x {picture.height} pixels, expected {width} x {height}"
                " (--prepare resize brings it to that)"
            )
        if prepare == "digit" and not _is_ready(picture, (width, height)):
            return _digit(picture, (height, width))[None]
        fitted = ImageOps.fit(picture.convert(MODES[channels]), (width, height))
        return np.asarray(fitted).reshape(height, width, channels).transpose(2, 0, 1)
    except DataError as error:
        raise DataError(f"{path}: {error}") from None
    except Exception as error:  # Pillow's decoders raise errors of every kind
        reason = one_line(error)
        raise DataError(f"{path}: cannot be read ({reason}), {EXPECTED}") from error


def decode(path: Path, size: tuple[int, int] | None, grey: bool) -> Array:
    """Return the picture in a file as an image (C, H, W) uint8, of one channel if it is grey.

    size: (H, W) that it is scaled to, and cropped to its middle if its sides have another ratio;
    None: it keeps its own. grey: it loses its colours. Raises DataError, which does not name it.
    """
    from PIL import ImageOps

    try:
        picture = _open(path, 4 * max(size or (1 << 20, 0)))
        picture = picture.convert("L" if grey or picture.mode == "L" else "RGB")
        if size is not None and picture.size != size[::-1]:
            picture = ImageOps.fit(picture, size[::-1])
    except DataError:
        raise
    except Exception as error:  # Pillow's decoders raise errors of every kind
        raise DataError(f"cannot be read ({one_line(error)}), {EXPECTED}") from error
    pixels = np.asarray(picture)
    return pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)


def save(image: Array, path: Path) -> None:
    """Write an image (C, H, W) uint8 of one channel or three as a PNG file.

    Raises DataError if the disk does not take it, OptionError without Pillow.
    """
    check_installed(path)
    from PIL import Image

    try:
        Image.fromarray(image[0] if len(image) == 1 else image.transpose(1, 2, 0)).save(path, "PNG")
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}, expected a file to write") from error


def check_installed(path: Path) -> None:
    """Raise OptionError unless Pillow is installed."""
    try:
        import PIL.Image  # noqa: F401
    except ImportError as error:
        raise OptionError(
            f"{path}: reading pictures needs the package Pillow: pip install dpcnn[images]"
        ) from error


def _open(path: Path, enough: int) -> Image:
    """Return the picture in a file, upright, in 8-bit grey or colour, without transparency.

    If its shorter side has several times `enough` pixels it is reduced, to take less memory.
    """
    import PIL.Image
    from PIL import ImageOps

    file_size(path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about sizes, which are checked here, and metadata
        with PIL.Image.open(path, formats=FORMATS) as opened:
            if opened.width * opened.height > MOST:
                raise DataError(
                    f"{opened.width:,} x {opened.height:,} pixels, expected at most {MOST:,}"
                )
            opened.draft("RGB", (enough, enough))
            ImageOps.exif_transpose(opened, in_place=True)
            opened.load()
    picture: Image = opened
    if picture.mode.startswith(("I", "F")):  # 16 bits, which Pillow would clip at 255
        picture = PIL.Image.fromarray((np.asarray(picture) // 257).astype(np.uint8))
    elif picture.mode not in ("L", "RGB", "RGBA") or "transparency" in picture.info:
        picture = picture.convert("RGBA" if picture.has_transparency_data else "RGB")
    picture = picture.reduce(max(1, min(picture.size) // enough))
    return _opaque(picture) if picture.mode == "RGBA" else picture


def _opaque(picture: Image) -> Image:
    """Return a picture with transparency on a background: black if it is light, else white."""
    from PIL import Image

    grey, alpha = (
        np.asarray(band, np.float32) for band in (picture.convert("L"), picture.getchannel("A"))
    )
    light = np.sum(grey * alpha) > 127.5 * np.sum(alpha)
    background = Image.new("RGBA", picture.size, "black" if light else "white")
    return Image.alpha_composite(background, picture).convert("RGB")


def _is_ready(picture: Image, size: tuple[int, int]) -> bool:
    """Tell whether the picture already is like MNIST's: of size (W, H), with dark edges."""
    grey = np.asarray(picture.convert("L"))
    edges = np.concatenate([grey[0], grey[-1], grey[:, 0], grey[:, -1]])
    return picture.size == size and bool(np.median(edges) < 64)


def _digit(picture: Image, shape: tuple[int, int]) -> Array:
    """Return the digit in a picture as an image (H, W) uint8 like MNIST's."""
    from PIL import Image, ImageFilter

    grey = picture.convert("L")
    grey = grey.reduce(max(1, -(-max(grey.size) // LONGEST)))
    if max(grey.size) > SMOOTH // 2:
        grey = grey.filter(ImageFilter.GaussianBlur(max(grey.size) / SMOOTH))
    digit = ink.find(np.asarray(grey, np.float32) / 255)
    scale = min(ink.BOX * side / size for side, size in zip(shape, digit.shape, strict=True))
    height, width = (max(1, round(size * scale)) for size in digit.shape)
    full_size = Image.fromarray(digit.astype(np.float32))
    scaled = np.asarray(full_size.resize((width, height), Image.Resampling.HAMMING))
    return (ink.centred(scaled, shape) * 255).round().astype(np.uint8)
