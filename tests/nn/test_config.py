"""Layers as plain data and back, whoever wrote the data."""

from __future__ import annotations

import json
from typing import Any

import pytest

from dpcnn import nn
from dpcnn.models.zoo import tutorial
from dpcnn.nn import AveragePooling, Convolution, MaxPooling
from dpcnn.nn.config import check_config, from_config, own_layers, to_config
from tests.networks import with_swish


def test_a_config_gives_the_layers_it_was_made_from() -> None:
    layers = [
        *(*tutorial((1, 28, 28), 7, 5, (3, 4), 2, 1), Convolution(3, 5, algorithm="im2col")),
        *(MaxPooling(2), AveragePooling((1, 3), 2), MaxPooling((2, 2), (1, 3))),
    ]
    again = from_config(json.loads(json.dumps(to_config(layers))))
    assert list(map(repr, again)) == list(map(repr, layers))
    assert to_config(again) == to_config(layers)


def test_a_layer_of_the_user_is_never_taken_for_one_of_ours() -> None:
    class Dense(nn.Dense):
        pass

    config = to_config([Dense(10)])
    assert config == [
        {"layer": "own.Dense", "outputs": 10, "bias": True, "initializer": "he_normal"}
    ]
    with pytest.raises(ValueError, match=r"found layer 'own\.Dense'"):
        from_config(config)


HOSTILE: dict[str, list[dict[str, Any]]] = {
    "Layer": [{}],
    "Pooling": [{"window": 2}],
    "os.system": [{"command": 1}],
    "own.Layer": [{}],
    "": [{}],
    "Dense": [{}, {"outputs": 10, "more": 1}, {"outputs": 10, "self": 1}, {"inputs": 3}],
    "Flatten": [{"axis": 1}],
    "ReLU": [{"self": None}],
}
WRONG: list[Any] = [
    -1,
    0,
    65537,
    2**63 - 1,
    True,
    False,
    None,
    "3",
    "",
    1.0,
    1e300,
    float("nan"),
    [],
    [3],
]
WRONG += [[1, 0], [0, 1], [1, 2, 3], [1, 1 << 40], [1, "1"], [True, 1], [1.0, 2], [None, None]]
SOUND: dict[str, dict[str, Any]] = {
    "Convolution": {
        "filters": 3,
        "filter_size": [2, 2],
        "stride": [1, 1],
        "padding": [0, 0],
        "bias": False,
        "groups": 1,
        "dilation": [1, 1],
        "initializer": "he_normal",
        "algorithm": "mec",
    },
    "Dense": {"outputs": 10, "bias": True, "initializer": "he_normal"},
    "MaxPooling": {"window": [2, 2], "stride": [2, 2], "padding": [0, 0]},
    "AveragePooling": {"window": [2, 2], "stride": [2, 2], "padding": [0, 0]},
}


def sound_too(layer: str, name: str, value: object) -> bool:
    """Tell whether the value is right all the same: no padding, a stride that is the window."""
    if name == "padding":
        return value in (0, [1, 0], [0, 1]) and type(value) in (int, list)
    if name == "bias":
        return isinstance(value, bool)
    return layer.endswith("Pooling") and name == "stride" and value is None


@pytest.mark.parametrize("layer", HOSTILE)
def test_a_config_of_anything_else_is_refused(layer: str) -> None:
    for arguments in HOSTILE[layer]:
        with pytest.raises(ValueError, match="found"):
            from_config([{"layer": layer} | arguments])


@pytest.mark.parametrize(
    ("layer", "name"), [(layer, name) for layer, values in SOUND.items() for name in values]
)
def test_a_wrong_argument_is_refused_by_name(layer: str, name: str) -> None:
    from_config([{"layer": layer} | SOUND[layer]])
    for value in WRONG:
        if sound_too(layer, name, value):
            continue
        with pytest.raises(ValueError, match=f"{layer}'s {name} is "):
            from_config([{"layer": layer} | SOUND[layer] | {name: value}])


@pytest.mark.parametrize("count", [0, 1001])
def test_a_config_of_no_or_too_many_layers_is_refused(count: int) -> None:
    with pytest.raises(ValueError, match="expected 1 to 1,000"):
        from_config([{"layer": "ReLU"}] * count)


def test_the_users_own_layers_are_named() -> None:
    assert own_layers(to_config(with_swish())) == ["Swish"]
    assert own_layers(to_config(tutorial())) == []


FORMS: list[tuple[Any, str]] = [
    ({}, "found dict, expected a list of layers"),
    (None, "found NoneType, expected a list of layers"),
    (["ReLU"], "layer 1 is 'ReLU', expected a class and its arguments"),
    ([{"layer": "ReLU"}, {"outputs": 10}], "layer 2 is {'outputs': 10}, expected a class"),
    ([{"layer": ["ReLU"]}], "layer 1 is {'layer': ['ReLU']}, expected a class"),
    ([{"layer": "own.X", "slope": 2**63}], "slope is 9223372036854775808, expected text"),
    ([{"layer": "own.X", "slope": {}}], "slope is {}, expected text"),
    ([{"layer": "own.X", "slope": [[1.0]]}], "slope is [[1.0]], expected text"),
    ([{"layer": "own.X", "slope": abs}], "slope is <built-in function abs>, expected text"),
]


@pytest.mark.parametrize(("config", "message"), FORMS)
def test_data_of_another_form_is_refused(config: Any, message: str) -> None:
    with pytest.raises(ValueError) as refused:  # noqa: PT011
        check_config(config)
    assert str(refused.value).startswith(message)


def test_every_value_that_json_has_alone_or_in_a_list_is_an_argument() -> None:
    values = ["", "text", 0, -(2**63) + 1, 2**63 - 1, 1.5, float("nan"), True, False, None]
    arguments = {f"argument{number}": value for number, value in enumerate([*values, values])}
    check_config([{"layer": "own.X"} | arguments])
