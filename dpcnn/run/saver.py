"""Saves checkpoints in a thread while training goes on; one that fails is warned of."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path

from dpcnn.run.checkpoint import Checkpoint
from dpcnn.run.directory import RunDirectory

NOTHING = (-1, 0)


class Saver:
    """Writes one checkpoint at a time to a run directory, which keeps the newest `keep`.

    `saved` is the step and the epoch of the newest state that is known to be on the disk: the last
    step of an epoch has one before the evaluation and one after it. `warn` is told, in one line, of
    what a full or broken disk did not take.
    """

    def __init__(self, directory: RunDirectory, keep: int, warn: Callable[[str], None]) -> None:
        self.directory = directory
        self.keep = keep
        self.warn = warn
        self.saved = NOTHING
        self._pool = ThreadPoolExecutor(1, "saver")
        self._started = NOTHING  # the checkpoint that was started last
        self._writing: Future[Path] | None = None

    def start(self, checkpoint: Checkpoint) -> None:
        """Begin to save this state, unless it is saved; waits for the one before."""
        self.finish()
        self._started = checkpoint.progress["step"], checkpoint.progress["epoch"]
        if self._started != self.saved:
            self._writing = self._pool.submit(self.directory.save, checkpoint.copy(), self.keep)

    def save_best(self, checkpoint: Checkpoint) -> None:
        """Save the state after the best epoch where no other checkpoint is due; waits for it."""
        self.finish()
        try:
            self.directory.save_best(checkpoint)
        except OSError as error:
            epoch = checkpoint.metrics[-1]["epoch"]
            self.warn(f"best.h5 is not that of epoch {epoch} ({error.strerror})")

    def poll(self, seconds: float = 0) -> None:
        """Take notice of a checkpoint that has been written, or could not be; waits that long."""
        writing = self._writing
        if writing is not None and (writing.done() or (seconds and wait([writing], seconds).done)):
            self.finish()

    def finish(self) -> None:
        """Wait for the checkpoint that is being written, if there is one."""
        writing, self._writing = self._writing, None
        if writing is None:
            return
        try:
            writing.result()
        except OSError as error:
            self.warn(f"step {self._started[0]} is not saved ({error.strerror}); training goes on")
        else:
            self.saved = self._started
            if self.directory.made_again:
                self.directory.made_again = False
                self.warn(f"{self.directory.path} was removed, and is made again with this state")
