"""Convert a dataset of any form to one HDF5 file:

    python -m dpcnn.convert PICTURES/ data.hdf5 --size 32 --test_fraction 0.2
    python -m dpcnn.convert mnist.npz mnist.hdf5

It trains to the same bits as what it was made from. The arrays are compressed, in chunks. The names
of the classes, and what was read from where and how, are attributes of the file.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from dpcnn.cli.arguments import CommandLine, add_options, chosen, file_path
from dpcnn.cli.job import Job, run
from dpcnn.data.formats import hdf5
from dpcnn.errors import OptionError
from dpcnn.options import ABOUT_DATA
from dpcnn.system.text import one_line, say
from dpcnn.training.console import console
from dpcnn.training.datasets import open_dataset
from dpcnn.version import __version__


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    return run(lambda: _parse(arguments), _convert)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = CommandLine(
        prog="python -m dpcnn.convert",
        description="Write a dataset of any form that training takes as one HDF5 file.",
        allow_abbrev=False,
    )
    parser.add_argument("source", metavar="SOURCE", help="what --dataroot of training takes")
    parser.add_argument(
        "out", type=file_path, metavar="OUT.hdf5", help="the file to write, a new one"
    )
    add_options(parser, ABOUT_DATA)
    return parser.parse_args(arguments)


def _convert(job: Job, arguments: argparse.Namespace) -> int:
    job.check_alone()
    out = arguments.out
    if os.path.lexists(out):
        raise OptionError(f"{out}: is there already, expected the name of a new file")
    options = chosen(arguments, ABOUT_DATA, dataroot=arguments.source)
    dataset = open_dataset(options, job.comm, job.comm, console("none", 0))
    origin = {
        "source": os.path.abspath(dataset.source),
        "read_as": "; ".join(dataset.notes) or "as it is",
        "written_by": f"dpcnn {__version__}",
    }
    try:
        with tempfile.TemporaryDirectory(prefix=".convert-", dir=out.parent) as folder:
            temporary = Path(folder) / "data.hdf5"
            hdf5.write(temporary, dataset, packed=True, attributes=origin)
            temporary.replace(out)
    except (OSError, RuntimeError) as error:  # h5py raises either for a full disk
        raise OptionError(f"{out}: cannot be written ({one_line(error)})") from error
    counts = f"{len(dataset.train):,} images to train on, {len(dataset.test):,} to test on"
    say(f"{one_line(out)}: {counts}, {' x '.join(map(str, dataset.train.shape))}")
    for note in dataset.notes:
        say(f"  {one_line(note)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
