"""Report what happened in a run, or compare several:

    python -m dpcnn.report RUN                      one HTML page, RUN/report.html
    python -m dpcnn.report RUN RUN ...              their curves over each other, and what differs
    python -m dpcnn.report RUN --format png         the single pictures, into the folder RUN/report

The page needs nothing else and no network: it can be moved and sent. Works on a run that is still
at work, or broken, as far as there is something to show. Needs matplotlib (extra `report`).
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path

from dpcnn.cli.arguments import CommandLine
from dpcnn.cli.job import Job, run
from dpcnn.errors import OptionError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code, the same on every rank."""
    return run(lambda: _parse(arguments), _report)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = CommandLine(
        prog="python -m dpcnn.report",
        description="Report what happened in a run as one HTML page, or compare several runs.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "runs", type=Path, nargs="+", metavar="RUN", help="run directory, such as runs/NAME"
    )
    parser.add_argument(
        "--out",
        type=Path,
        metavar="PATH",
        help="file of the page, or folder of the pictures (default: report.html, comparison.html"
        " or the folder report, in the first RUN)",
    )
    parser.add_argument(
        "--format", choices=("html", "png"), default="html", help="a page, or single pictures"
    )
    parser.add_argument("--dataroot", help="where the dataset is now (default: as recorded)")
    options = parser.parse_args(arguments)
    if importlib.util.find_spec("matplotlib") is None:
        raise OptionError(
            "found no matplotlib in this environment, expected the extra `report`:"
            " pip install 'dpcnn[report]'"
        )
    return options


def _report(job: Job, options: argparse.Namespace) -> int:
    """Read the runs and write the report; print where it is."""

    def write() -> None:
        from dpcnn.report.write import write

        print(write(options.runs, options.out, options.format, options.dataroot))

    job.comm.together(write, only=job.comm.rank == 0)
    return 0


if __name__ == "__main__":
    sys.exit(main())
