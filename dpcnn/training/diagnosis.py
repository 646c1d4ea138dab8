"""Why a run diverged: the first layer and quantity that was not finite, the same on all ranks.

A step whose sums are not finite has changed no parameter and no state, and whatever is random in it
is a function of the step. So its micro-batches can be computed again to the same bits, this time
with a look at everything that a layer returns. Of all ranks' findings the one of the lowest
micro-batch counts: what one process alone comes to first. The same holds for an evaluation, which
all ranks compute again, whichever of them made it.

A smaller learning rate is a cure only for values that have grown in training. So the micro-batch is
computed with the initial weights too: where the layer is given values as large from the start, or
gives something that is not finite then already, the fault is in it or in the data.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import NamedTuple

import numpy as np

from dpcnn.data.dataset import Images
from dpcnn.data.loader import Microbatch
from dpcnn.errors import DivergenceError
from dpcnn.inference.evaluation import mean_logits, microbatch_size, shard
from dpcnn.nn.contract import Method, largest, wrapped
from dpcnn.nn.layer import Array, Layer, descendants
from dpcnn.nn.losses import LossSums, softmax_cross_entropy
from dpcnn.nn.network import Network
from dpcnn.parallel.communicator import Communicator

Compute = Callable[[Microbatch], LossSums]  # a micro-batch's forward, loss and backward

CURE = ": try a smaller --lr"
GROWN = 10.0  # times as large as with the initial weights, and no less than this
LOSS = "the loss"


class Finding(NamedTuple):
    """What a rank has found: a quantity of a micro-batch, by name.

    norm: infinite if the quantity is not finite, else the norm of this gradient, the largest.
    number: of the micro-batch, or of its first image in an evaluation. remark: what there was
    before it. grown: whether that has grown since the first step.
    """

    norm: float
    number: int
    name: str
    remark: str = ""
    grown: bool = False


class NotFiniteError(Exception):
    """Carries out of a network what is not finite: its name, and of which layer it is."""

    def __init__(self, name: str, layer: str = "") -> None:
        super().__init__(name)
        self.name, self.layer = name, layer


def explain(
    error: DivergenceError,
    network: Network,
    microbatches: Iterable[Microbatch],
    compute: Compute,
    comm: Communicator,
    seed: int,
) -> str:
    """Return the error of a step in terms of its layers; collective.

    microbatches: this rank's of the step; compute: what the step makes of each; seed: of the
    initial weights. If everything was finite, a sum has gone past its range: if it is one of
    gradients, the parameter with the largest is named besides. Raises RankLostError.
    """
    if unsound := _unsound(network):
        return unsound
    first = _first_of_all(_Search(network, compute, seed).first(microbatches), comm)
    assert first is not None, "a step has micro-batches"
    if first.norm == np.inf:
        return _not_finite(first, f"in micro-batch {first.number}")
    if "gradient" not in str(error):
        return str(error)
    return (
        f"{error}; the largest gradient is that of {first.name} in micro-batch {first.number},"
        f" of norm {first.norm:.3g}{_cure(error, network, seed)}"
    )


def explain_evaluation(
    error: DivergenceError,
    network: Network,
    sets: Mapping[str, Images],
    tta: str,
    comm: Communicator,
    seed: int,
) -> str:
    """Return the error of an evaluation in terms of its layers; collective.

    network: with the values that were evaluated. sets: of images, by name, in the order in which
    they were evaluated; tta: as for `evaluate`; seed: of the initial weights. If everything was
    finite, the sum of the losses has gone past its range. Raises RankLostError.
    """
    if unsound := _unsound(network):
        return unsound
    for name, images in sets.items():
        search = _Search(network, partial(_evaluated, network, tta), seed)
        first = _first_of_all(search.first(_to_evaluate(network, images, comm)), comm)
        if first is not None and first.norm == np.inf:
            end = min(first.number + microbatch_size(network.plan, len(images)), len(images))
            return _not_finite(first, f"for {name} images {first.number + 1:,} to {end:,}")
    return f"{error}{_cure(error, network, seed)}"


def _to_evaluate(network: Network, images: Images, comm: Communicator) -> Iterator[Microbatch]:
    """Yield this rank's micro-batches of an evaluation, by the number of their first image."""
    for chosen in shard(network.plan, len(images), comm.rank, comm.size):
        yield Microbatch(int(chosen[0]), images.load(chosen), images.labels[chosen], None)


def _evaluated(network: Network, tta: str, microbatch: Microbatch) -> LossSums:
    """Return the sums of a micro-batch's loss in an evaluation."""
    labels = microbatch.labels
    return softmax_cross_entropy(mean_logits(network, microbatch.x, tta), labels, labels.size)


def _unsound(network: Network) -> str:
    """Return which of the network's values was not finite before it computed; "" if all were."""
    for layer, values in network.named_values().items():
        for key, value in values.items():
            if not _finite(value):
                return f"{layer}/{key} is not finite (NaN or infinity) before it{CURE}"
    return ""


def _first_of_all(finding: Finding | None, comm: Communicator) -> Finding | None:
    """Return the finding that counts, of those of all ranks; None if there is none; collective."""
    findings = filter(None, comm.allgather(finding))
    return max(findings, key=lambda finding: (finding.norm, -finding.number), default=None)


def _not_finite(first: Finding, where: str) -> str:
    """Return what was not finite first, and where."""
    cure = CURE * first.grown
    return f"{first.name} is not finite (NaN or infinity) {where}{first.remark}{cure}"


def _cure(error: DivergenceError, network: Network, seed: int) -> str:
    """Return what helps where weights have grown, unless the error says it; else ""."""
    return CURE * (CURE not in str(error) and _have_grown(network, seed))


class _Search:
    """Computes micro-batches again, and notes the largest value that each layer is given."""

    def __init__(self, network: Network, compute: Compute, seed: int) -> None:
        self.network, self.compute, self.seed = network, compute, seed
        self.layers = [layer for _, layer in descendants(network.plan.root)]
        self.inputs: dict[str, float] = {}
        self.gradients: dict[str, float] = {}

    def first(self, microbatches: Iterable[Microbatch]) -> Finding | None:
        """Return the first quantity that is not finite, else the largest gradient.

        None without work; of equal gradients the first.
        """
        most = None
        for microbatch in microbatches:
            x = microbatch.x.copy()  # which the first layer may overwrite
            try:
                self.look(microbatch)
            except NotFiniteError as error:
                return self.found(microbatch._replace(x=x), error)
            norm, name = _largest_gradient(self.network)
            if most is None or norm > most.norm:
                most = Finding(norm, microbatch.number, name)
        return most

    def look(self, microbatch: Microbatch) -> None:
        """Compute a micro-batch; raises NotFiniteError for the first quantity that is not finite.

        Afterwards `inputs` and `gradients` have the largest magnitudes that layers were given, by
        their names; the loss is given the logits.
        """
        self.inputs, self.gradients = {}, {}
        _check("an input image", microbatch.x)
        with wrapped(self.layers, self.forward, self.backward):
            loss = self.compute(microbatch)
        if not np.isfinite(loss.loss):
            raise NotFiniteError(LOSS, LOSS)
        for layer, key, _, part, trained in self.network.plan.slots:
            if not trained:
                name = f"the batch statistic {layer.name}/{key}"
                _check(name, self.network.sums[part], layer.name)

    def forward(self, layer: Layer, forward: Method) -> Method:
        """Return a layer's forward that is looked at."""

        def watched(x: Array) -> Array | None:
            self.inputs[layer.name] = largest(x)
            y = forward(x)
            _check(f"{layer.name}'s output (forward)", y, layer.name)
            self.inputs[LOSS] = 0.0 if y is None else largest(y)  # the last one counts
            return y

        return watched

    def backward(self, layer: Layer, backward: Method) -> Method:
        """Return a layer's backward that is looked at."""

        def watched(dy: Array) -> Array | None:
            _check(f"the gradient of {layer.name}'s output (backward)", dy, layer.name)
            self.gradients[layer.name] = largest(dy)
            dx = backward(dy)
            for key in layer.parameter_shapes:
                name = f"the gradient of {layer.name}/{key} (backward)"
                _check(name, getattr(layer, f"d{key}"), layer.name)
            _check(f"the gradient of {layer.name}'s input (backward)", dx, layer.name)
            return dx

        return watched

    def found(self, microbatch: Microbatch, error: NotFiniteError) -> Finding:
        """Return what is to be said of something that is not finite."""
        if not error.layer:
            return Finding(np.inf, microbatch.number, error.name)
        now = self.given(error.layer)
        with _initial_weights(self.network, self.seed):
            with contextlib.suppress(NotFiniteError):
                self.look(microbatch)
            before = self.given(error.layer)
        grown = any(now[name] > GROWN * max(before.get(name, np.inf), 1.0) for name in now)
        given = [f"{name} up to {now[name]:.3g}" for name in now if name != "weights"]
        remark = f"; {error.layer} is given {' and '.join(given)}"
        return Finding(np.inf, microbatch.number, error.name, remark, grown)

    def given(self, layer: str) -> dict[str, float]:
        """Return the largest magnitudes that a layer was given, as far as it came to that."""
        weights = self.network.named_values().get(layer, {}).values()
        named = {"inputs": self.inputs, "gradients": self.gradients}
        given = {name: values[layer] for name, values in named.items() if layer in values}
        return given | {"weights": max(map(largest, weights), default=0.0)}


def _have_grown(network: Network, seed: int) -> bool:
    """Tell whether the weights have become large since the first step."""
    now = largest(network.values)
    with _initial_weights(network, seed):
        return now > GROWN * max(largest(network.values), 1.0)


@contextlib.contextmanager
def _initial_weights(network: Network, seed: int) -> Iterator[None]:
    """Let the network have the values that it had before the first step."""
    values = network.values.copy()
    network.initialize(seed)
    try:
        yield
    finally:
        network.values[...] = values


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


def _check(name: str, values: Array | None, layer: str = "") -> None:
    if values is not None and not _finite(values):
        raise NotFiniteError(name, layer)


def _finite(values: Array) -> bool:
    return bool(np.isfinite(values).all())
