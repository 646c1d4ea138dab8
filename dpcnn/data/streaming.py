"""Streaming: images that stay on a disk are read ahead in a thread while the network trains."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Executor
from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dpcnn.data.dataset import Images
from dpcnn.data.sampler import Indices, StreamOrder

Array = NDArray[Any]
Piece = list[tuple[Indices, Array]]  # the indices and images (n, C, H, W) of each micro-batch


def read_ahead(
    thread: Executor, images: Images, order: StreamOrder, positions: Iterator[range]
) -> Iterator[tuple[Indices, Array]]:
    """Yield the indices and images (n, C, H, W) at these positions of the order, one range each.

    They are read in pieces: all micro-batches that begin in one window. The thread reads a piece
    while the one before is taken, so two are in memory. Positions are asked for by the caller's
    thread only. An error is raised where its piece is needed: ReadError for a broken disk.
    """
    windows = groupby(positions, lambda microbatch: order.window_at(microbatch.start))
    pieces = (thread.submit(_read, images, order, list(window)) for _, window in windows)
    coming = next(pieces, None)
    while coming is not None:
        piece = coming.result()
        coming = next(pieces, None)
        yield from piece


def _read(images: Images, order: StreamOrder, piece: list[range]) -> Piece:
    """Return the images of a piece, read at once."""
    first = piece[0].start
    window = order[first : piece[-1].stop]
    indices = [window[part.start - first : part.stop - first] for part in piece]
    rows = images.rows(np.concatenate(indices))
    bounds = np.cumsum([len(chosen) for chosen in indices])[:-1]
    return list(zip(indices, np.split(rows, bounds), strict=True))
