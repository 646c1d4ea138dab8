"""Brings the project and the dataset to hosts that lack them, with rsync over ssh.

    python launch/lib/copying.py HOSTFILE [options of dpcnn.train]

They get the same paths as here, and the current directory is made there. What a host has already,
also on a shared file system, is not sent again. An error is one line, with exit code 2.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ssh
from hostfile import PROJECT, HostfileError, is_here, read

from dpcnn.cli.arguments import parse_arguments
from dpcnn.data.sources.find import DIGITS, resolve
from dpcnn.errors import DpcnnError
from dpcnn.system.terminal import on_terminal
from dpcnn.system.text import warn

# What an environment is made from; each host makes its own.
PARTS = ("dpcnn", "launch", "pyproject.toml", "README.md", "LICENSE")
BY_HAND = f"install it, or copy {PROJECT} and the dataset yourself"
# The other side of rsync, and the directory to train in; ssh.ask wants JSON.
PREPARE = """
command -v rsync >/dev/null || { echo "found no rsync there, which --copy needs: $2" >&2; exit 1; }
mkdir -p "$1" && echo "{}"
"""
# With whole paths (-R), and without the attributes of the directories that lead to them.
RSYNC = ("rsync", "-rLptsR", "--no-implied-dirs", "-e", shlex.join(ssh.SSH))


def dataset(words: Sequence[str]) -> Path | None:
    """Return the path of the dataset that options of training name, None if there is no such file.

    Downloads one that is known by name. Raises DpcnnError.
    """
    options, named = parse_arguments(words)
    if options.resume is not None and "dataroot" not in named:
        return None  # the run has begun there
    root = resolve(options.dataroot, options.mirror, on_terminal(), warn, fall_back=False)
    return None if root == DIGITS else Path(root).absolute()


def bring(host: str, data: Path | None) -> dict[str, Any]:
    """Bring the project and the data to a host; raises HostError."""
    ssh.ask(host, ["sh", "-c", PREPARE, "sh", os.getcwd(), BY_HAND])
    parts = (str(PROJECT / part) for part in PARTS)
    _send(host, "--delete", "--exclude=__pycache__", *parts)
    if data is not None:
        _send(host, str(data))
    return {}


def _send(host: str, *words: str) -> None:
    done = subprocess.run([*RSYNC, *words, f"{host}:/"], capture_output=True, text=True)
    if done.returncode:
        reason, *_ = [*done.stderr.strip().splitlines(), f"rsync ended with {done.returncode}"]
        raise ssh.HostError(f"{host}: {reason}")


def main(path: Path, words: Sequence[str]) -> int:
    """Bring what is needed to all other hosts of a HOSTFILE; return the exit code."""
    try:
        others = [host for host in read(path) if not is_here(host)]
        if others and shutil.which("rsync") is None:
            raise HostfileError(f"found no rsync here, which --copy needs: {BY_HAND}")
        data = dataset(words) if others else None
        answers = ssh.on_all(others, lambda host: bring(host, data))
        wrong = [str(answer) for answer in answers if isinstance(answer, ssh.HostError)]
        if wrong:
            raise HostfileError("; ".join(wrong))
    except (HostfileError, DpcnnError) as error:
        print(f"launch/hosts: error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2:]))
