"""Training from Python: dpcnn.train() and the Run that it returns."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Unpack

from numpy.typing import ArrayLike

from dpcnn.api import reporting
from dpcnn.api.model import Model
from dpcnn.api.sources import Arrays
from dpcnn.cli.arguments import Parsed, parse_keywords
from dpcnn.cli.job import Job, call
from dpcnn.cli.signature import with_options
from dpcnn.data.dataset import Dataset
from dpcnn.nn.layer import Layer
from dpcnn.options.keywords import Keywords
from dpcnn.run.best import best_epoch
from dpcnn.run.history import all_epochs
from dpcnn.training.api import begin, debug, threads, timeout
from dpcnn.training.callbacks import Callback, Callbacks
from dpcnn.training.dry_run import Cost, dry_run
from dpcnn.training.setup import Passed, Session


@dataclass(frozen=True)
class Run:
    """What a run of training has come to, the same on every rank.

    directory: the run directory. model: the trained network, to be used. metrics: an object an
    epoch, with the keys of metrics.jsonl. weights_sha256: of the weights as they are now.
    exit_code: what the command would have left with, 0, or 128 + the signal that stopped the run.
    cost: of a dry run alone, the time, memory and disk that the whole run takes; None if it is
    finished. A dry run has no metrics, its model is that of a few steps, its directory is removed.
    """

    directory: Path
    exit_code: int
    weights_sha256: str
    metrics: list[dict[str, Any]] = field(repr=False)
    model: Model = field(repr=False)
    cost: Cost | None = field(repr=False, default=None)

    @property
    def accuracy(self) -> float:
        """The test accuracy after the last epoch that was finished, NaN if none was."""
        return float(self.metrics[-1]["test_accuracy"]) if self.metrics else math.nan

    def _repr_html_(self) -> str:
        """Show the run in a notebook: its results, and the accuracy over its epochs."""
        if self.cost is not None:
            lines = (line.partition(" ") for line in self.cost.lines())
            return reporting.card({name: text.strip() for name, _, text in lines}, [])
        return reporting.card(
            {
                "directory": str(self.directory),
                "epochs": str(self.metrics[-1]["epoch"] if self.metrics else 0),
                "test accuracy": f"{self.accuracy:.4f}",
                "best epoch": str(self.best_epoch["epoch"] if self.best_epoch else "-"),
                "weights SHA-256": self.weights_sha256[:16],
            },
            self.metrics,
        )

    @property
    def best_epoch(self) -> dict[str, Any] | None:
        """The metrics of the best epoch, whose network `dpcnn.load(run.directory, best=True)` is.

        By validation accuracy, or by test accuracy without a validation set; None before the first.
        """
        best = best_epoch(self.metrics)
        return None if best is None else dict(best)


@with_options
def train(
    network: Sequence[Layer] | None = None,
    X: ArrayLike | None = None,
    y: ArrayLike | None = None,
    *,
    x_test: ArrayLike | None = None,
    y_test: ArrayLike | None = None,
    dataset: Dataset | None = None,
    callbacks: Sequence[Callback] = (),
    **options: Unpack[Keywords],
) -> Run:
    """Train a network, as `python -m dpcnn.train` does: the same files, output and bits.

    `dry_run=True` tries it: some steps, an evaluation, a checkpoint and a resume in a temporary
    directory. It prints what the whole run takes, and returns that as `cost` of the Run:
    `cost.seconds`, `cost.memory` (bytes of each rank), `print(cost)`.

    Parameters
    ----------
    network : list of layers, optional
        Your own network, of `dpcnn.nn` or subclasses of its Layer; the tutorial's if left out. The
        layers are copied: what you pass stays as it is.
    X, y : arrays, optional
        The images to train on, (N, C, H, W), (N, H, W, C), (N, H, W) or (N, C*H*W), and their
        labels (N,), in the place of `dataroot`. Read and checked as those of a file, to the same
        bits.
    x_test, y_test : arrays, optional
        The images to test on and their labels; without them `test_fraction=0.2` sets some of X
        apart.
    dataset : optional
        What `dpcnn.read()` has returned, in the place of arrays.
    callbacks : list of Callback, optional
        What to call on rank 0 after each step and epoch, and at the end (dpcnn.Callback). The bits
        are the same with and without.
    **options
        Those of the command line, by name and with their defaults, listed below. None stands for
        its words all, auto and none. `progress="silent"` prints warnings alone.

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

    Under mpirun every rank makes the same calls, and each gets the Run; of arrays, those of the
    first rank of a node count. An exception that a rank is alone with ends all of them.

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
    arrays, values = Arrays(X, y, x_test, y_test, dataset), dict[str, Any](options)
    passed: list[Passed] = []

    def parse() -> Parsed:
        source = arrays.source(values)
        passed.append(Passed(network, source and source.read, Callbacks(callbacks)))
        return parse_keywords(values | ({"dataroot": source.dataroot} if source else {}))

    return call(parse, lambda job, parsed: _train(job, parsed, passed[0]), threads, timeout)


def _train(job: Job, parsed: Parsed, passed: Passed) -> Run:
    if job.comm.size == 1:
        passed = passed._replace(at_once=_interrupt)  # which must not end a whole session
    if parsed.options.dry_run:
        debug(job, parsed)
        tried = dry_run(job, parsed, passed)
        return _run(tried.session, tried.exit_code, [], tried.cost)
    session = begin(job, parsed, passed)
    try:
        code = session.trainer.run()
        if job.comm.rank == 0:
            job.record(code)
    finally:
        session.directory.release()
    run = _run(session, code, job.comm.on_root(lambda: _metrics(session)))
    if job.comm.rank == 0 and passed.callbacks is not None:
        passed.callbacks.end(run)
    return run


def _run(
    session: Session, code: int, metrics: list[dict[str, Any]], cost: Cost | None = None
) -> Run:
    """Return what a session has come to; the network gets its averages, if it keeps some."""
    state = session.trainer.state
    sha256 = state.network.weights_sha256()
    checkpoint = state.checkpoint()
    if state.average is not None:
        checkpoint = checkpoint.copy()  # which has the trained weights too
        state.network.restore(checkpoint.average)
    normalization = session.trainer.dataset.train.normalization
    model = Model(state.network, session.options, checkpoint, normalization)
    return Run(session.directory.path, code, sha256, metrics, model, cost)


def _metrics(session: Session) -> list[dict[str, Any]]:
    """Return the metrics of all epochs, as far as the disk still has those that are not kept."""
    kept = session.trainer.state.metrics
    try:
        return list(all_epochs(session.directory.path, kept))
    except OSError:
        return kept


def _interrupt(code: int) -> None:
    raise KeyboardInterrupt
