"""Memory that the ranks of one node share."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


@dataclass(frozen=True)
class SharedVectors:
    """A vector of each rank, in rank order, and one for their sum: all ranks see all of them."""

    values: list[Array]
    total: Array

    @classmethod
    def allocate(
        cls,
        rank: int,
        size: int,
        length: int,
        dtypes: tuple[np.dtype[Any], np.dtype[Any]],
        bcast: Callable[[str | None], str | None],
    ) -> SharedVectors | None:
        """Return vectors of zeros, of types (values, total); collective. None: no room for them.

        `bcast` gives rank 0's word to all ranks and returns when all have come. The memory is a
        file that is mapped and unlinked, for the reasons data.dataset.write_mapped has.
        """
        lengths = [length * dtypes[0].itemsize] * size + [length * dtypes[1].itemsize]
        path = _reserve(sum(lengths)) if rank == 0 else None
        path = bcast(path)
        if path is None:
            return None
        memory = np.memmap(path, np.uint8, "r+")
        bcast(None)  # all have it open: the name may go, the memory stays
        if rank == 0:
            os.unlink(path)
        cuts = np.cumsum([0, *lengths])
        rows = [memory[cuts[row] : cuts[row + 1]].view(np.ndarray) for row in range(size + 1)]
        return cls([row.view(dtypes[0]) for row in rows[:-1]], rows[-1].view(dtypes[1]))


def _reserve(length: int) -> str | None:
    """Return a new file with disk blocks for so many bytes, or None if there is no room."""
    try:
        file, path = tempfile.mkstemp(prefix="dpcnn-")
    except OSError:
        return None
    try:
        os.posix_fallocate(file, 0, length)  # a page that has no block kills who writes to it
    except OSError:
        os.unlink(path)
        return None
    finally:
        os.close(file)
    return path
