"""The memory of this machine, before an array is made that a file declares."""

from __future__ import annotations

import os

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
