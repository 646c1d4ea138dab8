"""What all optimizers share: their state by name, weight decay, and work in blocks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

Array = NDArray[Any]

# Values updated at a time. An update reads and writes parameters, gradient, slots and a temporary
# in several passes: five float32 vectors of this length are 320 KB, and stay in the L2 cache.
BLOCK = 16384


def blocks(start: int, stop: int) -> Iterator[slice]:
    """Yield the slices that cut a vector, from one place to another, into blocks."""
    for first in range(start, stop, BLOCK):
        yield slice(first, min(first + BLOCK, stop))


class Optimizer:
    """Updates a vector of parameters (P,) from its gradient; subclasses are the methods.

    slots: name -> vector (P,), the state that a checkpoint keeps. decay: the weight decay of each
    parameter (P,). lr_factors: what the learning rate of each parameter is multiplied with, (P,),
    or None. Each value is computed from those at its place alone, so blocks change no bit.
    never_negative: the slots that no sound checkpoint has a negative value in.
    """

    never_negative: tuple[str, ...] = ()

    def __init__(
        self,
        size: int,
        slots: tuple[str, ...] = (),
        weight_decay: float | Array = 0.0,
        dtype: DTypeLike = np.float32,
    ) -> None:
        """Make the optimizer of `size` parameters; weight_decay: of all, or of each (P,)."""
        self.slots: dict[str, Array] = {name: np.zeros(size, dtype) for name in slots}
        self.decay: Array = np.broadcast_to(np.asarray(weight_decay, dtype), (size,))
        self.decays = bool(np.any(weight_decay))
        self.lr_factors: Array | None = None
        self._temporary = np.empty(min(size, BLOCK), dtype)

    def update(self, parameters: Array, gradient: Array, lr: float, step: int) -> None:
        """Update parameters (P,) in place; overwrites gradient (P,).

        lr: the learning rate. step: how many updates there have been before.
        """
        for part in blocks(0, parameters.size):
            temporary = self._temporary[: part.stop - part.start]
            rate = self._rate_of(part, lr)
            self._update_block(part, parameters[part], gradient[part], rate, step, temporary)

    def _rate_of(self, part: slice, lr: float) -> float | Array:
        """Return the learning rate of a block: one for all, or one for each parameter."""
        return lr if self.lr_factors is None else self.lr_factors[part] * lr

    def _update_block(
        self, part: slice, p: Array, g: Array, lr: float | Array, step: int, temporary: Array
    ) -> None:
        """Update the parameters p of one block in place from their gradient g."""
        raise NotImplementedError

    def _add_decay(self, part: slice, p: Array, g: Array, temporary: Array) -> None:
        """g += decay * p: weight decay as a penalty on the loss, coupled with the gradient."""
        if self.decays:
            np.multiply(p, self.decay[part], out=temporary)
            g += temporary
