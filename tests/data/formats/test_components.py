"""Connected components, against a flood fill."""

from __future__ import annotations

import numpy as np
import pytest

from dpcnn.data.formats.components import connected


def flood_fill(mask):
    """Return the components of a mask as sets of (row, column)."""
    left, found = set(zip(*np.nonzero(mask), strict=True)), []
    while left:
        border = {left.pop()}
        part = set(border)
        while border:
            near = {(y + v, x + u) for y, x in border for v in (-1, 0, 1) for u in (-1, 0, 1)}
            border = near & left
            left -= border
            part |= border
        found.append(part)
    return found


@pytest.mark.parametrize("share", [0, 0.1, 0.35, 0.6, 1])
def test_components_are_those_of_a_flood_fill(share):
    mask = np.random.default_rng(0).random((40, 30)) < share
    parts = connected(mask)
    expected = flood_fill(mask)
    assert len(parts.area) == len(expected)
    assert np.array_equal(parts.labels > 0, mask)
    for pixels in expected:
        (label,) = {parts.labels[pixel] for pixel in pixels}
        rows, columns = zip(*pixels, strict=True)
        box = [sides[label - 1] for sides in (parts.top, parts.bottom, parts.left, parts.right)]
        assert box == [min(rows), max(rows) + 1, min(columns), max(columns) + 1]
        assert parts.area[label - 1] == len(pixels)


def test_a_line_in_many_windings_is_one_component():
    mask = np.zeros((61, 40), bool)
    mask[::2] = True
    mask[1::4, -1] = mask[3::4, 0] = True
    assert connected(mask).area.tolist() == [mask.sum()]


def test_pixels_on_the_edge_are_counted():
    mask = np.zeros((5, 6), bool)
    mask[0, 1:4] = mask[1:4, 2] = True
    assert connected(mask).contact.tolist() == [3]
