"""A network as a graph of ONNX operators, in plain data: onnx.py writes it into a file.

Activations are (N, C, H, W), or (N, features), in the graph: the batch is outermost there. Only
operators of opset 17 and before are used: what came later is laid out in several.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dpcnn.data.normalize import Normalization, smallest_std
from dpcnn.errors import DpcnnError
from dpcnn.nn import (
    ELU,
    GELU,
    AveragePooling,
    BatchNorm,
    Concatenate,
    Convolution,
    Dense,
    Dropout,
    Flatten,
    GlobalAveragePooling,
    GroupNorm,
    Layer,
    LayerNorm,
    LeakyReLU,
    MaxPooling,
    ReLU,
    Residual,
    Scale,
    Sequential,
    Sigmoid,
    SiLU,
    Tanh,
    Whitening,
)

Array = NDArray[Any]


class Node(NamedTuple):
    """An operator; what it takes and gives are names of values."""

    operator: str
    inputs: list[str]
    output: str
    attributes: Mapping[str, Any]


@dataclass
class Graph:
    """Operators in the order in which they are computed, and constants by name."""

    nodes: list[Node] = field(default_factory=list)
    constants: dict[str, Array] = field(default_factory=dict)

    def add(self, operator: str, inputs: list[str], output: str, **attributes: Any) -> str:
        """Append an operator; return its output, to be the input of the next."""
        self.nodes.append(Node(operator, inputs, output, attributes))
        return output

    def constant(self, name: str, values: Any, dtype: type = np.float32) -> str:
        """Add an array; return its name, to be an input."""
        self.constants[name] = np.asarray(values, dtype)
        return name

    def parameters(self, layer: Layer) -> list[str]:
        """Add the parameters of a layer, in their order; return their names."""
        return [
            self.constant(f"{layer.name}/{key}", getattr(layer, key))
            for key in layer.parameter_shapes
        ]


def lay_out_normalization(
    graph: Graph, normalization: Normalization, shape: tuple[int, ...], images: str
) -> str:
    """Append what is done to images (N, C, H, W) in [0, 1] before the first layer; as lay_out."""
    name = "normalization"
    match normalization.kind:
        case "standard":
            factors = (array.reshape(-1, 1, 1) for array in normalization.constants(np.float32))
            scale, offset = map(graph.constant, (f"{name}/scale", f"{name}/offset"), factors)
            return graph.add(
                "Add", [graph.add("Mul", [images, scale], f"{name}/scaled"), offset], name
            )
        case "per_image":
            axes = {"axes": [1, 2, 3]}
            mean = graph.add("ReduceMean", [images], f"{name}/mean", **axes)
            centred = graph.add("Sub", [images, mean], f"{name}/centred")
            squares = graph.add("Mul", [centred, centred], f"{name}/squares")
            variance = graph.add("ReduceMean", [squares], f"{name}/variance", **axes)
            deviation = graph.add("Sqrt", [variance], f"{name}/deviation")
            least = graph.constant(f"{name}/least", smallest_std(shape))
            std = graph.add("Max", [deviation, least], f"{name}/std")
            return graph.add("Div", [centred, std], name)
    return images


def lay_out(graph: Graph, layer: Layer, x: str) -> str:
    """Append what the layer computes of the value x; return the name of its output.

    Raises DpcnnError for a layer that is not one of dpcnn's own.
    """
    if type(layer) not in LAYERS:
        kinds = ", ".join(kind.__name__ for kind in LAYERS)
        raise DpcnnError(
            f"{layer.name} is {layer!r}, expected one of {kinds} in an ONNX file: write .npz"
        )
    return LAYERS[type(layer)](graph, layer, x)


def _sequential(graph: Graph, layer: Sequential, x: str) -> str:
    for inner in layer.layers:
        x = lay_out(graph, inner, x)
    return x


def _residual(graph: Graph, layer: Residual, x: str) -> str:
    beside = x if layer.shortcut is None else lay_out(graph, layer.shortcut, x)
    return graph.add("Add", [lay_out(graph, layer.body, x), beside], layer.name)


def _concatenate(graph: Graph, layer: Concatenate, x: str) -> str:
    outputs = [lay_out(graph, branch, x) for branch in layer.branches]
    return graph.add("Concat", outputs, layer.name, axis=1)


def _convolution(graph: Graph, layer: Convolution, x: str) -> str:
    rows, columns = layer.geometry.rows, layer.geometry.columns
    keys = ("W", "b") if layer.bias else ("W",)
    weights = [graph.constant(f"{layer.name}/{key}", getattr(layer, key)) for key in keys]
    return graph.add(
        "Conv",
        [x, *weights],
        layer.name,
        strides=layer.stride,
        pads=[rows.before, columns.before, rows.after, columns.after],
        dilations=layer.dilation,
        group=layer.groups,
    )


def _scale(graph: Graph, layer: Scale, x: str) -> str:
    factor = graph.constant(f"{layer.name}/factor", layer.factor)
    return graph.add("Mul", [x, factor], layer.name)


def _dense(graph: Graph, layer: Dense, x: str) -> str:
    return graph.add("Gemm", [x, *graph.parameters(layer)], layer.name)  # x @ W + b


def _max_pooling(graph: Graph, layer: MaxPooling, x: str) -> str:
    return graph.add("MaxPool", [x], layer.name, **_windows(layer))


def _average_pooling(graph: Graph, layer: AveragePooling, x: str) -> str:
    return graph.add("AveragePool", [x], layer.name, count_include_pad=1, **_windows(layer))


def _windows(layer: MaxPooling | AveragePooling) -> dict[str, Any]:
    sizes = {"kernel_shape": layer.window, "strides": layer.stride}
    return sizes | {"pads": [*layer.padding, *layer.padding]}


def _global_average_pooling(graph: Graph, layer: GlobalAveragePooling, x: str) -> str:
    maps = graph.add("GlobalAveragePool", [x], f"{layer.name}/maps")
    return graph.add("Flatten", [maps], layer.name, axis=1)


def _leaky_relu(graph: Graph, layer: LeakyReLU, x: str) -> str:
    return graph.add("LeakyRelu", [x], layer.name, alpha=layer.negative_slope)


def _elu(graph: Graph, layer: ELU, x: str) -> str:
    return graph.add("Elu", [x], layer.name, alpha=layer.alpha)


def _silu(graph: Graph, layer: SiLU, x: str) -> str:
    return graph.add("Mul", [x, graph.add("Sigmoid", [x], f"{layer.name}/sigmoid")], layer.name)


def _gelu(graph: Graph, layer: GELU, x: str) -> str:
    """Append it as x * sigmoid(x (LINEAR + CUBIC x^2)), the tanh form."""
    name = layer.name
    linear = graph.constant(f"{name}/linear", layer.LINEAR)
    cubic = graph.constant(f"{name}/cubic", layer.CUBIC)
    square = graph.add("Mul", [x, x], f"{name}/square")
    scaled = graph.add("Mul", [square, cubic], f"{name}/scaled")
    factor = graph.add("Add", [scaled, linear], f"{name}/factor")
    inner = graph.add("Mul", [x, factor], f"{name}/inner")
    return graph.add("Mul", [x, graph.add("Sigmoid", [inner], f"{name}/sigmoid")], name)


def _batch_norm(graph: Graph, layer: BatchNorm, x: str) -> str:
    """Append it as evaluation computes it, with the running statistics."""
    values = {"scale": np.ones_like(layer.mean), "shift": np.zeros_like(layer.mean)}
    values |= {key: getattr(layer, key) for key in layer.parameter_shapes}
    values |= {"mean": layer.mean, "variance": layer.variance}
    constants = [graph.constant(f"{layer.name}/{key}", array) for key, array in values.items()]
    return graph.add("BatchNormalization", [x, *constants], layer.name, epsilon=layer.eps)


def _group_norm(graph: Graph, layer: GroupNorm, x: str) -> str:
    """Append it as an instance normalisation of the groups, each as one channel."""
    name = layer.name
    groups = graph.constant(f"{name}/groups", [0, layer.groups, -1], np.int64)  # 0: N, as it is
    x = graph.add("Reshape", [x, groups], f"{name}/grouped")
    ones = graph.constant(f"{name}/ones", np.ones(layer.groups))
    zeros = graph.constant(f"{name}/zeros", np.zeros(layer.groups))
    inputs = [x, ones, zeros]
    x = graph.add("InstanceNormalization", inputs, f"{name}/normalized", epsilon=layer.eps)
    shape = graph.constant(f"{name}/shape", [0, *layer.input_shape], np.int64)
    x = graph.add("Reshape", [x, shape], f"{name}/ungrouped")
    per_channel = (-1, *[1] * (len(layer.input_shape) - 1))
    scale = graph.constant(f"{name}/scale", layer.scale.reshape(per_channel))
    shift = graph.constant(f"{name}/shift", layer.shift.reshape(per_channel))
    return graph.add("Add", [graph.add("Mul", [x, scale], f"{name}/scaled"), shift], name)


def _operator(operator: str, **attributes: Any) -> Callable[[Graph, Layer, str], str]:
    """Return how a layer that is one operator without parameters is laid out."""
    return lambda graph, layer, x: graph.add(operator, [x], layer.name, **attributes)


# How each layer is laid out: a function of the graph, the layer and the name of its input.
LAYERS: dict[type[Layer], Callable[[Graph, Any, str], str]] = {
    AveragePooling: _average_pooling,
    BatchNorm: _batch_norm,
    Concatenate: _concatenate,
    Convolution: _convolution,
    Dense: _dense,
    Dropout: lambda graph, layer, x: x,
    ELU: _elu,
    Flatten: _operator("Flatten", axis=1),
    GELU: _gelu,
    GlobalAveragePooling: _global_average_pooling,
    GroupNorm: _group_norm,
    LayerNorm: _group_norm,
    LeakyReLU: _leaky_relu,
    MaxPooling: _max_pooling,
    ReLU: _operator("Relu"),
    Residual: _residual,
    Scale: _scale,
    Sequential: _sequential,
    Sigmoid: _operator("Sigmoid"),
    SiLU: _silu,
    Tanh: _operator("Tanh"),
    Whitening: _convolution,
}
