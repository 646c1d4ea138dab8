"""Pictures: a digit gives the same image whatever kind of file it comes in."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from dpcnn.data.sources import synthetic
from dpcnn.errors import DataError

pytest.importorskip("PIL", reason="Pillow is not installed (extra images)")
from PIL import Image

from dpcnn.data.formats import picture

SHAPE = (1, 28, 28)


@pytest.fixture(scope="module")
def scan():
    """A digit in black on white, (200, 240) uint8, off centre."""
    drawn, _ = synthetic.draw(1, seed=4)
    page = Image.new("L", (240, 200))
    page.paste(Image.fromarray(drawn[0]).resize((150, 150), Image.Resampling.BICUBIC), (70, 20))
    return 255 - np.asarray(page)


def prepared(image, path, **options):
    image.save(path, **options)
    return picture.read(path, SHAPE, prepare="digit")[0] / 255


@pytest.fixture
def plain(scan, tmp_path):
    return prepared(Image.fromarray(scan), tmp_path / "plain.png")


def transparent(scan, lightness):
    """The digit in one shade on a transparent background."""
    pixels = np.full((*scan.shape, 4), lightness, np.uint8)
    pixels[..., 3] = 255 - scan
    return Image.fromarray(pixels)


KINDS = {
    "light on dark": lambda scan: Image.fromarray(255 - scan),
    "16 bits": lambda scan: Image.fromarray(scan.astype(np.uint16) * 257),
    "16 bits, faint": lambda scan: Image.fromarray(40_000 + scan.astype(np.uint16) * 60),
    "palette": lambda scan: Image.fromarray(scan).quantize(64),
    "black on transparent": lambda scan: transparent(scan, 0),
    "white on transparent": lambda scan: transparent(scan, 255),
    "grey with alpha": lambda scan: Image.fromarray(scan).convert("LA"),
    "colours": lambda scan: Image.fromarray(np.stack([scan, scan // 2 + 127, scan], -1)),
}


@pytest.mark.parametrize("kind", KINDS)
def test_any_kind_of_png_gives_the_same_image(scan, plain, tmp_path, kind):
    image = prepared(KINDS[kind](scan), tmp_path / "other.png")
    assert np.abs(image - plain).mean() < 0.01


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
def test_a_jpeg_is_rotated_as_its_camera_recorded(scan, plain, tmp_path, mode):
    exif = Image.Exif()
    exif[0x0112] = 6  # rotate by 90 degrees clockwise
    lying = Image.fromarray(scan).rotate(90, expand=True).convert(mode)
    image = prepared(lying, tmp_path / "lying.jpg", exif=exif, quality=90)
    assert np.abs(image - plain).mean() < 0.01


@pytest.mark.parametrize("shape", [(1, 28, 28), (1, 21, 40), (1, 64, 64)])
def test_the_digit_fills_its_box_and_has_its_mass_in_the_middle(scan, tmp_path, shape):
    Image.fromarray(scan).save(tmp_path / "a.png")
    image = picture.read(tmp_path / "a.png", shape, prepare="digit")[0]
    assert image.shape == shape[1:]
    rows, columns = (np.flatnonzero(image.any(axis=axis)) for axis in (1, 0))
    sizes = np.array([np.ptp(rows) + 1, np.ptp(columns) + 1])
    ratios = sizes / (np.array(shape[1:]) * 20 / 28)
    assert ratios.max() == pytest.approx(1, abs=0.05)
    for axis, side in enumerate(shape[1:]):
        centre = np.average(np.arange(side), weights=image.sum(axis=1 - axis))
        assert centre == pytest.approx(side // 2, abs=0.51)


def test_a_shadow_and_specks_change_little(scan, plain, tmp_path):
    rng = np.random.default_rng(0)
    light = np.where(np.arange(240) + np.arange(200)[:, None] > 220, 1, 0.6)
    shaded = scan * light + rng.normal(0, 6, scan.shape)
    shaded[185:188, 10:13] = 0
    image = prepared(Image.fromarray(shaded.clip(0, 255).astype(np.uint8)), tmp_path / "a.png")
    assert np.abs(image - plain).mean() < 0.03


def test_a_picture_that_is_only_scaled_keeps_its_lightness(tmp_path):
    pixels = np.zeros((40, 80), np.uint8)
    pixels[:, 35:] = 200
    Image.fromarray(pixels).save(tmp_path / "a.png")
    image = picture.read(tmp_path / "a.png", (1, 4, 4), prepare="resize")
    np.testing.assert_allclose(image[0], [[0, 100, 200, 200]] * 4, atol=20)  # columns 20 to 59
    colours = picture.read(tmp_path / "a.png", (3, 4, 4), prepare="resize")
    assert colours.tolist() == [image[0].tolist()] * 3


def test_a_fax_of_two_levels_is_only_coarser(scan, plain, tmp_path):
    image = prepared(Image.fromarray(scan).convert("1", dither=0), tmp_path / "fax.png")
    assert np.abs(image - plain).mean() < 0.05


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (2, 2), (300, 3), (200, 200)])
@pytest.mark.parametrize("grey", [0, 128, 255])
def test_a_picture_of_one_colour_has_no_digit(tmp_path, size, grey):
    Image.new("L", size, grey).save(tmp_path / "a.png")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(DataError, match=r"a\.png: nothing on it, expected a digit"):
            picture.read(tmp_path / "a.png", SHAPE, prepare="digit")


def test_a_file_of_another_format_is_refused(tmp_path):
    Image.new("L", (30, 30)).save(tmp_path / "a.ppm")
    (tmp_path / "a.ppm").rename(tmp_path / "a.png")
    with pytest.raises(DataError, match="expected PNG, JPEG"):
        picture.read(tmp_path / "a.png", SHAPE, prepare="digit")
    with pytest.raises(DataError, match="images of 7 channels"):
        picture.read(tmp_path / "a.png", (7, 28, 28), prepare="digit")
