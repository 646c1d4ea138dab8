"""Foreign text in messages: one line, printable, of bounded length."""

from __future__ import annotations

import io
import sys

import pytest

from dpcnn.system.terminal import ERASE
from dpcnn.system.text import LONGEST, one_line, say


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


@pytest.mark.parametrize(("terminal", "before"), [("1", f"\r{ERASE}"), ("0", "")])
def test_a_message_is_a_line_of_its_own_in_one_write(
    terminal: str, before: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a terminal the bar, which may be another rank's, makes way for it."""
    writes: list[str] = []

    class Written(io.StringIO):
        def write(self, text: str) -> int:
            writes.extend([text] if text else [])
            return len(text)

    monkeypatch.setenv("DPCNN_TERMINAL", terminal)
    monkeypatch.setattr(sys, "stderr", Written())
    say("two\nlines", sys.stderr)
    assert writes == [f"{before}two\nlines\n"]
