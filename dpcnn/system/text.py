"""Text from files and other programs, made safe to print; what all commands print goes through it.

A name or a text from elsewhere may hold escape sequences, which a terminal obeys.
"""

from __future__ import annotations

import os
import sys
from typing import TextIO

LONGEST = 400  # characters of a foreign text that a message repeats
ERASE = "\x1b[K"  # from the cursor to the end of the line


def one_line(text: object) -> str:
    """Return a text that may come from anywhere as one line, printable and not too long.

    Runs of white space become one space, other characters that cannot be printed become `?`. An
    object whose text is empty, such as an error without a message, becomes the name of its type.
    """
    line = " ".join(str(text).split()) or type(text).__name__
    printable = "".join(character if character.isprintable() else "?" for character in line)
    return printable if len(printable) <= LONGEST else f"{printable[:LONGEST]}..."


def printable(text: str) -> str:
    """Return a text of any lines with whatever a terminal would obey, or not show, escaped."""
    if text.isascii() and text.replace("\n", "").isprintable():
        return text
    return "".join(
        each if each.isprintable() or each in "\n\t" else each.encode("unicode_escape").decode()
        for each in text
    )


def on_terminal() -> bool:
    """Tell whether standard error is a terminal that can show a bar.

    Under a launch script the ranks have pipes; the script says whether it has a terminal itself.
    """
    capable = os.environ.get("TERM", "dumb") != "dumb"
    return (sys.stderr.isatty() and capable) or os.environ.get("DPCNN_TERMINAL") == "1"


def over_the_bar() -> str:
    """Return what to write to standard error before a line: a bar, of any rank, may be there."""
    return f"\r{ERASE}" if on_terminal() else ""


def say(text: str = "", file: TextIO | None = None, flush: bool = True) -> None:
    """Print a text to a file, standard output if left out, with its unprintable letters escaped.

    Those that the encoding lacks are escaped too.
    """
    out = sys.stdout if file is None else file
    encoding = out.encoding or "utf-8"
    line = printable(text).encode(encoding, "backslashreplace").decode(encoding)
    before = over_the_bar() if out is sys.stderr else ""
    print(f"{before}{line}\n", end="", file=out, flush=flush)  # at once: ranks share a pipe


def warn(text: str) -> None:
    """Print a line on standard error that starts with `warning:`."""
    say(in_one_line(f"warning: {text}"), sys.stderr)


def in_one_line(text: str) -> str:
    """Return a text with the ends of its lines, and tabs, escaped."""
    return text.replace("\n", "\\n").replace("\t", "\\t")
