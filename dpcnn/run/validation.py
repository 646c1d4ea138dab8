"""What a checkpoint says besides its arrays, checked for what others rely on.

It is plain data from JSON texts that may come from anyone. Here its form is checked: types, finite
numbers, integers of ordinary size. Whether the options exist, the layers make a network and the
progress is possible with the dataset is for those to judge who use them.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

LARGEST = 2**63 - 1  # of an integer of ordinary size
MEMBER = ("rank", "process")  # what others rely on of a rank that was there


@dataclass(frozen=True)
class Form:
    """What a value must be: `fits` tells whether it is, `name` says it in messages.

    needed: whether an object without the value is refused.
    """

    name: str
    fits: Callable[[Any], bool]
    needed: bool = True


def _is_integer(value: Any) -> bool:
    integer = isinstance(value, int) and not isinstance(value, bool)
    return integer and -LARGEST <= value <= LARGEST


def _is_count(value: Any) -> bool:
    return _is_integer(value) and value >= 0


def _is_finite(value: Any) -> bool:
    return _is_integer(value) or (isinstance(value, float) and math.isfinite(value))


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_plain(value: Any) -> bool:
    return value is None or isinstance(value, bool | float | str) or _is_integer(value)


def _is_data(value: Any) -> bool:
    if isinstance(value, dict):
        return all(map(_is_data, value.values()))
    return all(map(_is_data, value)) if isinstance(value, list) else _is_plain(value)


def _is_member(value: Any) -> bool:
    return isinstance(value, dict) and all(_is_count(value.get(key)) for key in MEMBER)


def _list_of(is_item: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, list) and all(map(is_item, value))


def _is_layer(value: Any) -> bool:
    if not isinstance(value, dict) or not _is_text(value.get("layer")):
        return False
    return all(key == "layer" or item is None or _is_finite(item) for key, item in value.items())


def _is_normalization(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and value.keys() == {"kind", "mean", "std"}
        and _is_text(value["kind"])
        and all(_is_numbers(value[name]) for name in ("mean", "std"))
    )


def _is_numbers(value: Any) -> bool:
    return isinstance(value, list) and all(map(_is_finite, value))


COUNT = Form("an integer from 0", _is_count)
NUMBER = Form("a finite number", _is_finite)
OPTIONAL_NUMBER = Form(NUMBER.name, _is_finite, needed=False)
TEXT = Form("a string", _is_text)
PLAIN = Form("a string, a number of ordinary size, true, false or null", _is_plain)
DATA = Form("plain data with numbers of ordinary size", _is_data)
MEMBERS = Form("a list of objects with rank and process", _list_of(_is_member))
LAYERS = Form("a list of objects with layer and finite numbers", _list_of(_is_layer), needed=False)
PREPARE = Form("digit or resize", lambda value: value in ("digit", "resize"))
TEXTS = Form("a list of strings", _list_of(_is_text))
NORMALIZATION = Form("an object with kind, mean and std", _is_normalization)

PROGRESS = {"step": COUNT, "epoch": COUNT, "epoch_step": COUNT, "deaths": MEMBERS, "layers": LAYERS}
DATASET = {
    "fingerprint": TEXT,
    "source": TEXT,
    "normalization": NORMALIZATION,
    "prepare": PREPARE,
    "class_names": TEXTS,
    "root": Form("a string", _is_text, needed=False),
}
EPOCH = {
    "epoch": COUNT,
    "step": COUNT,
    "test_accuracy": NUMBER,
    "validation_accuracy": OPTIONAL_NUMBER,
    "deaths": MEMBERS,
    "ranks": MEMBERS,
    "layers": LAYERS,
    "weights_sha256": TEXT,
    **{f"plateau_{name}": OPTIONAL_NUMBER for name in ("factor", "best", "waited")},
}
LAYER = {"layer": TEXT}
CHANGE = {"step": COUNT}


def parse(text: bytes) -> Any:
    """Return the value of a JSON text whose strings can be printed and used as file names.

    Raises ValueError for any other text, RecursionError for one that is nested too deep.
    """
    value = json.loads(bytes(text))
    # As Python names files under any locale: lone surrogates stand for bytes that are no UTF-8.
    json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogateescape")
    return value


def check(
    progress: Any, options: Any, metrics: Any, dataset: Any, network: Any, changes: Any
) -> None:
    """Raise ValueError that names the first value, if any, that is not of its form."""
    _check_object("progress", progress, PROGRESS, others=NUMBER)
    check_options(options)
    check_metrics(metrics)
    _check_object("dataset", dataset, DATASET, others=PLAIN)
    check_network(network)
    _check_objects("changes", changes, CHANGE, others=PLAIN)


def check_metrics(metrics: Any) -> None:
    """Raise ValueError unless these can be the metrics of epochs, by their form."""
    _check_objects("metrics", metrics, EPOCH, others=PLAIN)


def check_network(network: Any) -> None:
    """Raise ValueError unless these can be the configs of a network's layers, by their form."""
    _check_objects("network", network, LAYER, others=DATA)


def check_options(options: Any) -> None:
    """Raise ValueError unless these can be the options of a run, by their form."""
    _check_object("options", options, {}, others=PLAIN)


def _check_objects(path: str, values: Any, forms: Mapping[str, Form], others: Form) -> None:
    if not isinstance(values, list):
        raise ValueError(f"{path} is {values!r:.200}, expected a list")
    for index, value in enumerate(values):
        _check_object(f"{path}[{index}]", value, forms, others)


def _check_object(path: str, value: Any, forms: Mapping[str, Form], others: Form) -> None:
    """Raise ValueError unless this is an object with keys of these forms, and `others` besides."""
    if not isinstance(value, dict):
        raise ValueError(f"{path} is {value!r:.200}, expected an object")
    for key, form in (dict.fromkeys(value, others) | {**forms}).items():
        if key not in value and form.needed:
            raise ValueError(f"{path}.{key} is missing, expected {form.name}")
        if key in value and not form.fits(value[key]):
            raise ValueError(f"{path}.{key} is {value[key]!r:.200}, expected {form.name}")
