"""What this process may use, and how the cores and memory of its host belong together."""

from __future__ import annotations

import resource
from pathlib import Path

NODES = Path("/sys/devices/system/node")
INFINIBAND = Path("/sys/class/infiniband")  # has an entry for each such network card
KINDS = {
    "open_files": resource.RLIMIT_NOFILE,
    "locked_memory": resource.RLIMIT_MEMLOCK,
    "memory": resource.RLIMIT_AS,
}


def limits() -> dict[str, int | None]:
    """Return the limits that `ulimit` shows, by name, in bytes or as a count; None: no limit."""
    soft = {name: resource.getrlimit(kind)[0] for name, kind in KINDS.items()}
    return {name: None if n == resource.RLIM_INFINITY else n for name, n in soft.items()}


def has_infiniband(folder: Path = INFINIBAND) -> bool:
    """Tell whether the host has a network whose messages go to and from locked memory."""
    return folder.is_dir() and any(folder.iterdir())


def numa_nodes(folder: Path = NODES) -> list[list[int]]:
    """Return the cores of each NUMA node that has some; empty where Linux does not tell."""
    texts = [path.read_text() for path in sorted(folder.glob("node[0-9]*/cpulist"))]
    return [cores for text in texts if (cores := _cores(text))]


def _cores(text: str) -> list[int]:
    """Return the numbers in a list such as 0-3,8-11."""
    spans = [part.split("-") for part in text.strip().split(",") if part]
    return [core for span in spans for core in range(int(span[0]), int(span[-1]) + 1)]
