"""Functions for --model whose networks are refused."""

from __future__ import annotations

from dpcnn.nn import (
    BatchNorm,
    Concatenate,
    Convolution,
    Dense,
    Dropout,
    Flatten,
    GlobalAveragePooling,
    GroupNorm,
    Layer,
    Residual,
)


def sure_dropout() -> list[Layer]:
    return [Flatten(), Dropout(1.0), Dense(10)]


def uneven_groups() -> list[Layer]:
    return [Convolution(6, 3, groups=4), GlobalAveragePooling(), Dense(10)]


def uneven_channels() -> list[Layer]:
    return [Convolution(6, 3), Convolution(8, 3, groups=4), GlobalAveragePooling(), Dense(10)]


def uneven_normalization() -> list[Layer]:
    return [Convolution(6, 3), GroupNorm(4), GlobalAveragePooling(), Dense(10)]


def flat_normalization() -> list[Layer]:
    return [Flatten(), Dense(20), BatchNorm(), Dense(10)]


def unknown_initializer() -> list[Layer]:
    return [Flatten(), Dense(10, initializer="xavier")]


def no_shortcut() -> list[Layer]:
    return [Residual([Convolution(6, 3)]), GlobalAveragePooling(), Dense(10)]


def uneven_branches() -> list[Layer]:
    return [Concatenate([Convolution(6, 3)], [Convolution(6, 5)]), Flatten(), Dense(10)]
