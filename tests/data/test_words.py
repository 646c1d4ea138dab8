"""The words of --augment: read in any order, or refused in one line that says what is expected."""

from __future__ import annotations

import pytest

from dpcnn.data.augment import NOTHING, Augmentation
from dpcnn.data.words import parse
from dpcnn.errors import OptionError

SHAPE = (3, 32, 28)


def test_words_and_arguments_are_read_in_any_order() -> None:
    every = (
        "mixup:0.2,flip, crop:4,reflect:3,shift:2,rotate:10,scale:0.1,cutout:8,brightness:0.2,"
        "contrast:1"
    )
    assert parse(every, SHAPE) == Augmentation(
        flip=1, crop=4, shift=2, rotate=10, scale=0.1, cutout=8, brightness=0.2, contrast=1,
        mixup=0.2, reflect=3,
    )  # fmt: skip
    in_order = (
        "flip crop:4 shift:2 reflect:3 rotate:10 scale:0.1 brightness:0.2 contrast:1 cutout:8"
        " mixup:0.2"
    )
    assert parse(every, SHAPE).words() == in_order.split()
    assert parse("flip", SHAPE) == Augmentation(flip=1)
    assert parse("alternate", SHAPE).words() == ["alternate"]
    assert parse(None, SHAPE) == NOTHING


def test_the_largest_arguments_are_read() -> None:
    assert parse("crop:14,cutout:28,rotate:180", SHAPE) == Augmentation(
        crop=14, cutout=28, rotate=180
    )


@pytest.mark.parametrize(
    ("text", "found", "expected"),
    [
        ("flop", "'flop'", "some of flip, alternate, crop:PIXELS, shift:PIXELS, reflect:PIX"),
        ("", "''", "some of flip"),
        ("flip,,crop:4", "''", "some of flip"),
        ("none,flip", "'none'", "some of flip"),
        ("Flip", "'Flip'", "some of flip"),
        ("flip,alternate", "'flip'", "flip or alternate, not both"),
        ("reflect:15", "'reflect:15'", "reflect:PIXELS, an integer from 1 up to 14 for images"),
        ("flip:1", "'flip:1'", "flip"),
        ("flip:", "'flip:'", "flip"),
        ("crop", "'crop'", "crop:PIXELS, an integer from 1 up to 14 for images of 32x28"),
        ("crop:", "'crop:'", "crop:PIXELS, an integer from 1 up to 14"),
        ("crop:4.5", "'crop:4.5'", "crop:PIXELS, an integer from 1 up to 14"),
        ("crop:0", "'crop:0'", "crop:PIXELS, an integer from 1 up to 14"),
        ("crop:15", "'crop:15'", "crop:PIXELS, an integer from 1 up to 14 for images of 32x28"),
        ("cutout:29", "'cutout:29'", "cutout:PIXELS, an integer from 1 up to 28 for images of"),
        ("rotate:-5", "'rotate:-5'", "rotate:DEGREES, a number above 0 up to 180"),
        ("rotate:nan", "'rotate:nan'", "rotate:DEGREES, a number above 0 up to 180"),
        ("rotate:inf", "'rotate:inf'", "rotate:DEGREES, a number above 0 up to 180"),
        ("scale:1", "'scale:1'", "scale:FRACTION, a number above 0 up to 0.9"),
        ("brightness:2", "'brightness:2'", "brightness:FRACTION, a number above 0 up to 1"),
        ("contrast:x", "'contrast:x'", "contrast:FRACTION, a number above 0 up to 1"),
        ("mixup:0", "'mixup:0'", "mixup:ALPHA, a number above 0 up to 100"),
        ("shift:2,flip,shift:3", "'shift:3'", "each word once, and shift was there before"),
    ],
)
def test_other_words_are_refused(text: str, found: str, expected: str) -> None:
    with pytest.raises(OptionError) as refused:
        parse(text, SHAPE)
    assert str(refused.value).startswith(f"--augment has {found}, expected {expected}")
    assert refused.value.collective


def test_images_may_be_too_small_for_a_word() -> None:
    with pytest.raises(OptionError, match="expected no crop for images of 1x9"):
        parse("crop:1", (1, 1, 9))
