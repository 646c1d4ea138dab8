"""The whitening convolution: its filters are the principal components of image patches."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from dpcnn.nn.checks import check_number
from dpcnn.nn.convolution.choice import AUTO
from dpcnn.nn.convolution.layer import Convolution, Size
from dpcnn.nn.layer import Array, Shape

BLOCK = 100  # images whose patches are made at a time


class Whitening(Convolution):
    """A convolution without padding whose filters make patches of the training images white.

    Of all patches (C, Fh, Fw) of training images, the eigenvectors of the mean of p p^T, largest
    eigenvalue first, each divided by sqrt(eigenvalue + eps); then their negatives: 2*C*Fh*Fw
    filters. What comes out has uncorrelated channels of about unit variance. It must be the first
    layer. The filters are set once, before the first step, and kept as state: only the bias `b`
    (K,), 0 at first, is trained, if there is one.

    Sources: Page, "How to train your ResNet", 2018-2019; Jordan, "94% on CIFAR-10 in 3.29 seconds
    on a single GPU", 2024.

    filter_size: (Fh, Fw), one integer for both. eps: from 1e-12 to 1. bias, algorithm: as of
    Convolution.
    """

    state_momentum = 0.0
    fits_images = True

    batch_W: Array

    def __init__(
        self, filter_size: Size = 2, eps: float = 5e-4, bias: bool = True, algorithm: str = AUTO
    ) -> None:
        super().__init__(1, filter_size, bias=bias, algorithm=algorithm)
        self.eps = check_number("Whitening's eps", eps, 1e-12, 1)

    def build(self, input_shape: Shape) -> Shape:
        """Return (2*C*Fh*Fw, Ho, Wo) for (C, H, W); raises OptionError if no filter fits."""
        self.filters = 2 * math.prod(self.filter_size) * input_shape[0]
        output_shape = super().build(input_shape)
        self.state_shapes = {"W": self.parameter_shapes.pop("W")}
        return output_shape

    def fit(self, x: Array) -> None:
        """Set the filters from training images x (C, H, W, N), as the network sees them."""
        values = self.filters // 2
        products = np.zeros((values, values))
        count = 0
        for patches in self._patches(x):
            products += patches @ patches.T
            count += patches.shape[1]
        eigenvalues, vectors = np.linalg.eigh(products / count)
        filters = (vectors / np.sqrt(np.maximum(eigenvalues, 0) + self.eps)).T[::-1]
        self.W[...] = np.concatenate([filters, -filters]).reshape(self.W.shape)

    def _patches(self, x: Array) -> Iterator[Array]:
        """Yield all patches of some images after the other, (C*Fh*Fw, patches) float64."""
        for first in range(0, x.shape[-1], BLOCK):
            block = x[..., first : first + BLOCK].astype(np.float64)
            windows = np.lib.stride_tricks.sliding_window_view(block, self.filter_size, (1, 2))
            yield windows.transpose(0, 4, 5, 1, 2, 3).reshape(self.filters // 2, -1)

    def forward(self, x: Array) -> Array:
        """Return z = W * x + b, (K, Ho, Wo, N), for x (C, H, W, N)."""
        if self.training:
            self.batch_W[...] = self.W
        return super().forward(x)

    def backward(self, dz: Array) -> Array | None:
        """Write db = sum of dz, (K, Ho, Wo, N); return dx (C, H, W, N) if it is needed."""
        if self.bias:
            self.write_bias_gradient(dz)
        if not self.needs_dx:
            return None
        return self.write_gradients(dz, dW=self.buffer("dW", self.W.shape))  # which nobody reads

    def __repr__(self) -> str:
        fh, fw = self.filter_size
        return f"Whitening({fh}x{fw}{'' if self.bias else ', no bias'})"
