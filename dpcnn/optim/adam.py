"""Adam, and AdamW, which decays the weights apart from the gradient."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import DTypeLike

from dpcnn.optim.optimizer import Array, Optimizer


class Adam(Optimizer):
    """Adam: Kingma and Ba, "Adam: a method for stochastic optimization", 2015.

    By the formulas and defaults of torch.optim.Adam. With g = gradient + weight_decay p and t
    counted from 1: m = beta1 m + (1 - beta1) g; v = beta2 v + (1 - beta2) g^2;
    p -= lr m / (1 - beta1^t) / (sqrt(v / (1 - beta2^t)) + eps). Slots: mean (m), mean_square (v).
    """

    coupled = True  # the weight decay goes through the gradient
    never_negative = ("mean_square",)

    def __init__(
        self,
        size: int,
        beta1: float = 0.9,
        beta2: float = 0.999,
        eps: float = 1e-8,
        weight_decay: float | Array = 0.0,
        dtype: DTypeLike = np.float32,
    ) -> None:
        super().__init__(size, ("mean", "mean_square"), weight_decay, dtype)
        self.beta1, self.beta2, self.eps = beta1, beta2, eps

    def _update_block(
        self, part: slice, p: Array, g: Array, lr: float | Array, step: int, temporary: Array
    ) -> None:
        m, v = self.slots["mean"][part], self.slots["mean_square"][part]
        if self.coupled:
            self._add_decay(part, p, g, temporary)
        elif self.decays:
            np.multiply(p, self.decay[part], out=temporary)
            temporary *= lr
            p -= temporary
        np.subtract(g, m, out=temporary)
        temporary *= 1 - self.beta1
        m += temporary
        np.multiply(g, g, out=g)
        g -= v
        g *= 1 - self.beta2
        v += g
        # Both bias corrections in the step size and in eps save a pass: with c = sqrt(1 - beta2^t),
        # m / (sqrt(v) / c + eps) = c m / (sqrt(v) + c eps).
        correction = math.sqrt(1 - self.beta2 ** (step + 1))
        np.sqrt(v, out=temporary)
        temporary += self.eps * correction
        np.divide(m, temporary, out=temporary)
        temporary *= lr * correction / (1 - self.beta1 ** (step + 1))
        p -= temporary


class AdamW(Adam):
    """Adam with decoupled weight decay: Loshchilov and Hutter, 2019 ("Decoupled weight decay...").

    As Adam, with g the plain gradient, and p -= lr weight_decay p before it. The default of
    torch.optim.AdamW for weight_decay is 0.01.
    """

    coupled = False
