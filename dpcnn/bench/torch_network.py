"""A network of dpcnn in PyTorch: the same layers, with copies of the same weights.

Only what measures or tests PyTorch imports this file, which imports PyTorch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from dpcnn import nn as dpcnn
from dpcnn.nn import Layer
from dpcnn.nn.dropout import LEVELS
from dpcnn.nn.layer import Array
from dpcnn.nn.plan import Plan

# After these a ReLU may overwrite what it gets, as torchvision's networks have it: nobody else
# reads it. In other places, such as at the start of a body, a shortcut may.
FRESH = (dpcnn.Convolution, dpcnn.Dense, dpcnn.BatchNorm, dpcnn.GroupNorm, dpcnn.Residual)

Module = Any  # torch.nn.Module
Make = Callable[[Any], Module]  # of the module for a layer


def network(plan: Plan, instead: Mapping[type[Layer], Make] | None = None) -> Module:
    """Return the module that does what the plan's layers do, for images (N, C, H, W).

    The layers are bound to a network, whose weights and running statistics are copied. instead:
    what makes the module for a kind of layer, in place of PyTorch's own. All layers of dpcnn.nn
    have an equivalent.
    """
    return _row(plan.layers, MAKERS | dict(instead or {}))


def _row(layers: Sequence[Layer], makers: Mapping[type[Layer], Make]) -> Module:
    """Return the modules of layers in a row."""
    modules = []
    for before, layer in zip([None, *layers], layers, strict=False):
        match layer:
            case dpcnn.Sequential():
                module = _row(layer.layers, makers)
            case dpcnn.Residual():
                shortcut = layer.shortcut.layers if layer.shortcut else []
                module = Residual(_row(layer.body.layers, makers), _row(shortcut, makers))
            case dpcnn.Concatenate():
                module = Concatenate([_row(branch.layers, makers) for branch in layer.branches])
            case dpcnn.ReLU():
                module = nn.ReLU(inplace=isinstance(before, FRESH))
            case _:
                module = makers[type(layer)](layer)
        modules.append(module)
    return nn.Sequential(*modules)


class Residual(nn.Module):  # type: ignore[misc]
    """body(x) + shortcut(x)."""

    def __init__(self, body: Module, shortcut: Module) -> None:
        super().__init__()
        self.body, self.shortcut = body, shortcut

    def forward(self, x: Any) -> Any:
        """Return the sum for x (N, C, H, W)."""
        return self.body(x) + self.shortcut(x)


class Concatenate(nn.Module):  # type: ignore[misc]
    """The branches' outputs for the same x, one behind the other along the channels."""

    def __init__(self, branches: Sequence[Module]) -> None:
        super().__init__()
        self.branches = nn.ModuleList(branches)

    def forward(self, x: Any) -> Any:
        """Return them for x (N, C, H, W)."""
        return torch.cat([branch(x) for branch in self.branches], dim=1)


def parameter(values: Array) -> Any:
    """Return a parameter with a copy of these values."""
    return nn.Parameter(torch.tensor(np.ascontiguousarray(values)))


def _convolution(layer: dpcnn.Convolution) -> Module:
    """Return a Conv2d, behind its padding where that is not the same on both sides."""
    axes = (layer.geometry.rows, layer.geometry.columns)
    numbers = (layer.filters, layer.filter_size, layer.stride)
    even = all(axis.before == axis.after for axis in axes)
    padding = tuple(axis.before if even else 0 for axis in axes)
    channels = layer.geometry.input_shape[0]
    module = nn.Conv2d(channels, *numbers, padding, layer.dilation, layer.groups, layer.bias)
    module.weight = parameter(layer.W)
    if layer.bias:
        module.bias = parameter(layer.b)
    if even:
        return module
    rows, columns = axes
    return nn.Sequential(
        nn.ZeroPad2d((columns.before, columns.after, rows.before, rows.after)), module
    )


def _dense(layer: dpcnn.Dense) -> Module:
    module = nn.Linear(*layer.W.shape, layer.bias)
    module.weight = parameter(layer.W.T)
    if layer.bias:
        module.bias = parameter(layer.b)
    return module


def _batch_norm(layer: dpcnn.BatchNorm) -> Module:
    kind = nn.BatchNorm2d if len(layer.input_shape) == 3 else nn.BatchNorm1d
    module = kind(*layer.shape, layer.eps, layer.momentum)
    module.weight = parameter(layer.scale) if layer.has_scale else None
    module.bias = parameter(layer.shift) if layer.has_shift else None
    module.running_mean, module.running_var = torch.tensor(layer.mean), torch.tensor(layer.variance)
    return module


def _group_norm(layer: dpcnn.GroupNorm) -> Module:
    module = nn.GroupNorm(layer.groups, layer.channels, layer.eps)
    module.weight, module.bias = parameter(layer.scale), parameter(layer.shift)
    return module


def _whitening(layer: dpcnn.Whitening) -> Module:
    """Return the convolution, whose filters are not trained."""
    module = _convolution(layer)
    module.weight.requires_grad_(False)
    return module


class Scale(nn.Module):  # type: ignore[misc]
    """x times a factor."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: Any) -> Any:
        """Return factor * x."""
        return self.factor * x


MAKERS: dict[type[Layer], Make] = {
    dpcnn.AveragePooling: lambda layer: nn.AvgPool2d(layer.window, layer.stride, layer.padding),
    dpcnn.BatchNorm: _batch_norm,
    dpcnn.Convolution: _convolution,
    dpcnn.Dense: _dense,
    dpcnn.Dropout: lambda layer: nn.Dropout(layer.dropped / LEVELS),
    dpcnn.ELU: lambda layer: nn.ELU(layer.alpha),
    dpcnn.Flatten: lambda layer: nn.Flatten(),
    dpcnn.GELU: lambda layer: nn.GELU(approximate="tanh"),
    dpcnn.GlobalAveragePooling: lambda layer: nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()),
    dpcnn.GroupNorm: _group_norm,
    dpcnn.LayerNorm: _group_norm,
    dpcnn.LeakyReLU: lambda layer: nn.LeakyReLU(layer.negative_slope),
    dpcnn.MaxPooling: lambda layer: nn.MaxPool2d(layer.window, layer.stride, layer.padding),
    dpcnn.ReLU: lambda layer: nn.ReLU(),
    dpcnn.Scale: lambda layer: Scale(layer.factor),
    dpcnn.SiLU: lambda layer: nn.SiLU(),
    dpcnn.Sigmoid: lambda layer: nn.Sigmoid(),
    dpcnn.Tanh: lambda layer: nn.Tanh(),
    dpcnn.Whitening: _whitening,
}
