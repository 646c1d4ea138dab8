"""Arrays in files: the rows read are the rows stored, and a read that fails is one clear line."""

from __future__ import annotations

import errno
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dpcnn.data import disk_array
from dpcnn.data.disk_array import StoredArray
from dpcnn.errors import ReadError

ROWS = 50
OFFSET = 13  # of the first row in the file


@pytest.fixture(scope="module", params=["u1", "<f4"])
def array(request: pytest.FixtureRequest) -> Any:
    """An array (50, 2, 3)."""
    return np.random.default_rng(0).integers(0, 99, (ROWS, 2, 3)).astype(request.param)


@pytest.fixture(scope="module")
def path(array: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("stored") / "array"
    path.write_bytes(b"\1" * OFFSET + array.tobytes() + b"\2")
    return path


def test_it_looks_like_the_array(array: Any, path: Path) -> None:
    stored = StoredArray(path, array.shape, array.dtype, OFFSET)
    assert (stored.shape, stored.dtype, len(stored)) == (array.shape, array.dtype, len(array))
    assert stored.nbytes == array.nbytes
    np.testing.assert_array_equal(np.asarray(stored), array, strict=True)


@settings(derandomize=True, deadline=None, max_examples=200)
@given(
    st.lists(st.integers(0, ROWS - 1)),
    st.integers(0, 300),
    st.integers(1, 300),
    st.integers(0, 20),
    st.integers(0, 60),
)
def test_any_rows_in_any_order_are_those_of_the_array(
    array: Any, path: Path, rows: list[int], gap: int, span: int, first: int, last: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(disk_array, "GAP", gap)
        patch.setattr(disk_array, "SPAN", span)
        whole = StoredArray(path, array.shape, array.dtype, OFFSET)
        chosen = np.array(rows, np.int64)
        np.testing.assert_array_equal(whole[chosen], array[chosen], strict=True)
        part = whole[first:last]
        np.testing.assert_array_equal(np.asarray(part), array[first:last], strict=True)
        for row in rows:
            np.testing.assert_array_equal(whole[row], array[row], strict=True)
        inside = chosen[chosen < len(part)]
        np.testing.assert_array_equal(part[inside], array[first:last][inside], strict=True)


@pytest.mark.parametrize("rows", [[ROWS], [-1], [0, 3, ROWS]])
def test_rows_past_the_end_are_an_index_error(rows: list[int], array: Any, path: Path) -> None:
    with pytest.raises(IndexError):
        StoredArray(path, array.shape, array.dtype, OFFSET)[np.array(rows)]


def test_rows_are_read_together_across_small_gaps_only(
    array: Any, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = StoredArray(path, array.shape, array.dtype, OFFSET)
    reads: list[tuple[int, int]] = []
    run = StoredArray._read_run
    monkeypatch.setattr(
        StoredArray,
        "_read_run",
        lambda self, first, last: reads.append((first, last)) or run(self, first, last),
    )
    monkeypatch.setattr(disk_array, "GAP", 3 * whole.row_bytes)
    monkeypatch.setattr(disk_array, "SPAN", 20 * whole.row_bytes)
    whole[np.array([40, 3, 8, 11, 18, 19, 20, 5])]
    assert reads == [(3, 12), (18, 20), (20, 21), (40, 41)]


def test_it_can_be_filled_and_pickled_while_the_file_exists(array: Any, tmp_path: Path) -> None:
    new = StoredArray.create(tmp_path / "new", array.shape, array.dtype)
    assert not np.asarray(new).any()
    for first in range(0, ROWS, 7):
        new[first : min(first + 7, ROWS)] = array[first : first + 7].astype("f8")
    other = pickle.loads(pickle.dumps(new[10:20]))
    (tmp_path / "new").unlink()
    np.testing.assert_array_equal(np.asarray(new), array, strict=True)
    np.testing.assert_array_equal(np.asarray(other), array[10:20], strict=True)


def test_a_file_that_was_cut_off_is_named(array: Any, path: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut"
    cut.write_bytes(path.read_bytes())
    whole = StoredArray(cut, array.shape, array.dtype, OFFSET)
    os.truncate(cut, OFFSET + 30 * whole.row_bytes + 1)
    np.testing.assert_array_equal(whole[np.arange(30)], array[:30])
    with pytest.raises(ReadError) as caught:
        whole[np.array([29, 30])]
    assert f"{cut}: ends at byte" in str(caught.value)


def test_a_broken_disk_is_named(array: Any, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*arguments: Any) -> int:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    whole = StoredArray(path, array.shape, array.dtype, OFFSET)
    monkeypatch.setattr(os, "preadv", broken)
    with pytest.raises(ReadError, match=r"cannot be read \(Input/output error\)"):
        whole[np.array([0])]


def test_short_reads_are_continued(array: Any, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.preadv
    monkeypatch.setattr(os, "preadv", lambda file, room, place: real(file, [room[0][:5]], place))
    whole = StoredArray(path, array.shape, array.dtype, OFFSET)
    np.testing.assert_array_equal(np.asarray(whole), array)
