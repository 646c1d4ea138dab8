"""A network: layers over flat vectors of parameters, gradient and state."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import DTypeLike

from dpcnn.nn.blocks import long_rows
from dpcnn.nn.layer import Array, Context, descendants
from dpcnn.nn.plan import Plan

# What a batch statistic is multiplied with on its way through the reduction, whose range is that of
# gradients: 2^11. A power of two, so that no bit is lost.
STATE_SCALE = 2.0**-10


class Network:
    """A plan with memory: its layers bound to vectors, in layer order.

    values: the `parameters`, and behind them the `state` that is not trained (running statistics).
    sums: the `gradient` of the parameters, and behind it the batch statistics of the state; what
    the ranks add up. Each layer's W, b, dW, db, mean, batch_mean are views into them; layers of
    another network leave it. The parameters are 0 until they are initialized or restored. Backward
    overwrites the whole gradient. dtype: float32; float64 is for gradient checks.
    """

    def __init__(self, plan: Plan, dtype: DTypeLike = np.float32) -> None:
        self.plan = plan
        self.layers = plan.layers
        self.context = Context()
        count = plan.parameter_count
        self.values: Array = np.zeros(count + plan.state_count, dtype)
        self.sums: Array = np.zeros_like(self.values)
        self.parameters, self.state = self.values[:count], self.values[count:]
        self.gradient, self.statistics = self.sums[:count], self.sums[count:]
        self._momentum = self._bind()

    def _bind(self) -> Array:
        """Give each layer its views; return how fast each value of the state moves."""
        momentum = np.zeros_like(self.values)
        for _, layer in descendants(self.plan.root):
            layer.dtype = self.values.dtype
            layer.context = self.context
        for layer, key, shape, part, trained in self.plan.slots:
            setattr(layer, key, self.values[part].reshape(shape))
            setattr(layer, f"{'d' if trained else 'batch_'}{key}", self.sums[part].reshape(shape))
            momentum[part] = 0 if trained else layer.state_momentum
        return momentum[self.parameters.size :].copy()

    def initialize(self, seed: int) -> None:
        """Draw all parameters anew: a pure function of the layers and the seed."""
        rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed)))
        self.plan.root.initialize(rng)

    @long_rows()
    def forward(
        self, x: Array, training: bool = False, key: tuple[int, int, int] = (0, 0, 0)
    ) -> Array:
        """Return the logits (classes, N) of the images x (C, H, W, N).

        training: whether backward will follow, on the images as a micro-batch. key: the run's seed,
        the step, and the micro-batch's number in the step, which decide what is random.
        """
        context = self.context
        context.training = training
        context.seed, context.step, context.microbatch = key
        return self.plan.root.forward(x)

    @long_rows()
    def backward(self, dlogits: Array, share: float = 1.0) -> None:
        """Write the gradient of the last forward's loss into `gradient`; dlogits (classes, N).

        share: of the images of the global minibatch, that these are. The batch statistics are
        multiplied with it: their sums are then means over the images of the minibatch.
        """
        self.plan.root.backward(dlogits)
        if self.statistics.size:
            np.multiply(self.statistics, share * STATE_SCALE, out=self.statistics)

    def update_state(self, fraction: float = 1.0) -> None:
        """Move the state towards the reduced batch statistics, by its momentum; overwrites them.

        fraction: how full the minibatch was. The last of an epoch may have few images, down to one,
        which say little about all: the state moves by that much less.
        """
        if self.state.size:
            np.multiply(self.statistics, 1 / STATE_SCALE, out=self.statistics)
            np.subtract(self.statistics, self.state, out=self.statistics)
            self.statistics *= self._momentum * self.state.dtype.type(fraction)
            self.state += self.statistics

    def named_values(self) -> dict[str, dict[str, Array]]:
        """Return layer name -> name -> view, of all parameters and state."""
        return self.views(self.values)

    def views(self, values: Array) -> dict[str, dict[str, Array]]:
        """Return layer name -> name -> view into a vector that is laid out as `values` is."""
        views: dict[str, dict[str, Array]] = {}
        for layer, key, shape, part, _ in self.plan.slots:
            views.setdefault(layer.name, {})[key] = values[part].reshape(shape)
        return views

    def restore(self, values: Mapping[str, Mapping[str, Array]]) -> None:
        """Take over values of this network's shapes: layer name -> name -> array."""
        for name, views in self.named_values().items():
            for key, view in views.items():
                view[...] = values[name][key]

    def weights_sha256(self) -> str:
        """Return the SHA-256 of the parameters as little-endian float32, in layer order."""
        return sha256([self.parameters])

    def __repr__(self) -> str:
        return f"Network({self.plan.root!r})"


def sha256(arrays: Iterable[Array]) -> str:
    """Return the SHA-256 of the values of arrays as little-endian float32, one after another."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(array.astype("<f4").tobytes())
    return digest.hexdigest()
