"""Takes from what mpirun prints the words of MPI libraries about ranks that have died.

The ranks and the supervisor say what has happened, in a line. Open MPI (5.0.11) prints a page for a
crash, and may repeat a line a thousand times a second while it waits for a dead rank.
"""

from __future__ import annotations

import re

# Of Open MPI, from inside a rank: [host:process] or [host][[job],rank], and some words.
INSIDE = re.compile(rb"\[[\w.-]+(:\d+\]|\]\[\[)")
SIGNAL = re.compile(rb"\[([\w.-]+):(\d+)\] Signal: ([^(\n]+)")
MOST = 5  # lines of that kind that are kept: they may say why a run cannot start
# Of Hydra, and of both after MPI_Abort: nothing but that ranks have ended.
ENDS = re.compile(
    rb"=   (BAD TERMINATION|PID|EXIT CODE|CLEANING UP|YOU CAN IGNORE)"
    rb"|={70,}$|YOUR APPLICATION TERMINATED WITH|This typically refers to a problem with your"
    rb"|Please see the FAQ page for debugging|[Aa]pplication called MPI_Abort|Abort\(\d+\) on node"
    rb"|\[(mpiexec|proxy)[:@]|\*\*\* (reported|on communicator|MPI_ERR|MPI_ABORT|and potentially)"
    rb"|\[[\w.-]+:\d+\] \*\*\* (?!Process received signal|End of error)"
    rb"|.*NBC_Progress|.*reported dead by someone else|.*An error occurred in MPI_"
)
# Open MPI's mpirun frames what it says: pages that begin so are about ranks that have ended. Others
# are shown once, though every rank may have caused one.
FRAME = re.compile(rb" ?-{70,}$")
PAGES = re.compile(rb"prterun (has exited|noticed|detected)|MPI_ABORT was|Primary job  terminated")
# Three pages that each rank prints where MPI cannot start, as when another has died then.
INIT = re.compile(rb"It looks like MPI_INIT failed|MPI_INIT has failed|At least one pair of MPI")
LONGEST_PAGE = 40  # lines
STARTS = (b"[", b"=", b"-", b" -", b"*", b"A", b"a", b"N", b"Y", b"This", b"Please")


class Sieve:
    """Lets through what is for the reader; works on chunks, with whatever is a line's part."""

    def __init__(self) -> None:
        self._held = b""  # the beginning of a line that may be noise
        self._open = False  # whether the beginning of this line was let through
        self._page: list[bytes] | None = None
        self._pages: set[bytes] = set()
        self._inside = 0
        self._crash = False
        self._dropped = False  # whether the line before was noise

    def sift(self, data: bytes) -> bytes:
        """Return what of the data, and of what was held back, is to be printed now."""
        *lines, rest = (self._held + data).split(b"\n")
        kept = b"".join(self._line(line) for line in lines)
        starts = rest.startswith(STARTS) or any(start.startswith(rest) for start in STARTS)
        hold = not self._open and starts
        self._held = rest if hold or self._page is not None else b""
        if rest and not self._held:
            self._open = True
            kept += rest
        return kept

    def rest(self) -> bytes:
        """Return what is still held back, at the end."""
        page = b"".join(line + b"\n" for line in self._page or [])
        held, self._held, self._page = page + self._held, b"", None
        return held

    def _line(self, line: bytes) -> bytes:
        """Return what is to be printed of a line, or of a page that it completes."""
        if self._open:
            self._open = False
            return line + b"\n"
        if self._page is not None:
            return self._page_line(line)
        if FRAME.match(line):
            self._page = [line]
            return b""
        if not line and self._dropped:
            return b""  # a part of the noise
        judged = self._judged(line)
        self._dropped = not judged
        return judged

    def _page_line(self, line: bytes) -> bytes:
        assert self._page is not None
        self._page.append(line)
        closed = FRAME.match(line) is not None
        if not closed and len(self._page) < LONGEST_PAGE:
            return b""
        lines, self._page = self._page, None
        page = b"".join(each + b"\n" for each in lines)
        ends = PAGES.match(lines[1])
        kind = b"init" if INIT.match(lines[1]) else page
        known = kind in self._pages
        self._pages.add(kind)
        return b"" if closed and (ends or known) else page

    def _judged(self, line: bytes) -> bytes:
        if crashed := SIGNAL.match(line):
            host, process, signal = crashed.groups()
            words = (b"dpcnn: process", process, b"on", host, b"has crashed:", signal.strip())
            return b" ".join(words) + b"\n"
        if ENDS.match(line):
            return b""
        if INSIDE.match(line):
            self._crash = b"*** Process received signal" in line or self._crash
            crash, self._crash = self._crash, self._crash and b"*** End of error" not in line
            self._inside += not crash
            return b"" if crash or self._inside > MOST else line + b"\n"
        return line + b"\n"
