"""What --watch tells of each layer at the end of an epoch: norms, the last update, dead ReLUs.

All of it is measured in the epoch's last step, by every rank alike: any of them may have to become
rank 0, and what they measure is the same on all. Nothing that training reads is changed.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from dpcnn.data.dataset import Images
from dpcnn.nn.activations import ReLU
from dpcnn.nn.contract import Method, wrapped
from dpcnn.nn.layer import Array, Layer
from dpcnn.nn.network import STATE_SCALE, Network
from dpcnn.optim.norms import norm
from dpcnn.training.state import Progress

IMAGES = 256  # of the training set, about, that a ReLU is dead for
Numbers = dict[str, float]


class Watch:
    """Measures the layers of a network.

    weights, gradient: the norms of a layer's parameters after the step, and of their reduced
    gradient in it, before clipping. update: the norm of what the step has changed, divided by that
    of the weights. batch_mean, batch_variance: of a normalisation, the step's batch statistics, the
    mean of their absolute values over the channels. dead: of a ReLU, the share of its features, or
    of its maps, that are 0 everywhere for every one of some training images, without augmentation.
    """

    def __init__(self, network: Network, images: Images, microbatch_size: int) -> None:
        self.network, self.images, self.size = network, images, microbatch_size
        self.relus = [layer for layer in network.plan.leaves.values() if isinstance(layer, ReLU)]
        self.trained: dict[str, slice] = {}
        self.statistics: list[tuple[str, str, slice]] = []
        for layer, key, _, part, trained in network.plan.slots:
            if trained:  # a layer's parameters lie one after the other
                start = self.trained.get(layer.name, part).start
                self.trained[layer.name] = slice(start, part.stop)
            elif layer.state_momentum:
                self.statistics.append((layer.name, f"batch_{key}", part))

    @contextmanager
    def step(self, progress: Progress) -> Iterator[None]:
        """Measure the update that the body makes from the reduced sums; keep it in the progress."""
        before = self.network.parameters.copy()
        found: dict[str, Numbers] = defaultdict(dict)
        for name, key, part in self.statistics:
            sums = np.abs(self.network.sums[part], dtype=np.float64)
            found[name][key] = float(np.mean(sums)) / STATE_SCALE
        gradients = {name: norm(self.network.gradient[part]) for name, part in self.trained.items()}
        yield
        np.subtract(self.network.parameters, before, out=before)
        for name, part in self.trained.items():
            weights = norm(self.network.parameters[part])
            update = norm(before[part]) / weights if weights else math.nan
            found[name] |= {"weights": weights, "gradient": gradients[name], "update": update}
        for name, share in self.dead().items():
            found[name]["dead"] = share
        names = (name for name in self.network.plan.leaves if name in found)
        progress.layers = [{"layer": name} | _plain(found[name]) for name in names]

    def dead(self) -> Numbers:
        """Return, by the name of each ReLU, the share of its features or maps that are dead."""
        alive: dict[str, Array] = {}

        def look(layer: Layer, forward: Method) -> Method:
            def looked(x: Array) -> Array | None:
                y = forward(x)
                assert y is not None, "a forward returns its output"
                positive = (y > 0).any(axis=tuple(range(1, y.ndim)))
                alive[layer.name] = np.logical_or(alive.get(layer.name, False), positive)
                return y

            return looked

        with wrapped(self.relus, look, lambda layer, backward: backward):
            for numbers in self._microbatches() if self.relus else ():
                self.network.forward(self.images.load(numbers))
        return {name: 1 - float(np.mean(each)) for name, each in alive.items()}

    def _microbatches(self) -> list[Array]:
        """Return the numbers of images from all over the training set, in micro-batches."""
        whole = max(1, min(IMAGES, len(self.images)) // self.size)
        count = min(whole * self.size, len(self.images))
        numbers = np.arange(count) * (len(self.images) // count)
        return np.split(numbers, range(self.size, count, self.size))


def _plain(numbers: Numbers) -> dict[str, Any]:
    """Return numbers with 6 digits, as JSON can hold them: None for one that is not finite."""
    return {
        name: float(f"{value:.6g}") if math.isfinite(value) else None
        for name, value in numbers.items()
    }
