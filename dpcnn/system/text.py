"""Text from files and other programs, made safe to print; what all commands print goes through it.

A name or a text from elsewhere may hold escape sequences, which a terminal obeys.
"""

from __future__ import annotations

import sys
from typing import TextIO

from dpcnn.system.terminal import over_the_bar

LONGEST = 400  # characters of a foreign text that a message repeats


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


def say(text: str = "", file: TextIO | None = None, flush: bool = True, over: bool = False) -> None:
    """Print a text to a file, standard output if left out, with its unprintable letters escaped.

    Those that the encoding lacks are escaped too. over: a bar may be there, as on standard error.
    """
    out = sys.stdout if file is None else file
    encoding = out.encoding or "utf-8"
    line = printable(text).encode(encoding, "backslashreplace").decode(encoding)
    before = over_the_bar() if over or out is sys.stderr else ""
    print(f"{before}{line}\n", end="", file=out, flush=flush)  # at once: ranks share a pipe


def warn(text: str) -> None:
    """Print a line on standard error that starts with `warning:`."""
    say(in_one_line(f"warning: {text}"), sys.stderr)


def in_one_line(text: str) -> str:
    """Return a text with the ends of its lines, and tabs, escaped."""
    return text.replace("\n", "\\n").replace("\t", "\\t")
