"""A run of training: as the command `python -m dpcnn.train`, and from Python as dpcnn.train()."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dpcnn.cli.arguments import Parsed, parse_arguments, parse_keywords
from dpcnn.cli.job import Job, call, run
from dpcnn.inference.model import Model
from dpcnn.nn.layer import Layer
from dpcnn.system import streams
from dpcnn.training.replay import replacement
from dpcnn.training.setup import Session, set_up

SETTING_UP = 60.0  # seconds that ranks may be apart at the start, however soon one hangs later


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code, the same on every rank."""
    streams.secure("training goes on")
    return run(lambda: parse_arguments(arguments), _train, _threads, timeout=_timeout)


@dataclass(frozen=True)
class Run:
    """What a run of training has come to, the same on every rank.

    directory: the run directory. model: the trained network, to be used. metrics: an object an
    epoch, with the keys of metrics.jsonl. weights_sha256: of the weights as they are now.
    exit_code: what the command would have left with, 0, or 128 + the signal that stopped the run.
    """

    directory: Path
    exit_code: int
    weights_sha256: str
    metrics: list[dict[str, Any]] = field(repr=False)
    model: Model = field(repr=False)

    @property
    def accuracy(self) -> float:
        """The test accuracy after the last epoch that was finished, NaN if none was."""
        return float(self.metrics[-1]["test_accuracy"]) if self.metrics else math.nan


def train(network: Sequence[Layer] | None = None, **options: Any) -> Run:
    """Train a network, as `python -m dpcnn.train` does: the same files, output and bits.

    Parameters
    ----------
    network : list of layers, optional
        Your own network, of `dpcnn.nn` or subclasses of its Layer; the tutorial's if left out. The
        layers are copied: what you pass stays as it is.
    **options
        Those of the command line, by name and with their defaults: see `python -m dpcnn.train
        --help`. None stands for its words all, auto and none. `progress="silent"` prints warnings
        alone.

    Returns
    -------
    Run
        The run directory, the metrics, the trained network. A run that was stopped by a signal
        (Ctrl-C) has been saved and is returned too, with its exit code.

    Raises
    ------
    DpcnnError
        OptionError, DataError, CheckpointError, LaunchError, DivergenceError: what the command
        ends with in one line.

    Under mpirun every rank makes the same calls, and each gets the Run. An exception that a rank
    is alone with ends all of them.

    >>> import dpcnn
    >>> from dpcnn.nn import Convolution, Dense, Flatten, MaxPooling, ReLU
    >>> layers = [Convolution(8, 5), ReLU(), MaxPooling(2), Flatten(), Dense(10)]
    >>> run = dpcnn.train(
    ...     layers, dataroot="digits", train_limit=2000, epochs=2, lr=0.05, progress="silent"
    ... )
    >>> len(run.metrics), run.accuracy > 0.5
    (2, True)
    >>> run.model.network.layers[2]
    MaxPooling(2x2, stride 2x2)
    """
    return call(
        lambda: parse_keywords(options),
        lambda job, parsed: _call(job, parsed, network),
        _threads,
        _timeout,
    )


def _threads(parsed: Parsed) -> tuple[int | None, bool]:
    return parsed.options.threads, parsed.options.reduce == "exact"


def _timeout(parsed: Parsed) -> float:
    """Return how long to wait for a rank until training begins, when --timeout itself holds."""
    return max(parsed.options.timeout, SETTING_UP)


def _set_up(job: Job, parsed: Parsed, network: Sequence[Layer] | None = None) -> Session:
    """Return the session; from now on the run directory keeps errors and the end."""
    if job.comm.replacement:
        session = replacement(job.comm)
    else:
        session = set_up(parsed.options, parsed.named, job.comm, job.threads, network)
    job.keep_error = session.directory.write_error
    job.record = session.end
    return session


def _train(job: Job, parsed: Parsed) -> int:
    return _set_up(job, parsed).trainer.run()


def _call(job: Job, parsed: Parsed, network: Sequence[Layer] | None) -> Run:
    session = _set_up(job, parsed, network)
    trainer, state = session.trainer, session.trainer.state
    if job.comm.size == 1:
        trainer.stops.at_once = _interrupt  # a second Ctrl-C must not end a whole session
    try:
        code = trainer.run()
        if job.comm.rank == 0:
            job.record(code)
    finally:
        session.directory.release()
    sha256 = state.network.weights_sha256()
    checkpoint = state.checkpoint()
    if state.average is not None:
        checkpoint = checkpoint.copy()  # which has the trained weights too
        state.network.restore(checkpoint.average)
    normalization = trainer.dataset.train.normalization
    model = Model(state.network, session.options, checkpoint, normalization)
    return Run(session.directory.path, code, sha256, state.metrics, model)


def _interrupt(code: int) -> None:
    raise KeyboardInterrupt
