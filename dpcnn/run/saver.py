"""Saves checkpoints in a thread, so that training goes on; what fails is said, and tried again."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from dpcnn.run.checkpoint import Checkpoint
from dpcnn.run.directory import RunDirectory


class Saver:
    """At most one checkpoint is on its way to the disk at a time.

    `saved_step` is the newest step that is known to be there, -1 for none.
    """

    def __init__(self, directory: RunDirectory, keep: int, warn: Callable[[str], None]) -> None:
        self.directory, self.keep, self.warn = directory, keep, warn
        self.saved_step = -1
        self._pool = ThreadPoolExecutor(1, "saver")
        self._step = -1
        self._going: Future[Path] | None = None

    def start(self, checkpoint: Checkpoint) -> None:
        """Begin to save this state, unless its step is saved; waits for the one before."""
        self.finish()
        self._step = checkpoint.progress["step"]
        if self._step != self.saved_step:
            self._going = self._pool.submit(self.directory.save, checkpoint.copy(), self.keep)

    def poll(self) -> None:
        """Take notice of a checkpoint that has been written, or could not be."""
        if self._going is not None and self._going.done():
            self.finish()

    def finish(self) -> None:
        """Wait for the checkpoint on its way. A full or broken disk costs a warning."""
        going, self._going = self._going, None
        if going is None:
            return
        try:
            going.result()
        except OSError as error:
            self.warn(f"step {self._step} is not saved ({error.strerror}); training goes on")
        else:
            self.saved_step = self._step
