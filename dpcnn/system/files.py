"""Files that the user names."""

from __future__ import annotations

import errno
import stat
from pathlib import Path


def read_bytes(path: Path) -> bytes:
    """Return a file's bytes; raises OSError, for a pipe or device too: it might never end."""
    mode = path.stat().st_mode
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise OSError(errno.EINVAL, "not a regular file")
    return path.read_bytes()
