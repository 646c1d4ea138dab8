"""Going on after a death: the ranks that live, and their replacements, have one state again.

Why the run that goes on is the one that would have been, to the bit:

- A step needs all ranks: none is finished by some of the world, and no rank is more than one step
  ahead of another. The state after a step is the same on all that have made it, whoever they are.
  So the newest state is whole on any rank that has it, and giving it to the others loses nothing.
- The bits of a step depend neither on how many ranks there are (parallel/reduction.py) nor on
  which: each takes its shard of the minibatch by its place in the world as it is now.
- A replacement rank joins while all others wait for it, between two steps. It brings nothing of its
  own: options, network and state are given to it, and its dataset is compared with theirs.
- Rank 0 saves and prints. It is the lowest of the ranks that were there before, since replacements
  come last; a new one takes over the run directory with its lock.

If more ranks die meanwhile, all that live come back here and begin again. That ends: every
beginning has a death before it, and at one step no rank is replaced more than TRIES times.
"""

from __future__ import annotations

import os
import sys
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path

from dpcnn.parallel.communicator import Communicator, Member, RankLostError, SpawnError
from dpcnn.parallel.membership import missing, recovering, respawn, survivors
from dpcnn.run.checkpoint import Checkpoint
from dpcnn.run.directory import RunDirectory
from dpcnn.system import blas
from dpcnn.training.log import Log
from dpcnn.training.state import State

# A replacement rank is told its options: it needs the modules that this process has, and no
# arguments.
COMMAND = (sys.executable, "-P", "-m", "dpcnn.train")
# What it prints goes where what this process prints goes (launch/lib/ranks.sh).
BESIDE_THE_BAR = ("sh", "-c", 'exec "$@" >&2', "sh")
# The variables that it is given: mpirun may not pass them on to another host.
VARIABLES = ("DPCNN_", "OPENBLAS_", "MKL_", "OMP_", "PYTHON", "EVENT_NOEPOLL", "LINES", "COLUMNS")
TRIES = 3


def sync(comm: Communicator, state: State) -> None:
    """Give all ranks the newest state that any of them has; collective."""
    standings = comm.allgather(state.standing())
    if len(set(standings)) > 1:
        newest = standings.index(max(standings))
        offered = (state.checkpoint(), state.stop, state.asked) if comm.rank == newest else None
        taken = comm.allgather(offered)[newest]
        assert taken is not None, "the rank with the newest state has offered it"
        checkpoint, state.stop, state.asked = taken
        state.restore(checkpoint)


@dataclass(frozen=True)
class Briefing:
    """What a replacement rank is told: the state, the run directory and the user's own network.

    model: MODULE:FUNCTION, only if the user of this job has named it. What a checkpoint names is
    never imported.
    """

    checkpoint: Checkpoint
    directory: Path
    model: str | None


@dataclass
class Replacements:
    """How to start the ranks that replace lost ones, and where the run is kept."""

    directory: RunDirectory
    model: str | None
    tries: Counter[int] = field(default_factory=Counter)  # by step

    def start(self, comm: Communicator, state: State) -> str:
        """Bring the world back to its size; return why that was not possible, "" if it was.

        Collective; what it returns counts on rank 0. Raises RankLostError.
        """
        step = state.progress.step
        command = (*BESIDE_THE_BAR, *COMMAND) if os.path.sameopenfile(1, 2) else COMMAND
        briefing = Briefing(state.checkpoint(), self.directory.path, self.model)
        while True:
            self.tries[step] += 1
            tired = self.tries[step] > TRIES
            try:
                respawn(comm, [] if tired else missing(comm), command, self._variables(), briefing)
            except SpawnError as error:
                if error.silent or comm.bcast(self.tries[step] >= TRIES):
                    return str(error)
            else:
                return f"{TRIES} tries at this step" if tired else ""

    def _variables(self) -> dict[str, str]:
        """Return what is added to the environment of a replacement rank."""
        variables = {name: os.environ[name] for name in os.environ if name.startswith(VARIABLES)}
        path = {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        return variables | blas.as_variables() | path


class Recovery:
    """What the ranks do after a death; it knows the state and the communicator, not the trainer.

    replacements: how to start ranks in the place of lost ones; None to go on without them.
    """

    def __init__(self, replacements: Replacements | None = None) -> None:
        self.replacements = replacements
        self._before: list[Member] = []  # the ranks before the first death since the last report
        self._lost: list[Member] = []
        self._reason = ""  # why lost ranks were not replaced
        self._unreplaced: list[Member] = []
        self._later = 0  # tries to replace them in later epochs

    def survive(self, comm: Communicator, state: State) -> None:
        """Make comm the communicator of the living, and of replacements; collective.

        Their states may differ then: the next `sync` makes them one. Raises EndedError if a rank
        has ended the job, MinorityError if going on is not safe.
        """
        self._before = self._before or comm.members
        with recovering():
            while True:
                try:
                    lost = survivors(comm)
                    self._lost += lost
                    step = {"step": state.progress.step}
                    state.progress.deaths += [asdict(member) | step for member in lost]
                    if self.replacements is not None:
                        self._reason = self.replacements.start(comm, state)
                    return
                except RankLostError:
                    continue

    def refill(self, comm: Communicator) -> None:
        """Try again to replace ranks, if that was not possible before; collective.

        Raises RankLostError then, as if the ranks had been lost now.
        """
        if self.replacements is not None and missing(comm):
            self._later += 1
            if comm.bcast(self._later <= TRIES):
                self._lost = self._unreplaced
                raise RankLostError("the world lacks ranks")

    def report(self, comm: Communicator, state: State, log: Log) -> None:
        """Tell the log of the deaths since the last report, when the ranks have one state again."""
        if self._lost:
            came = [member for member in comm.members if member not in self._before]
            log.replaced(self._lost, came, self._reason, state)
            self._unreplaced = [] if came else self._unreplaced + self._lost
            self._before = []
            self._lost = []
            self._reason = ""
