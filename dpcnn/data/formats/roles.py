"""Which arrays of a file are the images and labels to train and to test on, by their names."""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path

from dpcnn.errors import DataError, OptionError
from dpcnn.system.text import one_line

ROLES = ("x_train", "y_train", "x_test", "y_test")
SETS = {
    "train": {"train", "training", "tr"},
    "test": {"test", "testing", "t10k"},
    "validation": {"val", "valid", "validation", "dev"},
}
DATA = {
    "x": {"x", "image", "images", "img", "imgs", "data", "features", "inputs", "input", "pixels"},
    "y": {"y", "label", "labels", "target", "targets", "class", "lbl", "fine"},
}
IGNORED = {"set", "dataset", "orig"}  # train_set_x
SHOWN = 300  # characters of what a file holds


def find_roles(names: Collection[str], keys: str | None, where: str) -> dict[str, str]:
    """Return role -> name, with the roles x_train and y_train and perhaps x_test and y_test.

    keys: x=NAME,y=NAME or x_train=NAME,... as a user has given them, instead of what the names
    tell. Raises DataError that says what the file holds, OptionError for keys it does not hold.
    """
    roles = _named(names, keys, where) if keys else guess_roles(names)
    wanted = ROLES if roles.keys() & set(ROLES[2:]) else ROLES[:2]
    missing = [role for role in wanted if role not in roles]
    if missing:
        raise DataError(
            f"{where}no array {', '.join(missing)}; found {listed(names)}, expected"
            f" {', '.join(ROLES)}, or --keys x=NAME,y=NAME"
        )
    return roles


def listed(names: Collection[str]) -> str:
    """Return the names that a file holds, for a message."""
    text = one_line(", ".join(sorted(names)) or "nothing")
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."


def _named(names: Collection[str], keys: str, where: str) -> dict[str, str]:
    """Return the roles that a user has given."""
    roles = {}
    for pair in keys.split(","):
        role, equals, name = pair.strip().partition("=")
        role = {"x": "x_train", "y": "y_train"}.get(role, role)
        if role not in ROLES or not equals:
            raise OptionError(
                f"--keys has {pair!r:.60}, expected x=NAME,y=NAME or x_train=NAME,..."
            )
        if name not in names:
            raise OptionError(
                f"--keys has {pair!r:.60}, expected one of {listed(names)}, which {where}holds"
            )
        roles[role] = name
    return roles


def guess_roles(names: Collection[str]) -> dict[str, str]:
    """Return the roles that the names tell; one for which several names stand is left out."""
    if set(ROLES) <= set(names):
        return {role: role for role in ROLES}
    found: dict[tuple[str, str], list[str]] = {}
    for name in names:
        if (place := _place(name)) is not None:
            found.setdefault(place, []).append(name)
    single = {place: places[0] for place, places in found.items() if len(places) == 1}
    roles = {
        f"{data}_train": single.get(("train", data)) or single.get(("", data)) for data in DATA
    }
    for test in ("test", "validation"):
        if (test, "x") in single and (test, "y") in single:
            roles |= {f"{data}_test": single[test, data] for data in DATA}
            break
    else:
        roles |= {f"{data}_test": single.get(("test", data)) for data in DATA}
    return {role: name for role, name in roles.items() if name is not None}


def _place(name: str) -> tuple[str, str] | None:
    """Return the set, `` for none, and x or y that a name tells, None if it tells neither."""
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", name)  # trainX
    words = [word for word in re.split(r"[^a-z0-9]+", spaced.lower()) if word]
    words = [word for each in words for word in _split(each) if word not in IGNORED]
    sets = [name for name, known in SETS.items() if known & set(words)]
    data = [name for name, known in DATA.items() if known & set(words)]
    others = set(words) - set().union(*SETS.values(), *DATA.values())
    if others or len(sets) > 1 or not data:
        return None
    return sets[0] if sets else "", data[0] if len(data) == 1 else "y"


def _split(word: str) -> list[str]:
    """Return xtrain as x and train."""
    for known in (word for words in SETS.values() for word in words if len(word) > 2):
        if word != known and (word.startswith(known) or word.endswith(known)):
            rest = word.removeprefix(known) if word.startswith(known) else word.removesuffix(known)
            if any(rest in words for words in DATA.values()):
                return [known, rest]
    return [word]


def beside(path: Path) -> Path | None:
    """Return the file of the test set beside that of a training set, if there is one."""
    for name in (path.name.replace("train", "test"), path.name.replace("Train", "Test")):
        if name != path.name and path.with_name(name).is_file():
            return path.with_name(name)
    return None
