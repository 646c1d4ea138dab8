"""What real networks are made of, in a small one; Open MPI's environment has no test packages."""

from __future__ import annotations

from dpcnn.nn import (
    BatchNorm,
    Concatenate,
    Convolution,
    Dense,
    Dropout,
    GlobalAveragePooling,
    GroupNorm,
    Layer,
    MaxPooling,
    ReLU,
    Residual,
    SiLU,
)


def network() -> list[Layer]:
    """Return two normalisations, dropout and the composites, for images of any size from 6x6."""
    body = (Convolution(8, 3, padding=1, bias=False), BatchNorm(), ReLU(), Dropout(0.1))
    return [
        *(Convolution(8, 3, 2, 1, bias=False), BatchNorm(momentum=0.2), ReLU()),
        *(Residual([*body, Convolution(8, 3, padding=1), GroupNorm(2)]), SiLU(), MaxPooling(2)),
        Concatenate([Convolution(8, 1)], [Convolution(8, 3, padding=1, groups=8), BatchNorm()]),
        *(GlobalAveragePooling(), Dropout(0.2), Dense(10)),
    ]
