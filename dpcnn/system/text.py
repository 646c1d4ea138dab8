"""Text from files and other programs, made safe to print."""

from __future__ import annotations

LONGEST = 400  # characters of a foreign text that a message repeats


def one_line(text: object) -> str:
    """Return a text that may come from anywhere as one line, printable and not too long.

    Runs of white space become one space, other characters that cannot be printed become `?`. An
    object whose text is empty, such as an error without a message, becomes the name of its type.
    """
    line = " ".join(str(text).split()) or type(text).__name__
    printable = "".join(character if character.isprintable() else "?" for character in line)
    return printable if len(printable) <= LONGEST else f"{printable[:LONGEST]}..."
