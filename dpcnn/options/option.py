"""What the declaration of an option says: its type, default, range, help, and what may change."""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass
from functools import partial
from math import inf
from typing import Any, TypeVar

from dpcnn.errors import OptionError

Value = bool | int | float | str | None
T = TypeVar("T", bound=Value)

BOOLS = {"true": True, "false": False}


@dataclass(frozen=True, kw_only=True)
class Option:
    """One option: its name, the values it takes, and what --help says about it.

    Attributes
    ----------
    name, value_type, default
        From the field of Options that declares it; `value_type` leaves out None.
    group, help, metavar
        Its section of --help, the text there, and what the value is called there.
    aliases
        Other names of the same option.
    low, high
        The smallest and the largest number allowed, also for a number in a text.
    choices
        The only texts allowed, if there are any.
    pattern, takes
        A regular expression for the whole of any other text, and in words what it allows. If it
        has a group, that is a number.
    none_word
        The word that stands for None; empty if None is not allowed.
    may_change
        Whether a resumed run may change it. The others decide the bits of a run.
    """

    name: str
    value_type: type
    default: Value
    group: str
    help: str
    metavar: str
    aliases: tuple[str, ...]
    low: float
    high: float
    choices: tuple[str, ...]
    pattern: str
    takes: tuple[str, ...]
    none_word: str
    may_change: bool

    def parse(self, text: str) -> Value:
        """Return the value that a text of the command line stands for; raises OptionError."""
        if self._stands_for_none(text):
            return None
        try:
            value: Value = BOOLS[text] if self.value_type is bool else self.value_type(text)
        except (KeyError, ValueError):
            raise self.error(text) from None
        self.check(value)
        return value

    def convert(self, value: Any) -> Value:
        """Return a value of a TOML file or a Python call, None for its word; raises OptionError."""
        if self._stands_for_none(value):
            return None
        self.check(value)
        return value  # type: ignore[no-any-return]  # checked

    def check(self, value: object) -> None:
        """Raise OptionError unless the option may have this value."""
        if not self._allows(value):
            raise self.error(value)

    def error(self, value: object) -> OptionError:
        """Return the error that says what the option takes instead of this value."""
        return OptionError(f"--{self.name} is {value!r:.500}, expected {self.expected}")

    @property
    def expected(self) -> str:
        """What the option takes, in words."""
        alternatives = [*self._alternatives(), self.none_word]
        *others, last = filter(None, alternatives)
        return f"{', '.join(others)} or {last}" if others else last

    def text(self, value: Value) -> str:
        """Return a value as a user types it."""
        match value:
            case None:
                return self.none_word
            case bool():
                return str(value).lower()
            case float():
                return str(value).removesuffix(".0")
        return str(value)

    def _stands_for_none(self, value: object) -> bool:
        return isinstance(value, str) and value != "" and value == self.none_word

    def _allows(self, value: object) -> bool:
        match value:
            case None:
                return self.none_word != ""
            case bool():  # which is an int in Python
                return self.value_type is bool
            case int():
                return self.value_type in (int, float) and self.low <= value <= self.high
            case float():
                return self.value_type is float and self.low <= value <= self.high
            case str() if self.choices:
                return value in self.choices
            case str():
                return self.value_type is str and self._matches(value)
        return False

    def _matches(self, text: str) -> bool:
        match = re.fullmatch(self.pattern, text)
        if match is None:
            return False
        return match.lastindex is None or self.low <= int(match[1]) <= self.high

    def _alternatives(self) -> tuple[str, ...]:
        if self.value_type is bool:
            return tuple(BOOLS)
        if self.value_type is int:
            return (f"an integer from {self.low} to {self.high}",)
        if self.value_type is float:
            return (f"a number from {self.low:g} to {self.high:g}",)
        return self.choices or self.takes


def option(
    default: T,
    group: str,
    help: str,
    *,
    metavar: str = "",
    aliases: tuple[str, ...] = (),
    low: float = -inf,
    high: float = inf,
    choices: tuple[str, ...] = (),
    pattern: str = r"[^\0]+",
    takes: tuple[str, ...] = ("text",),
    none_word: str = "",
    may_change: bool = False,
) -> T:
    """Declare an option as a field of Options; Option explains the parameters."""
    declaration = partial(
        Option,
        default=default,
        group=group,
        help=help,
        metavar=metavar,
        aliases=aliases,
        low=low,
        high=high,
        choices=choices,
        pattern=pattern,
        takes=takes,
        none_word=none_word,
        may_change=may_change,
    )
    return dataclasses.field(default=default, metadata={"option": declaration})
