"""Report on a run, or compare several:

    python -m dpcnn.report RUN                      one HTML page, RUN/report.html
    python -m dpcnn.report RUN RUN ...              their curves over each other, and what differs
    python -m dpcnn.report RUN --format png         the figures as PNG files, in RUN/report/

The page is one file that needs no network: it can be moved and sent. A run that is running or
broken is reported as far as there is something to show. Test images are classified as they are,
also if the run's last evaluation averaged over copies of them (--tta). Needs the extra `report`.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from dpcnn.api.reporting import report
from dpcnn.cli.arguments import CommandLine, add_best, add_model, file_path
from dpcnn.cli.job import Job, run
from dpcnn.models.user import import_network
from dpcnn.system.text import say


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code, the same on every rank."""
    return run(lambda: _parse(arguments), _report)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = CommandLine(
        prog="python -m dpcnn.report",
        description="Report on a run as one HTML page, or compare several runs.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "runs", type=file_path, nargs="+", metavar="RUN", help="run directory, such as runs/NAME"
    )
    parser.add_argument(
        "--out",
        type=file_path,
        metavar="PATH",
        help="file of the page, or folder of the PNG files (default: report.html, comparison.html"
        " or the folder report, in the first RUN)",
    )
    parser.add_argument(
        "--format", choices=("html", "png"), default="html", help="one page, or PNG files"
    )
    parser.add_argument(
        "--dataroot",
        type=os.path.expanduser,
        help="where the dataset is now (default: as recorded)",
    )
    add_best(parser)
    add_model(parser)
    return parser.parse_args(arguments)


def _report(job: Job, options: argparse.Namespace) -> int:
    """Write the report on rank 0 and print where it is."""

    def write() -> None:
        path = report(
            *options.runs,
            out=options.out,
            format=options.format,
            dataroot=options.dataroot,
            best=options.best,
            network=import_network(options.model) if options.model else None,
        )
        say(str(path))

    job.comm.on_root(write)
    return 0


if __name__ == "__main__":
    sys.exit(main())
