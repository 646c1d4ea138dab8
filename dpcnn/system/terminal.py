"""The terminal: whether somebody watches, how wide the window is, and a line that is redrawn."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
from functools import cache

from dpcnn.system.supervisor import Supervisor

STANDARD_OUTPUT, STANDARD_ERROR = 1, 2
# From the cursor to the end of the screen: of a line that the window has wrapped, all its rows.
ERASE = "\x1b[J"
# Whether a terminal continues in a new row what is wider than the window, or cuts it.
CUT, WRAP = "\x1b[?7l", "\x1b[?7h"


def on_terminal() -> bool:
    """Tell whether standard error is a terminal that can show a bar.

    Under a launch script the ranks have pipes; the script says whether it has a terminal itself.
    """
    capable = os.environ.get("TERM", "dumb") != "dumb"
    return (sys.stderr.isatty() and capable) or os.environ.get("DPCNN_TERMINAL") == "1"


def over_the_bar() -> str:
    """Return what to write to standard error before a line: a bar, of any rank, may be there."""
    return f"\r{ERASE}" if on_terminal() else ""


def columns() -> int:
    """Return the width of the window as it is now.

    Under a launch script it is that of the supervisor's window. If that is on another host, what
    the script has found at the start stands.
    """
    for terminal in (STANDARD_ERROR, _supervisor().terminal):
        if terminal is not None:
            with contextlib.suppress(OSError):  # no terminal, or one that was closed
                width = os.get_terminal_size(terminal).columns
                if width:
                    return width
    return shutil.get_terminal_size().columns


@cache
def _supervisor() -> Supervisor:
    return Supervisor()


class BottomLine:
    """A line of standard error that is drawn again and again, below all that is printed.

    The cursor rests at its beginning. So, if the window gets narrower and wraps the line, what is
    drawn next takes the place of all of its rows, and none is left behind.
    """

    shown = False

    def draw(self, text: str) -> None:
        """Show a text in the place of the one before; a narrow window cuts it."""
        _write(f"\r{CUT}{text}{WRAP}{ERASE}\r")
        self.shown = True

    def clear(self) -> None:
        """Make way for what is printed next."""
        if self.shown:
            self.shown = False
            _write(f"\r{ERASE}")


def _write(text: str) -> None:
    """Write past Python's buffers, which may be in use at the moment."""
    with contextlib.suppress(OSError):
        os.write(STANDARD_ERROR, text.encode())


bottom_line = BottomLine()
