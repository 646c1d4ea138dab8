"""Where datasets are kept that were downloaded or decoded once: a directory of the user."""

from __future__ import annotations

import os
from pathlib import Path

from dpcnn.errors import DataError


def cache_directory() -> Path:
    """Return $DPCNN_CACHE, or dpcnn in $XDG_CACHE_HOME or ~/.cache.

    Raises DataError if none of the variables is set and the user has no home.
    """
    if directory := os.environ.get("DPCNN_CACHE"):
        return Path(directory)
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dpcnn"
    except RuntimeError as error:
        raise DataError(f"no cache directory: {error} (set DPCNN_CACHE)") from error
