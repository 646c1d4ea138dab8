"""Every option of the convolution: against PyTorch, central differences and im2col."""

from __future__ import annotations

import importlib.util
import multiprocessing
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import DTypeLike

from dpcnn.errors import OptionError
from dpcnn.nn import Convolution
from dpcnn.nn.convolution import mec
from dpcnn.nn.convolution.choice import ALGORITHMS
from dpcnn.nn.plan import Plan
from tests.nn.convolution import torch_reference
from tests.nn.convolution.settings import Setting, results, settings_of
from tests.nn.layers import alone, check_layer, draw

KINDS = ("any", "pointwise", "depthwise")
kinds = pytest.mark.parametrize("kind", KINDS)
sweep = settings(derandomize=True, deadline=None, max_examples=25)

DEFAULTS = {"filters": 12, "stride": (1, 1), "padding": (0, 0), "dilation": (1, 1), "groups": 1}
COMMON: dict[str, tuple[tuple[int, int, int, int], dict[str, Any]]] = {
    "tutorial": ((1, 28, 28, 4), {"filter_size": (7, 7), "padding": (1, 1)}),
    "downsampling": ((4, 32, 32, 2), {"filter_size": (3, 3), "stride": (2, 2), "padding": (1, 1)}),
    "bottleneck": ((8, 8, 8, 3), {"filter_size": (1, 1), "bias": False}),
    "shortcut": ((4, 9, 8, 3), {"filter_size": (1, 1), "stride": (2, 2)}),
    "stem": ((3, 15, 16, 2), {"filter_size": (7, 7), "stride": (2, 2), "padding": "same"}),
    "mobilenet": ((6, 9, 11, 3), {"filter_size": (3, 3), "groups": 6, "padding": (1, 1)}),
    "resnext": ((8, 6, 7, 3), {"filter_size": (3, 3), "groups": 2, "padding": (1, 1)}),
}


@pytest.fixture(scope="module")
def torch_convolution() -> Iterator[Callable[..., Any]]:
    """PyTorch's convolution, in another process: tests of BLAS threads count those of this one."""
    if importlib.util.find_spec("torch") is None:
        pytest.skip("PyTorch is not installed")
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawn) as process:

        def call(inputs: list[Any], setting: Setting) -> Any:
            options = {name: setting.arguments[name] for name in ("stride", "dilation", "groups")}
            options["padding"] = setting.padding()
            return process.submit(torch_reference.convolution, inputs, **options).result()

        yield call


def assert_close(values: Any, expected: Any, tolerance: float) -> None:
    """Compare z, dx, dW and db, each relative to its largest expected value, or 1."""
    for name, value, other in zip(("z", "dx", "dW", "db"), values, expected, strict=False):
        atol = tolerance * max(1.0, float(np.abs(other).max()))
        np.testing.assert_allclose(value, other, rtol=0, atol=atol, err_msg=name)
    assert len(values) == len(expected)


@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float64, 1e-10), (np.float32, 1e-5)])
@pytest.mark.parametrize("name", COMMON)
def test_common_convolutions_equal_pytorchs(
    name: str, dtype: DTypeLike, tolerance: float, torch_convolution: Callable[..., Any]
) -> None:
    shape, arguments = COMMON[name]
    setting = Setting(shape, DEFAULTS | arguments)
    inputs, outputs = results(setting, dtype=dtype)
    assert_close(outputs, torch_convolution(inputs, setting), tolerance)


@kinds
@sweep
@given(st.data())
def test_a_convolution_equals_pytorchs(
    kind: str, torch_convolution: Callable[..., Any], data: st.DataObject
) -> None:
    setting = data.draw(settings_of(kind))
    for dtype, tolerance in ((np.float64, 1e-10), (np.float32, 1e-5)):
        inputs, outputs = results(setting, dtype=dtype)
        assert {output.dtype for output in outputs} == {np.dtype(dtype)}
        assert_close(outputs, torch_convolution(inputs, setting), tolerance)


@kinds
@sweep
@given(st.data())
def test_the_gradients_are_the_numeric_ones(kind: str, data: st.DataObject) -> None:
    setting = data.draw(settings_of(kind, max_size=4))
    check_layer(setting.layer(), draw(*setting.shape))


@kinds
@settings(sweep, max_examples=60)
@given(st.data())
def test_every_algorithm_computes_what_im2col_does(kind: str, data: st.DataObject) -> None:
    setting = data.draw(settings_of(kind))
    layer = setting.layer()
    layer.build(setting.shape[:-1])
    _, expected = results(setting, "im2col")
    for name, algorithm in ALGORITHMS.items():
        if algorithm.suits(layer.geometry):
            _, outputs = results(setting, name)
            assert_close(outputs, expected, tolerance=1e-12)


@pytest.mark.parametrize("copied", [True, False])
def test_mec_with_and_without_a_transposed_copy_computes_what_im2col_does(
    copied: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mec, "OFTEN", 0 if copied else 10**9)
    for shape, arguments in COMMON.values():
        setting = Setting(shape, DEFAULTS | arguments)
        _, outputs = results(setting, "mec")
        _, expected = results(setting, "im2col")
        assert_close(outputs, expected, tolerance=1e-12)


@pytest.mark.parametrize("copied", [True, False])
@pytest.mark.parametrize("name", COMMON)
def test_the_memory_needed_is_known_before_it_is_taken(
    name: str, copied: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mec, "OFTEN", 0 if copied else 10**9)
    (*shape, _), arguments = COMMON[name]
    layer = Convolution(**(DEFAULTS | arguments))
    alone(layer, tuple(shape), np.float32)
    needed = 4 * layer.workspace_size(images=16)
    dx = layer.backward(layer.forward(draw(*shape, 16, dtype=np.float32)))
    assert dx is not None
    taken = sum(buffer.nbytes for buffer in layer._buffers.values())
    assert 0.7 * taken < needed <= taken


@pytest.mark.parametrize(
    ("arguments", "shape", "expected"),
    [
        ({"filters": 4, "filter_size": 3}, (4, 9, 9), "mec"),
        ({"filters": 32, "filter_size": 3, "padding": 1}, (32, 9, 9), "winograd"),
        ({"filters": 32, "filter_size": 3, "padding": 1}, (31, 9, 9), "mec"),
        ({"filters": 32, "filter_size": 3, "padding": 1}, (16, 9, 24), "winograd"),
        ({"filters": 64, "filter_size": 3, "padding": 1}, (64, 9, 9), "winograd2d"),
        ({"filters": 64, "filter_size": 3, "padding": 1}, (63, 9, 9), "winograd"),
        ({"filters": 64, "filter_size": 3, "padding": 1, "groups": 2}, (64, 9, 9), "winograd"),
        ({"filters": 16, "filter_size": (5, 3)}, (16, 9, 32), "winograd2d"),
        ({"filters": 15, "filter_size": 5}, (16, 9, 9), "mec"),
        ({"filters": 32, "filter_size": 3, "padding": 3}, (32, 9, 9), "mec"),
        ({"filters": 32, "filter_size": 3, "stride": 2}, (32, 11, 11), "mec"),
        ({"filters": 32, "filter_size": 3}, (32, 9, 5), "im2col"),
        ({"filters": 4, "filter_size": 1}, (4, 9, 9), "pointwise"),
        ({"filters": 4, "filter_size": 1, "stride": 2}, (4, 9, 9), "pointwise"),
        ({"filters": 4, "filter_size": 1, "padding": 1}, (4, 9, 9), "mec"),
        ({"filters": 4, "filter_size": 3, "groups": 2}, (4, 9, 9), "mec"),
        ({"filters": 8, "filter_size": 3, "groups": 4}, (4, 9, 9), "depthwise"),
        ({"filters": 8, "filter_size": 1, "groups": 4}, (4, 9, 9), "depthwise"),
        ({"filters": 4, "filter_size": 3}, (1, 9, 9), "mec"),
        ({"filters": 4, "filter_size": 3, "stride": 2, "padding": 1}, (4, 9, 8), "im2col"),
        ({"filters": 4, "filter_size": 3, "dilation": (1, 2)}, (4, 9, 9), "mec"),
        ({"filters": 4, "filter_size": 3, "dilation": (2, 1)}, (4, 9, 9), "im2col"),
    ],
)
def test_the_fastest_algorithm_that_can_is_chosen_and_recorded(
    arguments: dict[str, Any], shape: tuple[int, int, int], expected: str
) -> None:
    layer = Convolution(**arguments)
    assert layer.config()["algorithm"] == "auto"
    layer.build(shape)
    assert layer.config()["algorithm"] == expected
    again = Convolution(**layer.config())
    again.build(shape)
    assert again.config() == layer.config()


def test_the_choice_is_made_anew_for_other_images() -> None:
    layer = Convolution(4, 3, groups=2)
    for channels, expected in ((2, "depthwise"), (4, "mec"), (2, "depthwise")):
        layer.build((channels, 7, 7))
        assert layer.algorithm == expected


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"algorithm": "fft"}, "Convolution's algorithm is 'fft', expected auto, depthwise, "),
        ({"algorithm": "pointwise"}, "'pointwise', expected 'auto' .*: pointwise computes 1x1"),
        ({"algorithm": "depthwise"}, "'depthwise', .*: depthwise computes two channels"),
        ({"algorithm": "mec", "dilation": 2}, "'mec', .* filters without dilated rows only"),
        ({"groups": 3}, "groups is 3, expected a divisor of its 4 filters"),
        ({"groups": 4}, "groups is 4, expected a divisor of the 6 channels of its input"),
        ({"groups": 0}, "groups is 0, expected an integer from 1"),
        ({"padding": "valid"}, "padding is 'valid', expected 'same', an integer or a pair of them"),
        ({"padding": (1, -1)}, "padding is -1, expected an integer from 0"),
        ({"dilation": 0}, "dilation is 0, expected an integer from 1"),
        ({"dilation": 9}, r"height \(8 - 19 \+ 2\*0\)/1 \+ 1 = -10, expected a positive"),
        ({"stride": (1, 2, 3)}, r"stride is \(1, 2, 3\), expected an integer or a pair"),
        ({"bias": 1}, "bias is 1, expected True or False"),
        ({"initializer": "he"}, "initializer is 'he', expected he_normal, he_uniform, "),
    ],
)  # fmt: skip
def test_a_wrong_argument_is_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        Plan([Convolution(4, 3, **arguments)], (6, 8, 8))


def test_a_filter_of_another_size_than_the_image_takes_same_padding() -> None:
    assert Convolution(2, 9, padding="same").build((1, 3, 4)) == (2, 3, 4)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({}, "Convolution(4 x 3x3, stride 1, padding 0)"),
        ({"stride": (1, 2), "padding": "same"}, "Convolution(4 x 3x3, stride 1x2, padding same)"),
        (
            {"dilation": 2, "groups": 2, "bias": False},
            "Convolution(4 x 3x3, stride 1, padding 0, dilation 2, 2 groups, no bias)",
        ),
    ],
)
def test_the_text_tells_what_is_not_usual(arguments: dict[str, Any], expected: str) -> None:
    assert repr(Convolution(4, 3, **arguments)) == expected


@kinds
@settings(sweep, max_examples=15)
@given(st.data())
def test_a_convolution_leaves_its_input_as_it_is(kind: str, data: st.DataObject) -> None:
    setting = data.draw(settings_of(kind))
    (x, *_), _ = results(setting)
    np.testing.assert_array_equal(x, draw(*setting.shape))
