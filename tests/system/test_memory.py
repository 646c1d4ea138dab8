"""The memory that a process has had."""

from __future__ import annotations

import numpy as np

from dpcnn.system.memory import peak


def test_the_peak_counts_what_was_there_for_a_moment() -> None:
    before = peak()
    assert before > 2**20
    np.ones(before, np.uint8)  # beside what is there
    assert before + 2**20 < peak() < 4 * before
