"""The copy of a dataset that the ranks of a node share: where it lies, and that it goes."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from dpcnn.data.dataset import Dataset, Images
from dpcnn.parallel.communicator import Communicator
from dpcnn.training.datasets import _share


def test_where_the_disk_has_no_room_the_ranks_share_memory(tmp_path: Path) -> None:
    images = Images(np.arange(8, dtype=np.uint8).reshape(2, 1, 2, 2), np.array([0, 1]))
    before = sorted(os.listdir("/proc/self/fd"))
    shared = _share(Dataset(images, images, "test", 2), Communicator(), tmp_path / "no room/file")
    assert np.array_equal(shared.train.images, images.images)
    assert np.array_equal(shared.test.labels, images.labels)
    del shared
    assert sorted(os.listdir("/proc/self/fd")) == before
