"""Layers against PyTorch's: values, every gradient, running statistics, over drawn shapes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from dpcnn.nn import (
    ELU,
    GELU,
    AveragePooling,
    BatchNorm,
    GlobalAveragePooling,
    GroupNorm,
    LayerNorm,
    LeakyReLU,
    MaxPooling,
    ReLU,
    Sigmoid,
    SiLU,
    Tanh,
)
from tests.nn.against_torch import assert_near, compare, dtypes
from tests.nn.layers import alone, draw

torch = pytest.importorskip("torch", reason="PyTorch is the oracle of these tests")
torch.set_num_threads(1)

sweep = settings(derandomize=True, deadline=None, max_examples=15)
PARAMETERS = {"scale": "weight", "shift": "bias"}
sizes = st.integers(1, 6)
maps = st.tuples(sizes, sizes, sizes, sizes)  # (C, H, W, N)
flat = st.tuples(st.integers(1, 8), st.integers(1, 6))  # (features, N)


def drawn(shape: tuple[int, ...], dtype: Any, offset: float = 0) -> Any:
    return draw(*shape, dtype=dtype) + np.asarray(offset, dtype)


@dtypes
@sweep
@given(maps | flat, st.booleans(), st.booleans(), st.sampled_from([0.0, 3.0]))
def test_batch_norm_in_training(
    dtype: Any, tolerance: float, shape: Any, scale: bool, shift: bool, offset: float
) -> None:
    # With two or three values a channel they may be nearly the same, and 1/sqrt(variance) large.
    assume(np.prod(shape[1:]) > 3)
    layer = BatchNorm(momentum=0.3, eps=1e-3, scale=scale, shift=shift)
    module = getattr(torch.nn, f"BatchNorm{len(shape) // 2}d")(shape[0], eps=1e-3, momentum=0.3)
    wanted = {"scale": scale, "shift": shift}
    names = {name: PARAMETERS[name] for name in wanted if wanted[name]}
    compare(layer, module, drawn(shape, dtype, offset), names, tolerance)


@dtypes
@sweep
@given(maps | flat, st.booleans())
def test_batch_norm_moves_its_running_statistics_and_evaluates_with_them(
    dtype: Any, tolerance: float, shape: Any, affine: bool
) -> None:
    assume(np.prod(shape[1:]) > 1)
    layer = BatchNorm(momentum=0.3, scale=affine, shift=affine)
    module = getattr(torch.nn, f"BatchNorm{len(shape) // 2}d")(shape[0], momentum=0.3)
    network = alone(layer, shape[:-1], dtype)
    network.initialize(0)
    module.to(torch.float64 if dtype == np.float64 else torch.float32)
    for seed in range(3):
        x = draw(*shape, dtype=dtype, seed=seed) + np.asarray(seed, dtype)
        module(torch.from_numpy(np.moveaxis(x, -1, 0).copy()))
        network.forward(x.copy(), training=True)
        network.backward(np.zeros_like(x))
        network.update_state()
        assert_near(layer.mean, module.running_mean.numpy(), tolerance)
        assert_near(layer.variance, module.running_var.numpy(), tolerance)
    expected = module.eval()(torch.from_numpy(np.moveaxis(x, -1, 0).copy())).detach().numpy()
    assert_near(network.forward(x.copy()), np.moveaxis(expected, 0, -1), tolerance)


@dtypes
@sweep
@given(maps | flat, st.integers(1, 3), st.sampled_from([0.0, 3.0]))
def test_group_norm(dtype: Any, tolerance: float, shape: Any, groups: int, offset: float) -> None:
    shape = (shape[0] * groups, *shape[1:])
    assume(np.prod(shape[:-1]) > 3 * groups)
    module = torch.nn.GroupNorm(groups, shape[0], eps=1e-3)
    x = drawn(shape, dtype, offset)
    compare(GroupNorm(groups, eps=1e-3), module, x, PARAMETERS, tolerance)


@dtypes
@sweep
@given(maps | flat)
def test_layer_norm(dtype: Any, tolerance: float, shape: Any) -> None:
    assume(np.prod(shape[:-1]) > 3)
    flat_input = len(shape) == 2
    make = torch.nn.LayerNorm if flat_input else lambda c, eps: torch.nn.GroupNorm(1, c, eps)
    x = drawn(shape, dtype)
    compare(LayerNorm(1e-3), make(shape[0], eps=1e-3), x, PARAMETERS, tolerance)


@pytest.mark.parametrize(
    ("layer", "make"),
    [
        (BatchNorm(), torch.nn.BatchNorm2d),
        (GroupNorm(4), lambda channels: torch.nn.GroupNorm(4, channels)),
        (LayerNorm(), lambda channels: torch.nn.GroupNorm(1, channels)),
    ],
)
@dtypes
def test_maps_of_many_blocks(layer: Any, make: Any, dtype: Any, tolerance: float) -> None:
    """The loops over blocks, whole ones and the rest, with the sums of many values."""
    compare(layer, make(20), draw(20, 33, 32, 16, dtype=dtype), PARAMETERS, tolerance)


@dtypes
@pytest.mark.parametrize(
    ("layer", "module"),
    [
        (ReLU(), torch.nn.ReLU()),
        (LeakyReLU(0.2), torch.nn.LeakyReLU(0.2)),
        (ELU(), torch.nn.ELU()),
        (ELU(0.5), torch.nn.ELU(0.5)),
        (GELU(), torch.nn.GELU("tanh")),
        (SiLU(), torch.nn.SiLU()),
        (Sigmoid(), torch.nn.Sigmoid()),
        (Tanh(), torch.nn.Tanh()),
    ],
    ids=repr,
)
@pytest.mark.parametrize("shape", [(3, 4, 5, 6), (9, 4), (4, 50, 50, 11)], ids=str)
def test_activations(layer: Any, module: Any, dtype: Any, tolerance: float, shape: Any) -> None:
    compare(layer, module, 3 * draw(*shape, dtype=dtype), {}, tolerance)


@dtypes
@sweep
@given(maps, st.tuples(*[st.tuples(st.integers(1, 4), st.integers(1, 3))] * 2), st.booleans())
def test_pooling(dtype: Any, tolerance: float, shape: Any, sizes: Any, padded: bool) -> None:
    window, stride = zip(*sizes, strict=True)
    padding = tuple(extent // 2 if padded else 0 for extent in window)
    images = zip(shape[1:3], window, padding, strict=True)
    assume(all(size + 2 * p >= extent for size, extent, p in images))
    x = draw(*shape, dtype=dtype)
    for ours, theirs in (
        (MaxPooling, torch.nn.MaxPool2d),
        (AveragePooling, torch.nn.AvgPool2d),  # counts the padding
    ):
        compare(ours(window, stride, padding), theirs(window, stride, padding), x, {}, tolerance)


@dtypes
@sweep
@given(maps)
def test_global_average_pooling(dtype: Any, tolerance: float, shape: Any) -> None:
    module = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
    compare(GlobalAveragePooling(), module, draw(*shape, dtype=dtype), {}, tolerance)
