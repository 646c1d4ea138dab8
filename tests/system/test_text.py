"""Foreign text in messages: one line, printable, of bounded length."""

from __future__ import annotations

import pytest

from dpcnn.system.text import LONGEST, one_line


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("plain ünïcode", "plain ünïcode"),
        (" two\n\n lines\t and\r more ", "two lines and more"),
        ("\x1b[2J\0\u202e", "?[2J??"),
        ("", "str"),
        (ValueError(), "ValueError"),
        (ValueError("what\nhappened"), "what happened"),
        (3, "3"),
        ("x" * LONGEST, "x" * LONGEST),
        ("x" * (LONGEST + 1), "x" * LONGEST + "..."),
    ],
)
def test_any_text_becomes_one_printable_line_of_bounded_length(text: object, line: str) -> None:
    assert one_line(text) == line
