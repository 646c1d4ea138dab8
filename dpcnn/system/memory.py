"""Memory: this machine's, before an array is made that a file declares, and this process's own."""

from __future__ import annotations

import os
import re
from pathlib import Path

from dpcnn.errors import DataError


def check_fits(size: int, where: str, cure: str = "") -> None:
    """Raise DataError if so many bytes are more than half of the machine's memory.

    where: what takes them, as the message names it; cure: what would help.
    """
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if size > memory / 2:
        raise DataError(
            f"{where} takes {size / 2**30:,.1f} GiB, expected at most half of the memory{cure}"
        )


def peak() -> int:
    """Return the most bytes of memory that this process has had."""
    status = Path("/proc/self/status").read_text()  # getrusage tells its parent's too
    found = re.search(r"^VmHWM:\s*(\d+) kB$", status, re.MULTILINE)
    return 1024 * int(found[1]) if found else 0
