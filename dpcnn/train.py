"""Train a network:

    mpirun -n 4 python -m dpcnn.train                  data-parallel
    python -m dpcnn.train                              one process, no MPI needed
    mpirun -n 4 python -m dpcnn.train --resume auto    go on with the newest run

`--help` lists the options.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from dpcnn.commandline import Given, parse
from dpcnn.job import Job, run


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code, the same on every rank."""
    return run(lambda: parse(arguments), _train, _threads)


def _threads(given: Given) -> tuple[int | None, bool]:
    options, _ = given
    return options.threads, options.reduce == "exact"


def _train(job: Job, given: Given) -> int:
    from dpcnn.start import prepare

    trainer = prepare(*given, job.comm, job.threads)
    job.keep_error = trainer.directory.write_error
    job.record = trainer.directory.write_outcome
    return trainer.run()


if __name__ == "__main__":
    sys.exit(main())
