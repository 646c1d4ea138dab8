"""What a container's quota leaves of the cores, in both versions of Linux's control groups."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from dpcnn.system import cores

LIMITS = [
    ({}, None),
    ({"cpu.max": "max 100000"}, None),
    ({"cpu.max": "150000 100000"}, 1.5),
    ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, None),
    ({"cpu/cpu.cfs_quota_us": "300000", "cpu/cpu.cfs_period_us": "100000"}, 3.0),
    ({"cpu/cpu.cfs_quota_us": "300000"}, None),
]


def write(cgroup: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (cgroup / name).parent.mkdir(exist_ok=True)
        (cgroup / name).write_text(f"{text}\n")
    return cgroup


@pytest.mark.parametrize(("files", "allowed"), LIMITS)
def test_a_quota_is_read(files, allowed, tmp_path):
    assert cores.quota(write(tmp_path, files)) == allowed


def test_a_quota_is_told_if_it_leaves_less_than_the_cores(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0, 1, 2})
    assert cores.limited(write(tmp_path, {"cpu.max": "300000 100000"})) == ""
    text = cores.limited(write(tmp_path, {"cpu.max": "150000 100000"}))
    assert text == "the container's CPU quota is 1.5 of 3 cores"


@pytest.mark.parametrize(("files", "allowed"), LIMITS)
def test_as_many_cores_are_usable_as_the_quota_has_whole_ones(
    files, allowed, tmp_path, monkeypatch
):
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0, 1})
    expected = 2 if allowed is None or allowed >= 2 else 1
    assert cores.usable(write(tmp_path, files)) == expected


@pytest.mark.parametrize(
    ("ranks", "text"),
    [
        ([("a", {0, 1}, None)] * 2, ""),
        ([("a", {0}, None), ("a", {1}, None)], ""),
        ([("a", {0, 1}, 2.0)] * 2, ""),
        ([("a", {0, 1}, None)] * 3, "2, for 3 ranks on a, which take turns"),
        (
            [("a", {0, 1}, 1.5)] * 2 + [("b", {0}, None)],
            "1.5 of 2, by the container's CPU quota, for 2 ranks on a, which take turns",
        ),
        (
            [("a", {0}, None), ("b", {0}, None)] * 2,
            "1, for 2 ranks on a, which take turns; 1, for 2 ranks on b, which take turns",
        ),
    ],
)
def test_more_ranks_than_cores_are_told_of_each_host(ranks, text):
    """Ranks that are bound to a core each have as many cores as there are ranks."""
    assert cores.shared(ranks) == text
