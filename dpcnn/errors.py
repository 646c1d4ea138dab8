"""The errors that a user can cause or run into; rank 0 prints each of them as one line."""

from __future__ import annotations

from typing import Self


class DpcnnError(Exception):
    """Base class of the errors that concern the user.

    The message is one line: what was found, what was expected and, if there is one, the cure.

    Attributes
    ----------
    exit_code : int
        The exit code of the process.
    collective : bool
        Whether every rank raised this same error, so that each can exit by itself. A rank that
        raises an error alone has to end the other ranks.
    final : bool
        Whether the same command would fail again.
    """

    exit_code = 1
    collective = False
    final = True

    def on_all_ranks(self) -> Self:
        """Mark this error as raised by every rank."""
        self.collective = True
        return self


class OptionError(DpcnnError):
    """An option has a value it cannot have, or options contradict each other."""

    exit_code = 2


class LayerError(OptionError):
    """A layer does not fit the one before it; the message names it."""


class DataError(DpcnnError):
    """A dataset cannot be found, read or trained on."""

    exit_code = 2


class ReadError(DpcnnError):
    """A dataset could be read before and no longer can: the disk failed or the file was cut off."""

    final = False


class CheckpointError(DpcnnError):
    """A checkpoint cannot be read, or does not belong to this run."""

    exit_code = 2


class LaunchError(DpcnnError):
    """The processes were started in a way that cannot work."""

    exit_code = 2


class DivergenceError(DpcnnError):
    """Training produced NaN or infinity."""
