"""What images an array holds, by its shape and what the user names."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dpcnn.data.shapes import ANY, Form, NamedShape, image_forms, recognise, smoother
from dpcnn.errors import DataError

SIZES = st.integers(1, 40)


@settings(max_examples=25)
@given(shape=st.tuples(SIZES, SIZES, SIZES), count=st.integers(0, 3))
def test_every_form_of_images_whose_shape_is_named_is_recognised(
    shape: tuple[int, int, int], count: int
) -> None:
    for form in image_forms(shape):
        assert recognise((count, *form), shape).shape == shape
        assert recognise((count, *form), (shape[0], None, shape[2]), "chw").shape == shape


@pytest.mark.parametrize(
    ("array", "named", "shape"),
    [
        ((9, 784), ANY, (1, 28, 28)),
        ((9, 3072), ANY, (3, 32, 32)),
        ((9, 12288), ANY, (3, 64, 64)),
        ((9, 16384), ANY, (1, 128, 128)),
        ((9, 1), ANY, (1, 1, 1)),
        ((9, 1000), (None, 20, 50), (1, 20, 50)),
        ((9, 1000), (10, None, None), (10, 10, 10)),
        ((9, 1000), (1, 20, None), (1, 20, 50)),
        ((9, 1000), (1, None, 50), (1, 20, 50)),
        ((9, 1000), (None, 20, None), (1, 20, 50)),
        ((9, 8, 8), ANY, (1, 8, 8)),
        ((9, 8, 3), ANY, (1, 8, 3)),
        ((9, 3, 8, 9), ANY, (3, 8, 9)),
        ((9, 8, 8, 3), (8, None, None), (8, 8, 3)),
        ((9, 5, 8, 9), ANY, (5, 8, 9)),
    ],
)
def test_what_the_array_and_the_options_tell(
    array: tuple[int, ...], named: NamedShape, shape: tuple[int, int, int]
) -> None:
    assert recognise(array, named).shape == shape


@pytest.mark.parametrize(
    ("array", "named", "layout", "form"),
    [
        ((9, 28, 28, 1), ANY, "auto", Form((1, 28, 28), last=True)),
        ((9, 32, 48, 3), ANY, "auto", Form((3, 32, 48), last=True)),
        ((9, 32, 48, 4), ANY, "auto", Form((4, 32, 48), last=True)),
        ((9, 4, 32, 48), ANY, "auto", Form((4, 32, 48))),
        ((9, 3, 32, 3), ANY, "auto", Form((3, 32, 3))),
        ((9, 3, 32, 3), ANY, "hwc", Form((3, 3, 32), last=True)),
        ((9, 9, 32, 5), ANY, "auto", Form((9, 32, 5))),
        ((9, 9, 32, 5), (None, 9, 32), "auto", Form((5, 9, 32), last=True)),
        ((9, 32, 32, 3), ANY, "chw", Form((32, 32, 3))),
        ((9, 32, 48), ANY, "hwc", Form((1, 32, 48))),
        ((9, 3072), ANY, "hwc", Form((3, 32, 32), last=True)),
        ((9, 3072), ANY, "auto", Form((3, 32, 32), sure=False)),
        ((9, 784), ANY, "auto", Form((1, 28, 28))),
    ],
)
def test_channels_may_be_last(
    array: tuple[int, ...], named: NamedShape, layout: str, form: Form
) -> None:
    assert recognise(array, named, layout) == form


@pytest.mark.parametrize("shape", [(3, 20, 12), (3, 8, 30)])
def test_rows_are_read_in_the_order_in_which_images_are_smooth(shape: tuple[int, int, int]) -> None:
    rng = np.random.default_rng(0)
    smooth = rng.random((40, *shape)).cumsum(axis=2).cumsum(axis=3)
    noise = rng.random((40, *shape))
    for images, last in ((smooth, False), (smooth, True), (noise, False)):
        rows = images.transpose(0, 2, 3, 1) if last else images
        found = smoother(rows.reshape(40, -1), Form(shape, sure=False))
        assert found.last is last
        np.testing.assert_array_equal(found.images(rows.reshape(40, -1)), images)


ROWS = "expected rows of square images of 1 or 3 channels: name --num_channel, --img_height"


@pytest.mark.parametrize(
    ("array", "named", "parts"),
    [
        ((9, 1000), ANY, ["shape (9, 1000)", ROWS]),
        ((9, 783), ANY, ["shape (9, 783)", ROWS]),
        ((9, 0), ANY, ["shape (9, 0)", ROWS]),
        ((9, 2352), (None, 28, None), ["1x28x84 or 3x28x28: name all of --num_channel, --img_"]),
        ((9, 784), (None, 27, None), ["shape (9, 784), expected images with --img_height 27"]),
        ((9, 784), (3, None, 28), ["expected images with --num_channel 3, --img_width 28"]),
        ((9, 784), (1, 27, 28), ["expected (N, 756) or (N, 1, 27, 28) or (N, 27, 28)"]),
        ((9, 28, 27), (None, 28, 28), ["shape (9, 28, 27), expected images with --img_height 28"]),
        ((9, 1, 0, 3), ANY, ["shape (9, 1, 0, 3)"]),
        ((9, 1, 1, 2, 3), ANY, ["shape (9, 1, 1, 2, 3)"]),
        ((9,), ANY, ["shape (9,)"]),
        ((), ANY, ["shape ()"]),
    ],
)
def test_other_arrays_are_refused(
    array: tuple[int, ...], named: NamedShape, parts: list[str]
) -> None:
    with pytest.raises(DataError) as refused:
        recognise(array, named)
    assert all(part in str(refused.value) for part in parts), refused.value
