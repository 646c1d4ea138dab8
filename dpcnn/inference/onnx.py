"""A trained network for other programs: as an ONNX graph, or as plain NumPy arrays."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np

from dpcnn.data.normalize import Normalization
from dpcnn.errors import DpcnnError, OptionError
from dpcnn.inference.graph import Graph, lay_out, lay_out_normalization
from dpcnn.inference.model import Model
from dpcnn.nn.network import Network
from dpcnn.version import __version__

OPSET, IR = 17, 8  # of ONNX: old enough for the runtimes of the last years
AVERAGES = ("ema", "lookahead")  # options with which the weights are averages
MOST = 2**31 - 1  # bytes of an ONNX file


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
        "class_names": json.dumps(model.class_names),
        "step": str(checkpoint.progress["step"]),
        "weights_sha256": model.weights_sha256,
        **{name: str(value) for name in AVERAGES if (value := getattr(model.options, name))},
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
    graph = _graph(network, model.normalization)
    nodes = [
        helper.make_node(node.operator, node.inputs, [node.output], node.output, **node.attributes)
        for node in graph.nodes
    ]
    constants = [numpy_helper.from_array(array, name) for name, array in graph.constants.items()]
    ends = {"images": network.plan.input_shape, "logits": network.plan.output_shape}
    values = {
        name: helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", *shape])
        for name, shape in (ends | {"probabilities": network.plan.output_shape}).items()
    }
    outputs = [values["logits"], values["probabilities"]]
    made = helper.make_model(
        helper.make_graph(nodes, "dpcnn", [values["images"]], outputs, constants),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR,
        producer_name="dpcnn",
        producer_version=__version__,
    )
    helper.set_model_props(made, metadata(model))
    checker.check_model(made, full_check=True)
    content: bytes = made.SerializeToString()
    return content


def _graph(network: Network, normalization: Normalization) -> Graph:
    """Return the graph from `images` to `logits` and `probabilities`."""
    graph = Graph()
    x = lay_out_normalization(graph, normalization, network.plan.input_shape, "images")
    lay_out(graph, network.plan.root, x)
    graph.nodes[-1] = graph.nodes[-1]._replace(output="logits")  # what comes last gives them
    graph.add("Softmax", ["logits"], "probabilities", axis=1)
    return graph
