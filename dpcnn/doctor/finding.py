"""What a check returns, and how it is printed."""

from __future__ import annotations

import textwrap
from typing import NamedTuple

OK, WARNING, FAILURE = "ok", "warning", "failure"
COLUMNS = 80
NAMES = 15  # columns of the names of what is checked


class Finding(NamedTuple):
    """One line: ok, warning or failure; what was found; and the cure, unless all is well."""

    state: str
    what: str
    cure: str = ""

    def lines(self, name: str) -> list[str]:
        """Return the finding as text under the name of what was checked, 80 columns wide."""
        head = f"{self.state:<9}{name:<{NAMES}}"
        rest = " " * len(head)
        lines = _wrapped(self.what, head, rest)
        return lines + (_wrapped(self.cure, f"{rest}cure: ", rest) if self.cure else [])


def _wrapped(text: str, first: str, rest: str) -> list[str]:
    return textwrap.wrap(
        text, COLUMNS, initial_indent=first, subsequent_indent=rest, break_on_hyphens=False,
        break_long_words=False,
    )  # fmt: skip
