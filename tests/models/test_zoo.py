"""The known networks: what they come to, that they fit themselves to images, and train."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from dpcnn.errors import CheckpointError, OptionError
from dpcnn.models.__main__ import main
from dpcnn.models.build import plan_network
from dpcnn.models.user import import_network
from dpcnn.models.zoo import ZOO, tutorial, zoo_layers
from dpcnn.nn.config import from_config, to_config
from dpcnn.nn.losses import softmax_cross_entropy
from dpcnn.nn.network import Network
from dpcnn.nn.plan import Plan
from dpcnn.options import Options
from tests.networks import of_mnist

MNIST, CIFAR = (1, 28, 28), (3, 32, 32)


def options_of(shape: tuple[int, int, int], classes: int = 10) -> Options:
    channels, height, width = shape
    return Options(num_channel=channels, img_height=height, img_width=width, num_class=classes)


def plan_of(name: str, shape: tuple[int, int, int], classes: int = 10) -> Plan:
    return plan_network(options_of(shape, classes), own=import_network(name))


def test_the_tutorials_defaults_are_those_of_the_options() -> None:
    layers = to_config(plan_network(of_mnist()).layers)
    assert to_config(tutorial()) == to_config(zoo_layers("tutorial", of_mnist())) == layers


def test_the_tutorial_has_185930_parameters() -> None:
    network = Network(Plan(tutorial(), MNIST))
    assert network.parameters.size == 185_930 == 32 * 49 + 32 + 18432 * 10 + 10
    assert network.gradient.size == 185_930
    assert network.parameters.dtype == network.gradient.dtype == np.float32


def test_weights_are_drawn_as_the_tutorial_draws_them() -> None:
    network = Network(Plan(tutorial(), MNIST))
    network.initialize(seed=0)
    named = network.named_values()
    for layer, deviation in (("convolution1", (32 / 2) ** -0.5), ("dense1", (18432 / 2) ** -0.5)):
        W, b = named[layer]["W"], named[layer]["b"]
        five_sigma = 5 / np.sqrt(W.size)
        assert W.std() == pytest.approx(deviation, rel=five_sigma)
        assert W.mean() == pytest.approx(0, abs=five_sigma * deviation)
        assert not b.any()


def resnet_parameters(depth: int) -> int:
    """Count those of option A, 0.27 M for 20 layers, and of the two shortcuts of option B."""
    blocks = (depth - 2) // 6
    count = 3 * 9 * 16 + 2 * 16
    before = 16
    for filters in (16, 32, 64):
        for _ in range(blocks):
            count += 9 * filters * (before + filters) + 4 * filters
            before = filters
    return count + 64 * 10 + 10 + (16 * 32 + 2 * 32) + (32 * 64 + 2 * 64)


# Of those who wrote them, or of well-known implementations in PyTorch.
PARAMETERS = [
    ("lenet5", MNIST, 61_706),
    ("lenet5", CIFAR, 62_006),
    ("mlp", MNIST, 785 * 512 + 513 * 512 + 513 * 10),
    ("resnet8", CIFAR, resnet_parameters(8)),
    ("resnet20", CIFAR, 269_722 + 2_752),  # option A and the shortcuts of option B
    ("resnet20", CIFAR, resnet_parameters(20)),
    ("resnet32", CIFAR, 464_154 + 2_752),
    ("resnet56", CIFAR, 853_018 + 2_752),
    ("wideresnet16x4", CIFAR, 2_748_890),
    ("mobilenet", CIFAR, 3_217_226),
    # Shifts, convolutions and the dense layer; airbench's whitening has 24 biases besides.
    ("airbench_small", CIFAR, 544 + 9 * (32 * 56 + 112 * 144 + 128 * (112 + 128)) + 1280),
    ("airbench", CIFAR, 24 + 1152 + 9 * (64 * (24 + 64) + 256 * (64 + 3 * 256)) + 2560),
]


@pytest.mark.parametrize(("name", "shape", "parameters"), PARAMETERS)
def test_a_network_has_the_parameters_of_its_paper(name: str, shape: Any, parameters: int) -> None:
    assert plan_of(name, shape).parameter_count == parameters


@pytest.mark.parametrize("shape", [(1, 16, 16), MNIST, CIFAR, (3, 64, 64), (2, 33, 26)])
@pytest.mark.parametrize("name", ZOO)
def test_a_network_fits_itself_to_images_and_classes(name: str, shape: Any) -> None:
    if min(shape[1:]) < ZOO[name].smallest:
        pytest.skip("too small")
    plan = plan_of(name, shape, classes=7)
    assert plan.output_shape == (7,)
    assert to_config(from_config(to_config(plan.layers))) == to_config(plan.layers)


@pytest.mark.parametrize("name", [name for name in ZOO if name != "tutorial"])
def test_the_smallest_images_are_taken_and_smaller_ones_refused(name: str) -> None:
    smallest = ZOO[name].smallest
    assert plan_of(name, (1, smallest, smallest + 1)).output_shape == (10,)
    if smallest > 1:
        with pytest.raises(OptionError) as refused:
            plan_of(name, (3, smallest + 1, smallest - 1))
        expected = (
            f"3x{smallest + 1}x{smallest - 1}, expected at least {smallest}x{smallest} pixels"
        )
        assert str(refused.value) == f"--model {name}: images are {expected}"


@pytest.mark.parametrize("name", ["lenet5", "vgg", "resnet8", "wideresnet16x4", "mobilenet"])
def test_a_network_learns_four_images(name: str) -> None:
    network = Network(plan_of(name, (1, 16, 16), classes=4))
    network.initialize(seed=0)
    x = np.random.default_rng(0).random((1, 16, 16, 8), np.float32)
    labels = np.arange(8) % 4
    losses = []
    for step in range(12):
        logits = network.forward(x.copy(), training=True, key=(0, step, 0))
        loss = softmax_cross_entropy(logits, labels, 8)
        losses.append(loss.loss)
        network.backward(loss.dlogits)
        network.parameters -= 0.02 * network.gradient
    assert losses[-1] < 0.7 * losses[0]


def test_a_checkpoint_of_another_network_than_the_named_one_is_refused() -> None:
    config = to_config(plan_of("resnet8", MNIST).layers)
    again = plan_network(of_mnist(), config, import_network("resnet8"))
    assert to_config(again.layers) == config
    found = r"found {'layer': 'Convolution', 'filters': 16, .*, expected {'layer': 'Convolution',"
    with pytest.raises(CheckpointError, match=f"layer 6 of the network: {found} 'filters': 32"):
        plan_network(of_mnist(), config, import_network("resnet20"))
    for other, where in (("tutorial", 1), ("mlp", 1), ("mobilenet", 1), ("wideresnet16x4", 4)):
        with pytest.raises(CheckpointError, match=f"layer {where} of the network: found .* expect"):
            plan_network(of_mnist(), config, import_network(other))


def test_the_list_has_a_line_for_each(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--image-shape", "1x8x12", "--num_class", "3"]) == 0
    head, *lines = capsys.readouterr().out.splitlines()
    assert head.split() == ["network", "parameters", "multiply-adds", "memory"]
    assert [line.split()[0] for line in lines] == list(ZOO)
    assert max(map(len, lines)) <= 80
    plan = plan_of("resnet8", (1, 8, 12), classes=3)
    sizes = [f"{plan.parameter_count:,}", f"{plan.root.multiply_adds():,}"]
    assert lines[4].split()[1:3] == sizes
    assert "lenet5          images are 1x8x12, expected at least 12x12 pixels" in lines[2]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--image_shape", "32"], "--image_shape is '32', expected CxHxW such as 3x32x32"),
        (["--image_shape", "0x9x9"], "--num_channel is 0, expected an integer from 1 to 4096"),
        (["--num_class", "auto"], "--num_class is auto, expected a number"),
        (["--microbatch_size", "x"], "--microbatch_size is 'x', expected an integer from 1"),
        (["resnet8"], "unrecognized arguments: resnet8"),
    ],
)
def test_what_cannot_be_listed_is_one_line(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1
