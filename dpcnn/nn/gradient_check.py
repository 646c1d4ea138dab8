"""Gradients against central differences, in float64: of any function, and of every layer."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from dpcnn.nn.contract import ContractError, rehearse
from dpcnn.nn.layer import Array, Layer, Shape
from dpcnn.nn.network import Network
from dpcnn.nn.plan import Plan

# Truncation ~ STEP^2, cancellation ~ 1e-16/STEP: both well below TOLERANCE. The smaller step is for
# a kink (of a ReLU, a maximum) that happens to lie between the two points of the larger one.
STEPS = (1e-5, 1e-6)
TOLERANCE = 1e-6
DIRECTIONS = 3  # random ones for each gradient
NOISE = 0.1  # is added to initial parameters: many are 0 or 1, where errors hide


class GradientError(ContractError):
    """A gradient is not that of the function; the message names layer, parameter and values."""


class Comparison(NamedTuple):
    """The derivative along one direction: that of a gradient (analytic), and a difference's.

    name: whose gradient: dense1/W, relu1/input. error: relative to the derivative, or to the root
    mean square of the gradient's values where the derivative is smaller than that, since its own
    digits are lost by cancellation.
    """

    name: str
    analytic: float
    numeric: float
    error: float

    @property
    def agrees(self) -> bool:
        """Whether the two are the same but for rounding; NaN never is."""
        return self.error <= TOLERANCE

    def __str__(self) -> str:
        return (
            f"{self.name}: analytic {self.analytic:.10g}, numeric {self.numeric:.10g},"
            f" relative difference {self.error:.2g}"
        )


def check_gradients(
    layers: Sequence[Layer], input_shape: Shape, images: int = 3, seed: int = 0
) -> list[Comparison]:
    """Return what compare_gradients does; raise GradientError if any gradient is wrong."""
    comparisons = compare_gradients(layers, input_shape, images, seed)
    wrong = [comparison for comparison in comparisons if not comparison.agrees]
    if wrong:
        others = f" (and {len(wrong) - 1} more)" if wrong[1:] else ""
        raise GradientError(f"the gradient of {wrong[0]}, expected at most {TOLERANCE}{others}")
    return comparisons


def compare_gradients(
    layers: Sequence[Layer], input_shape: Shape, images: int = 3, seed: int = 0
) -> list[Comparison]:
    """Compare every gradient of a network with central differences in random directions.

    First for each layer by itself, with respect to its input and to each of its parameters, then
    for all of them together: of those that are wrong, the first says where. The layers are copied,
    and made in float64, with random parameters, in training, with one key for all that is random.

    layers: as a network has them. input_shape: (C, H, W) or (features,). images: of the
    micro-batch. Raises OptionError where layers do not fit, ContractError where one breaks another
    promise than that of its gradients, GradientError where one gives something else than a float64
    of the right shape, or other values a second time.
    """
    plan = Plan(copy.deepcopy(list(layers)), input_shape)
    trained = Network(plan)  # float32, as in training
    trained.initialize(seed)
    rehearse(trained, images, own=False, finite=True)
    plan = Plan(copy.deepcopy(list(layers)), input_shape)
    comparisons = [
        comparison
        for name, layer in plan.leaves.items()
        for comparison in _compare(name, [copy.deepcopy(layer)], layer.input_shape, images, seed)
    ]
    return comparisons + list(_compare("all layers", layers, input_shape, images, seed))


class _Input(Layer):
    """Stands before the layers, and keeps the input gradient of the first."""

    def build(self, input_shape: Shape) -> Shape:
        return input_shape

    def forward(self, x: Array) -> Array:
        return x

    def backward(self, dy: Array) -> Array:
        self.dx = dy.copy()
        return dy


def _compare(
    name: str, layers: Sequence[Layer], input_shape: Shape, images: int, seed: int
) -> Iterator[Comparison]:
    """Yield a comparison for each parameter of the layers in a row, and for their input."""
    start = _Input()
    plan = Plan([start, *copy.deepcopy(list(layers))], input_shape, needs_dx=True)
    network = Network(plan, np.float64)
    rng = np.random.default_rng(seed)
    network.initialize(seed)
    network.parameters += NOISE * rng.standard_normal(network.parameters.size)
    x = rng.standard_normal((*input_shape, images))
    dy = rng.standard_normal((*plan.output_shape, images))

    def value(x: Array) -> float:
        y = network.forward(x.copy(), training=True, key=(seed, 0, 0))
        return float(np.vdot(dy, _checked(f"the output of {name}", y, dy.shape)))

    if value(x) != value(x):
        raise GradientError(
            f"{name} gives other values for the same input: draw what is random from"
            " self.generator()"
        )
    network.backward(dy.copy())
    gradient = network.gradient.copy()
    dx = _checked(f"the input gradient of {name}", start.dx, x.shape)
    for key, part in _parts(network, single=len(layers) == 1):

        def value_at(values: Array, part: slice = part) -> float:
            kept = network.parameters[part].copy()
            network.parameters[part] = values
            result = value(x)
            network.parameters[part] = kept
            return result

        at = network.parameters[part].copy()
        yield compare(f"{name}/{key}", value_at, at, gradient[part], random_directions(at.shape))
    yield compare(f"{name}/input", value, x, dx, random_directions(x.shape))


def _parts(network: Network, single: bool) -> Iterator[tuple[str, slice]]:
    """Yield the name and the part of the vector of each parameter; of all, unless single."""
    if single:
        for slot in network.plan.slots:
            if slot.trained:
                yield slot.key, slot.part
    elif network.parameters.size:
        yield "parameters", slice(0, network.parameters.size)


def _checked(what: str, values: Array, shape: Shape) -> Array:
    """Return values if they are float64 of this shape; else raise GradientError."""
    if values.dtype != np.float64 or values.shape != shape:
        raise GradientError(
            f"{what} is {values.dtype} of shape {values.shape}, expected float64 of {shape}: make"
            " arrays with self.buffer, or of self.dtype"
        )
    return values


def compare(
    name: str,
    value: Callable[[Array], float],
    x: Array,
    gradient: Array,
    directions: Iterable[Array],
) -> Comparison:
    """Compare a gradient (like x) with differences of value around x; return the worst direction.

    value must be smooth around x: keep away from kinks.
    """
    typical = float(np.sqrt(np.mean(np.square(gradient))))
    comparisons = [_along(direction, name, value, x, gradient, typical) for direction in directions]
    return max(comparisons, key=lambda each: np.nan_to_num(each.error, nan=np.inf))


def _along(
    direction: Array,
    name: str,
    value: Callable[[Array], float],
    x: Array,
    gradient: Array,
    typical: float,
) -> Comparison:
    """Compare the derivatives along one direction, with a smaller step if the first disagrees."""
    analytic = float(np.vdot(gradient, direction))
    for step in STEPS:
        numeric = (value(x + step * direction) - value(x - step * direction)) / (2 * step)
        difference, size = abs(analytic - numeric), max(abs(analytic), abs(numeric), typical)
        error = difference / size if difference else 0.0  # both may be 0
        comparison = Comparison(name, analytic, numeric, error)
        if comparison.agrees:
            break
    return comparison


def random_directions(shape: Shape, count: int = DIRECTIONS) -> Iterator[Array]:
    """Yield random unit vectors of this shape, the same in every call."""
    rng = np.random.default_rng(0)
    for _ in range(count):
        direction = rng.standard_normal(shape)
        yield direction / np.linalg.norm(direction)
