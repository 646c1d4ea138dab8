"""A trained network for other programs: as an ONNX graph, or as plain NumPy arrays."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dpcnn.data.normalize import Normalization, smallest_std
from dpcnn.errors import DpcnnError, OptionError
from dpcnn.inference.model import Model
from dpcnn.nn import AveragePooling, Convolution, Dense, Flatten, Layer, MaxPooling, ReLU
from dpcnn.version import __version__

OPSET, IR = 17, 8  # of ONNX: old enough for the runtimes of the last years
MOST = 2**31 - 1  # bytes of an ONNX file

Array = NDArray[Any]
Shape = tuple[int, ...]
Node = tuple[str, dict[str, Any]]  # the operator and its attributes


def _pooling(operator: str) -> Callable[[Any], Node]:
    return lambda layer: (operator, {"kernel_shape": layer.window, "strides": layer.stride})


def _convolution(layer: Convolution) -> dict[str, Any]:
    rows, columns = layer.geometry.rows, layer.geometry.columns
    return {
        "strides": layer.stride,
        "pads": [rows.before, columns.before, rows.after, columns.after],
        "dilations": layer.dilation,
        "group": layer.groups,
    }


# The operator of each layer. Its inputs are the layer's: x (N, ...), then W and b, if any.
NODES: dict[type[Layer], Callable[[Any], Node]] = {
    Convolution: lambda layer: ("Conv", _convolution(layer)),
    ReLU: lambda layer: ("Relu", {}),
    Flatten: lambda layer: ("Flatten", {"axis": 1}),
    Dense: lambda layer: ("Gemm", {}),  # x @ W + b
    MaxPooling: _pooling("MaxPool"),
    AveragePooling: _pooling("AveragePool"),
}

# Operator, inputs, output and attributes: from `images` to what the first layer takes.
NORMALIZATIONS: dict[str, list[tuple[str, list[str], str, dict[str, Any]]]] = {
    "none": [],
    "standard": [
        ("Mul", ["images", "normalization/scale"], "normalization/scaled", {}),
        ("Add", ["normalization/scaled", "normalization/offset"], "normalization", {}),
    ],
    "per_image": [
        ("ReduceMean", ["images"], "normalization/mean", {"axes": [1, 2, 3]}),
        ("Sub", ["images", "normalization/mean"], "normalization/centred", {}),
        ("Mul", ["normalization/centred"] * 2, "normalization/squares", {}),
        ("ReduceMean", ["normalization/squares"], "normalization/variance", {"axes": [1, 2, 3]}),
        ("Sqrt", ["normalization/variance"], "normalization/deviation", {}),
        ("Max", ["normalization/deviation", "normalization/least"], "normalization/std", {}),
        ("Div", ["normalization/centred", "normalization/std"], "normalization", {}),
    ],
}


def _constants(normalization: Normalization, shape: Shape) -> dict[str, Array]:
    """Return the arrays that the normalisation's operators take, by name."""
    if normalization.kind == "none":
        return {}
    if normalization.kind == "per_image":
        return {"normalization/least": np.array(smallest_std(shape), np.float32)}
    scale, offset = normalization.constants(np.float32)
    arrays = {"normalization/scale": scale, "normalization/offset": offset}
    return {name: array.reshape(1, -1, 1, 1) for name, array in arrays.items()}


def metadata(model: Model) -> dict[str, str]:
    """Return the network, its dataset and its accuracy in words, by name."""
    checkpoint = model.checkpoint
    texts = {
        "dpcnn": __version__,
        "network": json.dumps(checkpoint.network),
        "image_shape": json.dumps(model.options.image_shape),
        "dataset": Path(checkpoint.dataset["source"]).name,
        "normalization": json.dumps(model.normalization.config()),
        "dataset_fingerprint": checkpoint.dataset["fingerprint"],
        "step": str(checkpoint.progress["step"]),
        "weights_sha256": model.network.weights_sha256(),
    }
    last = checkpoint.metrics[-1] if checkpoint.metrics else {"step": None}
    evaluated = last["step"] == checkpoint.progress["step"]  # not in the middle of an epoch
    return texts | ({"test_accuracy": str(last["test_accuracy"])} if evaluated else {})


def npz(model: Model) -> bytes:
    """Return an .npz file: <layer>/<parameter> float32, and the metadata as JSON."""
    memory = io.BytesIO()
    arrays = {
        f"{layer}/{name}": array
        for layer, values in model.network.named_values().items()
        for name, array in values.items()
    }
    np.savez(memory, allow_pickle=False, metadata=np.array(json.dumps(metadata(model))), **arrays)
    return memory.getvalue()


def onnx(model: Model) -> bytes:
    """Return an ONNX file: `images` (N, C, H, W) float32 in [0, 1], N free.

    They are normalised in the graph. Its outputs are `logits` and `probabilities`, (N, classes).
    Raises OptionError without the package onnx, DpcnnError for a layer that is not dpcnn's own or a
    network that is too large.
    """
    try:
        from onnx import TensorProto, checker, helper, numpy_helper
    except ImportError as error:
        raise OptionError(
            "writing .onnx needs the package onnx: pip install dpcnn[onnx]"
        ) from error
    network = model.network
    if network.parameters.nbytes > MOST:
        raise DpcnnError(
            f"the parameters take {network.parameters.nbytes:,} bytes, expected at most {MOST:,}"
            " in an ONNX file: write .npz"
        )
    nodes, weights, x = [], [], "images"
    for operator, inputs, x, attributes in NORMALIZATIONS[model.normalization.kind]:
        nodes.append(helper.make_node(operator, inputs, [x], name=x, **attributes))
    for name, array in _constants(model.normalization, network.plan.input_shape).items():
        weights.append(numpy_helper.from_array(array, name))
    for name, layer in network.plan.leaves.items():
        operator, attributes = _node(name, layer)
        inputs = [x]
        for key in layer.parameter_shapes:
            inputs.append(f"{name}/{key}")
            weights.append(numpy_helper.from_array(getattr(layer, key), inputs[-1]))
        x = "logits" if layer is network.layers[-1] else name
        nodes.append(helper.make_node(operator, inputs, [x], name=name, **attributes))
    nodes.append(helper.make_node("Softmax", ["logits"], ["probabilities"], name="softmax", axis=1))
    ends = {"images": network.plan.input_shape, "logits": network.plan.output_shape}
    values = {
        name: helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", *shape])
        for name, shape in (ends | {"probabilities": network.plan.output_shape}).items()
    }
    outputs = [values["logits"], values["probabilities"]]
    graph = helper.make_graph(nodes, "dpcnn", [values["images"]], outputs, weights)
    made = helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR,
        producer_name="dpcnn",
        producer_version=__version__,
    )
    helper.set_model_props(made, metadata(model))
    checker.check_model(made, full_check=True)
    content: bytes = made.SerializeToString()
    return content


def _node(name: str, layer: Layer) -> Node:
    if type(layer) not in NODES:
        kinds = ", ".join(kind.__name__ for kind in NODES)
        raise DpcnnError(
            f"{name} is {layer!r}, expected one of {kinds} in an ONNX file: write .npz"
        )
    return NODES[type(layer)](layer)
