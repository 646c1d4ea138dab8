"""What a layer promises, looked at while it computes.

A user's own layers are looked at before training, all layers at every step with --debug.

A layer that breaks a promise does harm elsewhere: the next layer fails on its shape, or a gradient
that is written to an array of its own, not into the network's, is never seen by the optimizer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial

import numpy as np

from dpcnn.errors import DpcnnError
from dpcnn.nn.layer import Array, Layer, Shape, descendants
from dpcnn.nn.network import Network

Method = Callable[[Array], Array | None]
Wrap = Callable[[Layer, Method], Method]

METHODS = {"forward", "backward"}
FINITE = "finite values"


class ContractError(DpcnnError):
    """A layer does not do what Layer says; the message names the layer and what it did."""


@contextmanager
def wrapped(layers: Iterable[Layer], forward: Wrap, backward: Wrap) -> Iterator[None]:
    """Put a function in the place of each layer's forward, and one in that of its backward."""
    before = [
        (layer, {key: vars(layer)[key] for key in METHODS & vars(layer).keys()}) for layer in layers
    ]
    for layer, _ in before:
        # Attributes of the object go before the methods of its class.
        replacements = {
            "forward": forward(layer, layer.forward),
            "backward": backward(layer, layer.backward),
        }
        vars(layer).update(replacements)
    try:
        yield
    finally:
        for layer, methods in before:
            for key in METHODS:
                del vars(layer)[key]
            vars(layer).update(methods)


def is_own(layer: Layer) -> bool:
    """Tell whether a layer is of a user's own class."""
    return type(layer).__module__.partition(".")[0] != "dpcnn"


def rehearse(network: Network, images: int, own: bool = True, finite: bool = False) -> None:
    """Send random images through the network and back, and look at what its layers do.

    images: of the micro-batch. own: look at a user's own layers alone. finite: look for values
    that are not finite too. Overwrites the gradient and the batch statistics, and ends with zeros
    there. Raises ContractError that names the first layer that breaks a promise.
    """
    layers = [layer for _, layer in descendants(network.plan.root) if is_own(layer) or not own]
    if not layers:
        return
    rng, dtype = np.random.default_rng(0), network.values.dtype
    x = rng.random((*network.plan.input_shape, images)).astype(dtype)
    dy = rng.standard_normal((*network.plan.output_shape, images)).astype(dtype)
    try:
        with _looked_at(network, layers, finite), np.errstate(all="ignore"):
            network.forward(x, training=True)
            network.backward(dy)
    finally:
        network.sums.fill(0)


def checked(network: Network) -> AbstractContextManager[None]:
    """Return the context in which a micro-batch is computed with a look at all that layers do.

    Every value is looked at too. Raises ContractError there, as `rehearse` does.
    """
    return _looked_at(network, [layer for _, layer in descendants(network.plan.root)], finite=True)


@contextmanager
def _looked_at(network: Network, layers: Iterable[Layer], finite: bool) -> Iterator[None]:
    network.sums.fill(np.nan)  # which a gradient that is forgotten stays
    looks = (partial(look, finite=finite) for look in (_forward, _backward))
    with wrapped(layers, *looks):
        yield


def largest(values: Array) -> float:
    """Return the largest magnitude of values, NaN if one of them is."""
    return float(np.max(np.abs(values), initial=0))


@dataclass(frozen=True)
class _Look:
    """A method of a layer that is looked at: what it returns, changes, and writes.

    argument: what it is given, by name. shape: of what it must return, without the batch axis, None
    if nobody reads that. written: the layer's arrays that it fills. finite: look at all values.
    """

    layer: Layer
    method: Method
    argument: str
    shape: Shape | None
    written: list[str]
    finite: bool

    def __call__(self, given: Array) -> Array | None:
        layer = self.layer
        arrays = {key: getattr(layer, key) for key in (*layer.parameter_shapes, *self.written)}
        before = None if getattr(layer, f"overwrites_{self.argument}") else given.copy()
        bound = largest(given) if self.finite else 0.0
        if not np.isfinite(bound):
            raise self.error(f"was given {self.argument} with {_not_finite(given)}", FINITE)
        result = self.method(given)
        if self.shape is not None:
            self.check_result(result, (*self.shape, given.shape[-1]))
        if before is not None:
            self.check_given(given, before, result)
        self.check_arrays(arrays)
        if self.finite:
            values = {"its result": result} | {f"self.{key}": arrays[key] for key in self.written}
            self.check_finite(values, bound)
        return result

    def check_result(self, values: object, shape: Shape) -> None:
        """Raise ContractError unless values are an array of this shape and the layer's numbers."""
        if not isinstance(values, np.ndarray):
            raise self.error(f"returned {values!r:.100}", f"an array of shape {shape}")
        if values.shape != shape:
            promised = " (..., N), as build promised" * (self.argument == "x")
            raise self.error(f"returned shape {values.shape}", f"{shape}{promised}")
        if values.dtype != self.layer.dtype:
            cure = "make arrays with self.buffer, or of self.dtype"
            raise self.error(f"returned {values.dtype}", f"{np.dtype(self.layer.dtype)}: {cure}")

    def check_given(self, given: Array, before: Array, result: Array | None) -> None:
        """Raise ContractError if the argument was changed, or returned, though it must not be."""
        reason = f"since overwrites_{self.argument} is False"
        if not np.array_equal(given, before, equal_nan=True):
            raise self.error(f"changed {self.argument} in place", f"it as it was, {reason}")
        if self.argument == "x" and result is not None and np.shares_memory(given, result):
            raise self.error("returned a view of its input", f"an array of its own, {reason}")

    def check_arrays(self, before: dict[str, Array]) -> None:
        """Raise ContractError if one of the network's arrays was replaced, or not written."""
        for key, array in before.items():
            if getattr(self.layer, key) is not array:
                found = f"put another array in the place of self.{key}, which the network reads"
                raise self.error(found, f"self.{key}[...] = instead of self.{key} =")
        for key in self.written:
            if before[key].size and np.isnan(before[key]).all():
                found = f"wrote nothing into self.{key}, or added to what was there"
                raise self.error(found, f"self.{key}[...] = its values")

    def check_finite(self, named: dict[str, Array | None], bound: float) -> None:
        """Raise ContractError if one of these, made of inputs up to a bound, is not finite."""
        for name, values in named.items():
            if values is not None and not np.isfinite(values).all():
                found = f"gave {name} {_not_finite(values)}"
                raise self.error(found, f"{FINITE} for {self.argument} up to {bound:.3g}")

    def error(self, found: str, expected: str) -> ContractError:
        """Return the error that says what this method did, and what was expected of it."""
        method = "forward" if self.argument == "x" else "backward"
        return ContractError(f"{self.layer.name}: {method} {found}, expected {expected}")


def _not_finite(values: Array) -> str:
    return f"the value {values[~np.isfinite(values)][0]}"


def _forward(layer: Layer, method: Method, finite: bool) -> Method:
    statistics = [f"batch_{key}" for key in layer.state_shapes]
    return _Look(layer, method, "x", layer.output_shape, statistics, finite)


def _backward(layer: Layer, method: Method, finite: bool) -> Method:
    shape = layer.input_shape if layer.needs_dx else None
    return _Look(layer, method, "dy", shape, [f"d{key}" for key in layer.parameter_shapes], finite)
