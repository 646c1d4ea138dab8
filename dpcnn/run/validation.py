"""What a checkpoint says beside its arrays: JSON texts, checked for what a run is resumed from."""

from __future__ import annotations

import json
import math
import os
from typing import Any

LARGEST = 2**63 - 1
COUNT, NUMBER, TEXT = "an integer from 0", "a finite number", "a text"
MEMBERS = "a list of objects"
SETTING = "a text, a number of ordinary size, true, false or null, or a list of them"
PLAIN = "a text, a number of ordinary size, true, false or null"


def parse(text: bytes) -> Any:
    """Return the value of a JSON text, whose strings can be printed and be names of files.

    Raises ValueError for any other text, RecursionError for one that is nested too deep.
    """
    value = json.loads(bytes(text))
    os.fsencode(json.dumps(value, ensure_ascii=False))
    return value


def check(position: Any, options: Any, metrics: Any, dataset: Any, network: Any) -> None:
    """Raise ValueError unless each has the form it is written in, and values in range.

    Which options and layers there are, and which position the data have, is for others to judge.
    """
    place = {"step": COUNT, "epoch": COUNT, "epoch_step": COUNT, "deaths": MEMBERS}
    _check("position", position, place, rest=NUMBER)
    _check("options", options, {})
    _check("dataset", dataset, {"fingerprint": TEXT, "source": TEXT})
    check_network(network)
    if not isinstance(metrics, list):
        raise ValueError(f"metrics is {type(metrics).__name__}, expected a list")
    used = {
        "epoch": COUNT,
        "step": COUNT,
        "test_accuracy": NUMBER,
        "deaths": MEMBERS,
        "ranks": MEMBERS,
        "weights_sha256": TEXT,
    }
    for line in metrics:
        _check("a line of metrics", line, used)


def check_network(network: Any) -> None:
    """Raise ValueError unless it has the form of a description of layers."""
    if not isinstance(network, list):
        raise ValueError(f"network is {type(network).__name__}, expected a list")
    for layer in network:
        _check("a layer of network", layer, {"layer": TEXT}, rest=SETTING)


def _check(where: str, found: Any, forms: dict[str, str], rest: str = PLAIN) -> None:
    """Raise ValueError unless found is an object with values of these forms, the rest of `rest`."""
    if not isinstance(found, dict):
        raise ValueError(f"{where} is {type(found).__name__}, expected an object")
    for name, form in (dict.fromkeys(found, rest) | forms).items():
        if name not in found:
            raise ValueError(f"{where} has no {name}, expected {form}")
        if not _fits(found[name], form):
            raise ValueError(f"{name} of {where} is {found[name]!r}, expected {form}")


def _fits(value: Any, form: str) -> bool:
    if form == SETTING:
        return all(_fits(each, PLAIN) for each in (value if isinstance(value, list) else [value]))
    if form == MEMBERS or isinstance(value, list):
        return form == MEMBERS and isinstance(value, list) and all(map(_is_member, value))
    if value is None or isinstance(value, bool):
        return form == PLAIN
    if isinstance(value, str):
        return form in (TEXT, PLAIN)
    if isinstance(value, int):
        return form != TEXT and (0 if form == COUNT else -LARGEST) <= value <= LARGEST
    return isinstance(value, float) and (form == PLAIN or (form == NUMBER and math.isfinite(value)))


def _is_member(value: Any) -> bool:
    """Tell whether this is of a rank, host and process, as far as others rely on it."""
    return isinstance(value, dict) and {"rank", "process"} <= {
        name for name, each in value.items() if _fits(each, COUNT)
    }
