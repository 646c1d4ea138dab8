"""The ONNX graph of every layer: an ONNX runtime computes what the network does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from dpcnn.data.dataset import as_batch
from dpcnn.data.normalize import NONE, Normalization
from dpcnn.inference import graph
from dpcnn.inference.model import Model
from dpcnn.inference.onnx import OPSET
from dpcnn.inference.onnx import onnx as onnx_file
from dpcnn.models.build import plan_network
from dpcnn.models.zoo import ZOO, zoo_layers
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
from dpcnn.nn.config import LAYERS
from dpcnn.nn.layer import descendants
from dpcnn.nn.network import Network
from dpcnn.options import Options
from dpcnn.run.checkpoint import Checkpoint

onnx = pytest.importorskip("onnx", reason="onnx is not installed (extra onnx)")
onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed (extra test)")

CLASSES = 5
Shape = tuple[int, int, int]


def pictures(count: int, shape: Shape, rng: np.random.Generator) -> Any:
    """Return images (N, C, H, W) of squares: even pixel by pixel, noise all looks the same."""
    channels, height, width = shape
    squares = rng.integers(0, 256, (count, channels, height // 4 + 1, width // 4 + 1), np.uint8)
    return squares.repeat(4, axis=2).repeat(4, axis=3)[:, :, :height, :width]


def model_of(layers: Sequence[Layer], shape: Shape, normalization: Normalization = NONE) -> Model:
    """Return a model of these layers with random parameters and the statistics of images."""
    channels, height, width = shape
    options = Options(num_class=CLASSES, num_channel=channels, img_height=height, img_width=width)
    network = Network(plan_network(options, own=layers))
    network.initialize(seed=1)
    rng = np.random.default_rng(2)
    for layer in network.plan.leaves.values():
        for key in layer.parameter_shapes:
            values = getattr(layer, key)
            if key != "W":
                values[...] += rng.uniform(-0.5, 0.5, values.shape)
    network.forward(as_batch(pictures(32, shape, rng), np.float32), training=True)
    network.state[...] = network.statistics  # such that a deep network's values stay in range
    dataset = {"source": "a test", "fingerprint": "", "class_names": []}
    return Model(
        network, options, Checkpoint({}, {}, {"step": 0}, {}, [], dataset, []), normalization
    )


def check_parity(model: Model, count: int) -> None:
    """Check that the runtime's classes and probabilities of random images are the model's."""
    content = onnx_file(model)
    initializers = onnx.load_from_string(content).graph.initializer
    types = {each.data_type for each in initializers}
    assert types <= {onnx.TensorProto.FLOAT, onnx.TensorProto.INT64}  # the latter: of shapes
    session = onnxruntime.InferenceSession(content)
    rng = np.random.default_rng(3)
    images = pictures(count, model.options.image_shape, rng)
    pixels = (images / np.float32(255)).astype(np.float32)
    [found] = session.run(["probabilities"], {"images": pixels})
    expected = model.probabilities(images)
    assert expected.max(axis=1).std() > 1e-4, "the images are told apart"
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)
    np.testing.assert_array_equal(found.argmax(axis=1), expected.argmax(axis=1))


def ended(*layers: Layer) -> list[Layer]:
    return [*layers, Flatten(), Dense(CLASSES)]


NETWORKS: dict[str, list[Layer]] = {
    "convolution, asymmetric same": ended(Convolution(4, (2, 4), padding="same")),
    "convolution, same with stride": ended(Convolution(4, 3, (2, 3), padding="same")),
    "convolution, pairs": ended(Convolution(4, (3, 2), (2, 1), (1, 2), bias=False)),
    "convolution, rounded down": ended(Convolution(4, 3, 2, 0)),
    "convolution, groups": ended(Convolution(6, 3, groups=3, bias=False)),
    "convolution, depthwise": ended(Convolution(3, 3, 2, 1, groups=3)),
    "convolution, dilation": ended(Convolution(4, 3, dilation=(2, 3), padding="same")),
    "pointwise": ended(Convolution(4, 1, 2, bias=False)),
    "whitening": [
        *(Whitening(), GELU(), Convolution(4, 3), Flatten()),
        *(Dense(CLASSES, bias=False), Scale(1 / 9)),
    ],
    "whitening, no bias": ended(Whitening((1, 2), bias=False), ReLU()),
    "batch norm": ended(Convolution(4, 3), BatchNorm(eps=1e-3), ReLU()),
    "batch norm, bare": ended(BatchNorm(scale=False, shift=False)),
    "batch norm, flat": [Flatten(), Dense(8), BatchNorm(shift=False), ReLU(), Dense(CLASSES)],
    "group norm": ended(Convolution(6, 3), GroupNorm(3, eps=1e-2)),
    "group norm, flat": [Flatten(), Dense(8), GroupNorm(2), ReLU(), Dense(CLASSES)],
    "layer norm": ended(LayerNorm(), Convolution(4, 3)),
    "layer norm, flat": [Flatten(), Dense(8), LayerNorm(), Dense(CLASSES)],
    "dropout": ended(Dropout(0.5), Convolution(4, 3), Dropout(0.2)),
    "dropout at the end": [Flatten(), Dense(CLASSES, bias=False), Dropout(0.3)],
    "pooling": ended(MaxPooling((2, 3), (2, 1)), AveragePooling(2, 1)),
    "pooling, padded": ended(MaxPooling(3, 2, 1), AveragePooling((2, 3), 1, 1)),
    "pooling of all": [Convolution(8, 3), ReLU(), GlobalAveragePooling(), Dense(CLASSES)],
    "activations": ended(
        *(Convolution(4, 3), LeakyReLU(0.1), Convolution(4, 3), ELU(0.7), Convolution(4, 1)),
        *(GELU(), Convolution(4, 1), SiLU(), Convolution(4, 1), Tanh(), Convolution(4, 1)),
        Sigmoid(),
    ),
    "residual": ended(Residual([Convolution(3, 3, padding=1), ReLU()]), ReLU()),
    "residual, shortcut": ended(
        Residual([Convolution(4, 3, 2, 1), BatchNorm()], Convolution(4, 1, 2)), ReLU()
    ),
    "concatenate": ended(
        Concatenate(Convolution(2, 1), [Convolution(3, 3, padding=1), ReLU()], Dropout(0.1))
    ),
    "nested": ended(
        Sequential(Residual([Residual(Convolution(3, 3, padding=1)), ReLU()])),
        Concatenate(Residual(BatchNorm()), Sequential(ReLU(), Concatenate(Convolution(2, 1)))),
    ),
    "at the end": [Flatten(), Concatenate(Dense(2), [Dropout(0.5), Dense(3)])],
}


@pytest.mark.parametrize("case", NETWORKS)
def test_a_runtime_gives_the_classes_and_probabilities_of_every_layer(case: str) -> None:
    check_parity(model_of(NETWORKS[case], (3, 9, 10)), 20)


@pytest.mark.parametrize("kind", ["standard", "per_image"])
def test_images_are_normalised_in_the_graph(kind: str) -> None:
    numbers: Any = ((0.3, 0.4, 0.5), (0.2, 0.25, 0.3)) if kind == "standard" else ((), ())
    layers = ended(Convolution(4, 3), ReLU())
    check_parity(model_of(layers, (3, 8, 8), Normalization(kind, *numbers)), 20)


@pytest.mark.parametrize("name", ZOO)
def test_every_network_of_the_zoo_is_computed_by_a_runtime(name: str) -> None:
    side = max(16, ZOO[name].smallest)
    shape = (3, side, side)
    options = Options(num_class=CLASSES, num_channel=3, img_height=side, img_width=side)
    model = model_of(zoo_layers(name, options), shape)
    # Weights that nobody trained make more of rounding: both differ from float64 by up to 3e-5.
    [*_, last] = (each for each in model.network.plan.leaves.values() if isinstance(each, Dense))
    last.W *= 0.2
    check_parity(model, 200)


def test_every_layer_that_a_checkpoint_may_have_can_be_written() -> None:
    assert set(graph.LAYERS) == set(LAYERS.values())
    cases = [layer for layers in NETWORKS.values() for _, layer in descendants(Sequential(*layers))]
    assert {type(layer) for layer in cases} == set(graph.LAYERS)


def test_the_opset_is_one_that_older_runtimes_know() -> None:
    content = onnx_file(model_of(ended(GroupNorm(3)), (3, 4, 4)))
    [opset] = onnx.load_from_string(content).opset_import
    assert (opset.domain, opset.version) == ("", OPSET) == ("", 17)
