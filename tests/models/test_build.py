"""The plan of a run's network, and what is refused before it takes memory."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from dpcnn.errors import CheckpointError, OptionError
from dpcnn.models.build import check_arrays, check_memory, plan_network
from dpcnn.nn import Convolution, Dense, Flatten, Layer
from dpcnn.nn.config import Config, to_config
from dpcnn.nn.network import Network
from dpcnn.nn.plan import Plan
from dpcnn.options import Options
from tests.networks import Swish, of_mnist, two_convolutions, with_swish


def test_without_anything_else_it_is_the_tutorials_network() -> None:
    plan = plan_network(of_mnist(n_filter=3, stride=3, padding=2, h_filter=5, w_filter=8))
    assert list(map(repr, plan.layers)) == [
        "Convolution(3 x 5x8, stride 3, padding 2)", "ReLU()", "Flatten()", "Dense(10)",
    ]  # fmt: skip


def test_a_config_gives_the_network_of_its_checkpoint() -> None:
    config = config_of(two_convolutions())
    assert to_config(plan_network(of_mnist(), config).layers) == config


def config_of(layers: list[Layer]) -> Config:
    """Return the config as a checkpoint keeps it: of layers that are built."""
    return to_config(plan_network(of_mnist(), own=layers).layers)


def test_the_users_layers_stay_as_they_are() -> None:
    layers = two_convolutions()
    first, second = (Network(plan_network(of_mnist(), own=layers)) for _ in range(2))
    first.initialize(0)
    second.parameters.fill(1)
    assert first.named_values()["convolution1"]["W"].std() > 0
    assert not hasattr(layers[0], "W")
    assert isinstance(layers[0], Convolution)


def test_an_error_in_a_users_layer_names_file_and_line() -> None:
    class Broken(Swish):
        def build(self, input_shape: tuple[int, ...]) -> tuple[int, ...]:
            raise ValueError("no such\nshape")

    with pytest.raises(OptionError) as refused:
        plan_network(of_mnist(), own=[Broken(), Flatten(), Dense(10)])
    line = str(refused.value)
    assert len(line.splitlines()) == 1
    assert line.startswith("the network: ValueError: no such shape (")
    assert "tests/models/test_build.py, line " in line


def test_an_error_of_the_tutorials_network_names_its_options() -> None:
    with pytest.raises(OptionError, match=r"= 0, .*: choose another --img_height, .*, --padding"):
        plan_network(of_mnist(img_height=4))
    config = to_config(plan_network(of_mnist()).layers)
    with pytest.raises(OptionError, match="choose another --img_height"):
        plan_network(of_mnist(img_height=4), config)
    with pytest.raises(OptionError, match=r"expected a positive integer$"):
        plan_network(of_mnist(img_height=4), to_config(two_convolutions()))


@pytest.mark.parametrize(
    ("options", "formula"),
    [
        (of_mnist(stride=2), "output height (28 - 7 + 2*1)/2 + 1 = 12.5, expected a positive int"),
        (of_mnist(stride=3, h_filter=6, w_filter=7), "width (28 - 7 + 2*1)/3 + 1 = 8.66667, exp"),
    ],
)
def test_the_tutorials_output_sizes_have_to_be_whole(options: Options, formula: str) -> None:
    with pytest.raises(OptionError) as refused:
        plan_network(options)
    assert formula in str(refused.value)
    assert "choose another --img_height, --img_width, --n_filter, --h_filter" in str(refused.value)


def test_a_network_of_other_layers_rounds_its_output_sizes_down() -> None:
    layers = [Convolution(4, 7, 2, 1), Flatten(), Dense(10)]
    assert plan_network(of_mnist(), own=layers).layers[0].output_shape == (4, 12, 12)


def test_a_network_without_parameters_is_refused() -> None:
    with pytest.raises(OptionError, match="has no parameters"):
        plan_network(of_mnist(img_height=2, img_width=5), own=[Flatten()])


def test_a_network_of_another_output_is_refused() -> None:
    with pytest.raises(OptionError, match=r"output is \(9,\), expected \(10,\), a value for each"):
        plan_network(of_mnist(), own=[Flatten(), Dense(9)])


CONFIGS: list[tuple[Any, str]] = [
    ([], "found 0 layers, expected 1 to 1,000"),
    ([3], "layer 1 is 3, expected a class and its arguments"),
    ([{"layer": "Dense"}], "found {} for Dense"),
    ([{"layer": "Dense", "outputs": {}}], "outputs is {}, expected text"),
    ([{"layer": "Gone"}], "found layer 'Gone', expected one of"),
    (to_config(with_swish()), "layers that are not dpcnn's (Swish), expected --model"),
]


@pytest.mark.parametrize(("config", "message"), CONFIGS)
def test_an_unsound_config_is_refused(config: Any, message: str) -> None:
    with pytest.raises(CheckpointError) as refused:
        plan_network(of_mnist(), config)
    assert str(refused.value).startswith("the checkpoint's network")
    assert message in str(refused.value)


def test_a_config_of_another_network_than_the_users_is_refused() -> None:
    config = config_of(with_swish())
    assert to_config(plan_network(of_mnist(), config, with_swish()).layers) == config
    for own in (two_convolutions(), with_swish()[:-1], [*with_swish(), Dense(10)]):
        with pytest.raises(CheckpointError, match=r"layer \d of the network: found .*, expected"):
            plan_network(of_mnist(), config, own)


def test_a_network_too_large_is_refused_without_the_tutorials_options() -> None:
    layers = [Flatten(), *(Dense(65536) for _ in range(50)), Dense(10)]
    options = of_mnist()
    with pytest.raises(OptionError) as refused:
        check_memory(options, plan_network(options, own=layers), images=1, ranks=1)
    line = str(refused.value)
    assert "GiB of memory, expected at most" in line
    assert "--minibatch_size 64" in line
    assert "n_filter" not in line


def test_the_tutorials_network_too_large_is_refused_with_its_options() -> None:
    options = of_mnist(n_filter=65536, num_class=65536)
    with pytest.raises(OptionError, match=r"--n_filter 65536.* on 3 ranks takes about"):
        check_memory(options, plan_network(options), images=1, ranks=3)


Layers = dict[str, dict[str, Any]]


AVERAGED = of_mnist(ema=0.9)


def sound() -> tuple[Layers, Layers, dict[str, Any], Plan]:
    """Return the arrays, their averages and an optimizer's slot of a network, and its plan."""
    plan = plan_network(of_mnist(n_filter=2))
    network = Network(plan)
    values = network.named_values()
    return values, values, {"velocity": network.gradient}, plan


def test_the_arrays_of_the_same_network_are_taken() -> None:
    model, average, slots, plan = sound()
    check_arrays(AVERAGED, plan, model, average, slots)
    check_arrays(of_mnist(), plan, model, {}, slots)


def test_vectors_of_optimizers_and_averages_count_as_memory() -> None:
    options = of_mnist()
    plan = plan_network(options)
    check_memory(options, plan, images=64, ranks=1, vectors=3)
    with pytest.raises(OptionError, match="GiB of memory, expected at most"):
        check_memory(options, plan, images=64, ranks=1, vectors=10**9)


def test_arrays_of_other_names_or_shapes_are_refused_by_name() -> None:
    wrong = np.zeros(3, np.float32)
    model, average, slots, plan = sound()
    models: list[tuple[dict[str, Any], str]] = [
        (
            model | {"dense1": {"W": model["dense1"]["W"]}},
            "dense1/b: found no array, expected shape (10,)",
        ),
        (model | {"more": {"W": wrong}}, "more/W: found shape (3,), expected no array"),
        (
            model | {"convolution1": model["convolution1"] | {"b": wrong}},
            "convolution1/b: found shape (3,), expected shape (2,)",
        ),
    ]
    for other, message in models:
        with pytest.raises(CheckpointError) as refused:
            check_arrays(AVERAGED, plan, other, average, slots)
        assert str(refused.value).startswith(f"the checkpoint's {message}")
    with pytest.raises(CheckpointError, match=r"optimizer/velocity: found shape \(3,\)"):
        check_arrays(AVERAGED, plan, model, average, {"velocity": wrong})
    partial = average | {"dense1": {"b": average["dense1"]["b"]}}
    with pytest.raises(CheckpointError, match=r"average/convolution1/W: found no array"):
        check_arrays(AVERAGED, plan, model, {}, slots)
    with pytest.raises(CheckpointError, match=r"average/convolution1/W: found shape .* no array"):
        check_arrays(of_mnist(), plan, model, average, slots)
    with pytest.raises(CheckpointError, match=r"average/dense1/W: found no array"):
        check_arrays(AVERAGED, plan, model, partial, slots)
