"""The options as keywords with types: the file for type checkers and editors equals the table.

python -m tests.options.test_keywords    writes the file anew, after a change of the table
"""

from __future__ import annotations

import typing
from pathlib import Path

import pytest

import dpcnn
from dpcnn.options import ALIASES, OPTIONS, Option, keywords

HEAD = '''"""The keywords of dpcnn.train with their types, for editors and type checkers.

The options of table.py, each under its names.
Written by `python -m tests.options.test_keywords`.
"""

from __future__ import annotations

from os import PathLike
from typing import Literal, TypedDict


class Keywords(TypedDict, total=False):
    """Every option by its names, and `recipe`, which stands for several."""

'''


def annotation(option: Option) -> str:
    """Return the type of a keyword: None, or its word, where the option knows one."""
    types = [option.value_type.__name__]
    if option.choices:
        types = [f"Literal[{', '.join(map(_quoted, option.choices))}]"]
    elif "a path" in option.takes:
        types = ["str", "PathLike[str]"]
    if option.none_word:
        types += [] if "str" in types else [f"Literal[{_quoted(option.none_word)}]"]
        types += ["None"]
    return " | ".join(types)


def _quoted(text: str) -> str:
    return f'"{text}"'


def written() -> str:
    names = {name: name for name in OPTIONS} | ALIASES
    lines = [f"    {name}: {annotation(OPTIONS[names[name]])}\n" for name in names]
    return "".join([HEAD, *lines, "    recipe: str | None\n"])


def test_the_keywords_are_those_of_the_table() -> None:
    assert Path(keywords.__file__).read_text() == written()


def test_training_takes_them() -> None:
    assert dpcnn.train.__annotations__["options"] == "Unpack[Keywords]"


@pytest.mark.parametrize("name", OPTIONS)
def test_a_keyword_has_a_type_of_its_default(name: str) -> None:
    hint = typing.get_type_hints(keywords.Keywords)[name]
    default = OPTIONS[name].default
    kinds = [each for each in typing.get_args(hint) or [hint] if isinstance(each, type)]
    assert default in typing.get_args(hint) or isinstance(default, tuple(kinds))


if __name__ == "__main__":
    Path(keywords.__file__).write_text(written())
