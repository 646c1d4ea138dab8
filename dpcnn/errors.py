"""The errors that a user can cause or meet, each printed as one line by rank 0."""

from __future__ import annotations

from typing import Self


class DpcnnError(Exception):
    """Base of all errors that are the user's to know: the message is one line.

    The line says what was found, what was expected and, where there is one, the
    cure. `exit_code` is what the process ends with. `collective` says that every rank raised
    this same error, so that each may leave by itself; a rank that is alone with it must end the
    others. `final` says that the same command would fail again.
    """

    exit_code = 1
    collective = False
    final = True

    def on_all_ranks(self) -> Self:
        """Mark this error as raised by every rank alike."""
        self.collective = True
        return self


class OptionError(DpcnnError):
    """An option, or a combination of options, that cannot be."""

    exit_code = 2


class DataError(DpcnnError):
    """A dataset that cannot be found, read or trained on."""

    exit_code = 2


class ReadError(DpcnnError):
    """A dataset that could be read and no longer can: a disk is broken, a file was cut off."""

    final = False


class CheckpointError(DpcnnError):
    """A checkpoint that cannot be read, or does not belong to this run."""

    exit_code = 2


class LaunchError(DpcnnError):
    """The processes were started in a way that cannot work."""

    exit_code = 2


class DivergenceError(DpcnnError):
    """Training left the finite numbers."""
