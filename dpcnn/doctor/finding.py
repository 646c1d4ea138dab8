"""The result of a check, and how it is printed."""

from __future__ import annotations

import textwrap
from typing import NamedTuple

OK, WARNING, FAILURE = "ok", "warning", "failure"
COLUMNS = 80
NAMES = 15  # columns of the names of what is checked


class Finding(NamedTuple):
    """A state (ok, warning or failure), what was found, and the cure, unless all is well."""

    state: str
    text: str
    cure: str = ""

    def lines(self, name: str) -> list[str]:
        """Return the finding as lines of 80 columns under the name of what was checked."""
        head = f"{self.state:<9}{name:<{NAMES}}"
        indent = " " * len(head)
        lines = _wrapped(self.text, head, indent)
        return lines + (_wrapped(self.cure, f"{indent}cure: ", indent) if self.cure else [])


def _wrapped(text: str, first: str, rest: str) -> list[str]:
    return textwrap.wrap(
        text, COLUMNS, initial_indent=first, subsequent_indent=rest, break_on_hyphens=False,
        break_long_words=False,
    )  # fmt: skip


def size_text(size: float) -> str:
    """Return a number of bytes as a whole number with its unit, of two digits or more."""
    for unit in ("bytes", "KB", "MB", "GB"):
        if size < 10 * 1024:
            return f"{size:,.0f} {unit}"
        size /= 1024
    return f"{size:,.0f} TB"


def time_text(seconds: float) -> str:
    """Return a time as a whole number with its unit, of two digits or more."""
    for unit in ("s", "ms", "us"):
        if seconds >= 10:
            return f"{seconds:,.0f} {unit}"
        seconds *= 1000
    return f"{seconds:,.0f} ns"


def count_text(count: float, noun: str) -> str:
    """Return a number of things as text: 1 core, 1.5 cores."""
    return f"{count:g} {noun}{'s' * (count != 1)}"
