"""Why a step diverged: the first layer and quantity that was not finite, the same on all ranks.

A step whose sums are not finite has changed no parameter and no state, and whatever is random in it
is a function of the step. So its micro-batches can be computed again to the same bits, this time
with a look at everything that a layer returns. Of all ranks' findings the one of the lowest
micro-batch counts: what one process alone comes to first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np

from dpcnn.data.loader import Microbatch
from dpcnn.errors import DivergenceError
from dpcnn.nn.contract import Method, wrapped
from dpcnn.nn.layer import Array, Layer, descendants
from dpcnn.nn.losses import LossSums
from dpcnn.nn.network import Network
from dpcnn.parallel.communicator import Communicator

Compute = Callable[[Microbatch], LossSums]  # a micro-batch's forward, loss and backward


class Finding(NamedTuple):
    """What a rank has found: a quantity of a micro-batch, by name.

    norm: infinite if the quantity is not finite, else the norm of this gradient, the largest.
    """

    norm: float
    number: int
    name: str


class NotFiniteError(Exception):
    """Carries the name of what is not finite out of a network."""


def explain(
    error: DivergenceError,
    network: Network,
    microbatches: Iterable[Microbatch],
    compute: Compute,
    comm: Communicator,
) -> str:
    """Return the error of a step in terms of its layers; collective.

    microbatches: this rank's of the step; compute: what the step makes of each. If everything was
    finite, a sum has gone past its range: if it is one of gradients, the parameter with the largest
    is named besides. Raises RankLostError.
    """
    for layer, values in network.named_values().items():
        for key, value in values.items():
            if not _finite(value):
                return _not_finite(f"{layer}/{key}", "before it")
    findings = [*filter(None, comm.allgather(_search(network, microbatches, compute)))]
    if not findings:
        return str(error)
    first = max(findings, key=lambda finding: (finding.norm, -finding.number))
    if first.norm == np.inf:
        return _not_finite(first.name, f"in micro-batch {first.number}")
    if "gradient" not in str(error):
        return str(error)
    return (
        f"{error}; the largest gradient is that of {first.name} in micro-batch {first.number},"
        f" of norm {first.norm:.3g}"
    )


def _not_finite(name: str, where: str) -> str:
    return f"{name} is not finite (NaN or infinity) {where}: try a smaller --lr"


def _search(
    network: Network, microbatches: Iterable[Microbatch], compute: Compute
) -> Finding | None:
    """Return the first quantity that is not finite, else the largest gradient; None without work.

    Of equal gradients the first.
    """
    largest = None
    layers = [layer for _, layer in descendants(network.plan.root)]
    for microbatch in microbatches:
        try:
            _check("the images", microbatch.x)
            with wrapped(layers, _watched_forward, _watched_backward):
                loss = compute(microbatch)
            _check("the loss", np.array(loss.loss))
            _check_statistics(network)
        except NotFiniteError as error:
            return Finding(np.inf, microbatch.number, str(error))
        norm, name = _largest_gradient(network)
        if largest is None or norm > largest.norm:
            largest = Finding(norm, microbatch.number, name)
    return largest


def _watched_forward(layer: Layer, forward: Method) -> Method:
    def watched(x: Array) -> Array | None:
        y = forward(x)
        _check(f"{layer.name}'s output", y)
        return y

    return watched


def _watched_backward(layer: Layer, backward: Method) -> Method:
    def watched(dy: Array) -> Array | None:
        _check(f"the gradient of {layer.name}'s output", dy)
        dx = backward(dy)
        for key in layer.parameter_shapes:
            _check(f"the gradient of {layer.name}/{key}", getattr(layer, f"d{key}"))
        _check(f"the gradient of {layer.name}'s input", dx)
        return dx

    return watched


def _check_statistics(network: Network) -> None:
    for layer, key, _, part, trained in network.plan.slots:
        if not trained:
            _check(f"the batch statistic {layer.name}/{key}", network.sums[part])


def _largest_gradient(network: Network) -> tuple[float, str]:
    """Return the norm and the path of the parameter with the largest gradient, the first of equals.

    In float64, where the squares of float32 do not overflow.
    """
    gradients = [
        (float(np.linalg.norm(network.sums[part].astype(np.float64))), f"{layer.name}/{key}")
        for layer, key, _, part, trained in network.plan.slots
        if trained
    ]
    return max(gradients, key=lambda gradient: gradient[0])


def _check(name: str, values: Array | None) -> None:
    if values is not None and not _finite(values):
        raise NotFiniteError(name)


def _finite(values: Array) -> bool:
    return bool(np.isfinite(values).all())
