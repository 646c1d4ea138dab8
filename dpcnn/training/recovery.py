"""Going on after a death: the ranks that live, and those that come instead, have one state again.

Why the run that goes on is the one that would have been, to the bit:

- A step needs all ranks: none is finished by some of the world, and no rank is more than one step
  ahead of another. The state after a step is the same on all that have made it, whoever they are.
  So the newest state is whole on any rank that has it, and giving it to the others loses nothing.
- The bits of a step do not depend on the ranks (parallel/reduction.py) nor on who they were: each
  takes its share of the minibatch by its place in the world as it is now.
- A rank joins while all others wait for it here, between two steps. It brings nothing: options,
  network and state are given to it, the dataset is compared with theirs.
- The lowest rank evaluates, saves and prints. It is the lowest of those that were there before, as
  newcomers come last; where it has changed it takes over the run directory with its lock.

Whatever dies meanwhile, all that live come back here and begin again. That ends: every beginning
has a death before it, and no more than TRIES times is a rank replaced at one step.
"""

from __future__ import annotations

import contextlib
import os
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING

from dpcnn.parallel.communicator import Member, RankLostError
from dpcnn.parallel.membership import missing, recovering, respawn, survivors
from dpcnn.system import blas
from dpcnn.training.console import console

if TYPE_CHECKING:
    from dpcnn.training.trainer import Trainer

# A newcomer is told its options: it needs the modules that this process has, not its arguments.
COMMAND = (sys.executable, "-P", "-m", "dpcnn.train")
# What it prints goes where what this process prints goes (launch/lib/ranks.sh).
BESIDE_THE_BAR = ("sh", "-c", 'exec "$@" >&2', "sh")
# And these of its variables, which mpirun may not pass on to another host.
VARIABLES = ("DPCNN_", "OPENBLAS_", "MKL_", "OMP_", "PYTHON", "EVENT_NOEPOLL", "LINES", "COLUMNS")
TRIES = 3


def recover(trainer: Trainer) -> None:
    """Go on without ranks that died, or with others in their place, from the newest step."""
    trainer.console.end_epoch()
    comm, before = trainer.comm, trainer.comm.members
    first, lost, reason, together = comm.rank == 0, list[Member](), "", False
    with recovering():
        while not together:
            gone = survivors(comm)
            lost += gone
            step = {"step": trainer.position.step}
            trainer.position.deaths += [asdict(member) | step for member in gone]
            with contextlib.suppress(RankLostError):
                if trainer.options.respawn:
                    reason = _respawn(trainer)
                meet(trainer)
                together = True
    if comm.rank == 0 and not first:
        _lead(trainer)
    _tell(trainer, lost, [member for member in comm.members if member not in before], reason)


def meet(trainer: Trainer) -> None:
    """Make the state of all ranks that of the one that is ahead; collective."""
    comm, at = trainer.comm, trainer.position
    standing = at.step, at.epoch, len(at.deaths), trainer.stop is not None
    standings = comm.allgather(standing)
    if len(set(standings)) > 1:
        ahead = standings.index(max(standings))
        given = (trainer.checkpoint(), trainer.stop) if comm.rank == ahead else None
        state = comm.allgather(given)[ahead]
        assert state is not None, "the rank that is ahead has given it"
        checkpoint, trainer.stop = state
        trainer.adopt(checkpoint)
    trainer.reduction = trainer.new_reduction()


def _respawn(trainer: Trainer) -> str:
    """Bring the world back to its size; return why that could not be done, if so. Collective."""
    comm, step = trainer.comm, trainer.position.step
    trainer.tries[step] += 1
    tired = trainer.tries[step] > TRIES
    variables = {name: os.environ[name] for name in os.environ if name.startswith(VARIABLES)}
    variables |= blas.as_variables()
    variables["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))
    model = trainer.options.model
    if model is not None and model.partition(":")[0] not in sys.modules:
        model = None  # a checkpoint names it, not the user
    told = trainer.checkpoint(), trainer.directory.path, model
    command = (*BESIDE_THE_BAR, *COMMAND) if os.path.sameopenfile(1, 2) else COMMAND
    reason = respawn(comm, [] if tired else missing(comm), command, variables, told)
    return f"{TRIES} tries at this step" if tired else reason


def _lead(trainer: Trainer) -> None:
    """Become the rank that prints, evaluates and saves, when the one before is gone."""
    comm, directory = trainer.comm, trainer.directory
    trainer.console = console(trainer.options.progress, comm.rank)
    trainer.saver.warn = trainer.console.warn
    if not directory.path.is_dir():
        trainer.console.warn(f"{directory.path} goes on at {comm.hosts[0]}")
    try:
        directory.take_over(trainer.metrics)
    except OSError as error:
        trainer.console.warn(f"metrics.jsonl may lack epochs ({error.strerror})")


def _tell(trainer: Trainer, lost: list[Member], came: list[Member], reason: str) -> None:
    """Say who died, who came instead and what goes on; keep it in the run's history."""
    names, size = ", ".join(dict.fromkeys(map(str, lost))), trainer.comm.size
    instead = "replaced; " if came else f"not replaced ({reason}); " if reason else ""
    left = "1 rank goes" if size == 1 else f"{size} ranks go"
    trainer.console.warn(f"lost {names}; {instead}{left} on from step {trainer.position.step:,}")
    trainer.note("death", ranks=[*map(asdict, lost)], replaced=[*map(asdict, came)])
