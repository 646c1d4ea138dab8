"""A run of training, as the command `python -m dpcnn.train`."""

from __future__ import annotations

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
    job.record = trainer.end
    return trainer.run()
