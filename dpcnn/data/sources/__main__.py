"""Fetch a dataset known by name into the cache, for machines that have no network later:

    python -m dpcnn.data.sources cifar10

It goes to $DPCNN_CACHE, or to ~/.cache/dpcnn, where training finds it by its name.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from dpcnn.cli.arguments import CommandLine
from dpcnn.cli.job import Job, run
from dpcnn.data.sources import download
from dpcnn.data.sources.catalog import SOURCES
from dpcnn.data.sources.find import DIGITS
from dpcnn.errors import OptionError
from dpcnn.system.terminal import on_terminal
from dpcnn.system.text import one_line, say


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    return run(lambda: _parse(arguments), _fetch)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = CommandLine(
        prog="python -m dpcnn.data.sources",
        description="Download a dataset known by name, and keep it in the cache for training.",
        allow_abbrev=False,
    )
    parser.add_argument("name", metavar="NAME", help=f"one of {', '.join(SOURCES)}")
    parser.add_argument("--mirror", metavar="URL", help="where to download it from")
    options = parser.parse_args(arguments)
    if options.name not in (DIGITS, *SOURCES):
        raise OptionError(
            f"found the dataset {options.name!r:.100}, expected one of {', '.join(SOURCES)}: other"
            " data needs no fetching"
        )
    return options


def _fetch(job: Job, options: argparse.Namespace) -> int:
    """Download the dataset unless it is there; say where it is."""
    job.check_alone()
    if options.name == DIGITS:
        say(f"{DIGITS} are built in: there is nothing to fetch")
        return 0
    path = download.fetch(options.name, options.mirror, on_terminal())
    say(f"{options.name} is in {one_line(path)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
