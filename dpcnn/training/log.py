"""What a run tells and keeps: the console, the metrics, the events, the checkpoints.

Rank 0 has a RootLog. Every other rank has a StandbyLog, which keeps silent, and becomes a RootLog
when its rank becomes rank 0. What only computes (verify, bench) has the null Log. So no caller
asks which rank it is.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from typing import Any

from dpcnn.data.sources.find import UNNAMED
from dpcnn.errors import DivergenceError, DpcnnError
from dpcnn.nn.config import own_layers
from dpcnn.options import Differences, Options
from dpcnn.parallel.communicator import Communicator, Member
from dpcnn.parallel.launcher import command
from dpcnn.parallel.reduction import Sums
from dpcnn.run import events, loggers, outcome
from dpcnn.run.best import best_epoch, exhausted, measured
from dpcnn.run.directory import RunDirectory
from dpcnn.run.history import first_kept
from dpcnn.run.saver import NOTHING, Saver
from dpcnn.run.steps import Step, Steps
from dpcnn.training import ending
from dpcnn.training.breakpoints import before_breakpoints
from dpcnn.training.callbacks import Callbacks
from dpcnn.training.console import Console, console
from dpcnn.training.meter import Outlook
from dpcnn.training.slowness import Slowness
from dpcnn.training.state import Progress, State

ASKED = "asked"  # the flag, among a step's sums, that a callback has asked the run to stop
LAST_WAIT = 2.0  # seconds for a checkpoint that is being written, where a run is ended at once


class Log:
    """Tells and keeps nothing."""

    @property
    def asked(self) -> bool:
        """Whether a callback has asked the run to stop."""
        return False

    def attach(self, comm: Communicator, state: State) -> Log:
        """Return the log of this rank in the world as it is now."""
        return self

    def begin(self, state: State, hosts: list[str], changed: Differences) -> None:
        """Keep that the run starts, or goes on, on these hosts, and which options it changes."""

    @contextlib.contextmanager
    def progress(self, state: State, epochs: int, steps: int, total: int) -> Iterator[None]:
        """Show the progress of an epoch of so many steps, of `total`, while the body makes them."""
        yield

    @contextlib.contextmanager
    def evaluation(self, state: State, images: int) -> Iterator[Callable[[int], None]]:
        """Show the progress of an evaluation on so many images, which the body tells of."""
        yield lambda images: None

    def step(self, sums: Sums, lr: float) -> None:
        """Count a step: its sums over the minibatch, and its learning rate."""

    def epoch(self, state: State) -> None:
        """Tell and keep the newest metrics, those of an epoch that has ended."""

    def save(self, state: State) -> None:
        """Begin to save the state; training goes on meanwhile."""

    def save_best(self, state: State) -> None:
        """Save the state after the best epoch so far, apart from the checkpoints."""

    def save_last(self, state: State) -> bool:
        """Save the state if that has not been done; tell whether it is on the disk now."""
        return True

    def diverged(self, error: DivergenceError, state: State) -> DivergenceError:
        """Save the last good state; return the error with where that is."""
        return error

    def stopping(self, state: State) -> None:
        """Tell in a signal handler what is finished before the run stops, if it takes a while."""

    def cut_off(self, state: State) -> None:
        """Tell in a signal handler what is lost, as a second Ctrl-C ends the run at once."""

    def finish(self, state: State, saved: bool) -> int:
        """Tell how the run has ended; return the exit code.

        Raises DpcnnError, on all ranks, if the last state could not be saved.
        """
        if not saved:
            raise DpcnnError("the last state of the run could not be saved").on_all_ranks()
        return 0 if state.stop is None else 128 + state.stop

    def replaced(
        self, lost: Sequence[Member], came: Sequence[Member], reason: str, state: State
    ) -> None:
        """Tell and keep who died, and who came instead or why nobody did."""

    def end(self, state: State, code: int) -> None:
        """Keep how the run has ended: rank 0 does, or a rank that ends it alone."""

    def breakpoints(self) -> contextlib.AbstractContextManager[None]:
        """Return the context in which a breakpoint() finds no bar in its way."""
        return contextlib.nullcontext()


class StandbyLog(Log):
    """Keeps silent, and is ready to become the log of rank 0.

    `begun` is the step after which this start of the run began, and when, by time.monotonic. A
    replacement rank does not know until it becomes rank 0, and reads it in the run directory.
    """

    def __init__(
        self, options: Options, directory: RunDirectory, callbacks: Callbacks | None = None
    ) -> None:
        self.options, self.directory = options, directory
        self.callbacks = callbacks or Callbacks()
        self.world_size = 1
        self.begun: tuple[int, float] | None = None
        directory.loggers = loggers.choose(options.tensorboard)

    def begin(self, state: State, hosts: list[str], changed: Differences) -> None:
        self.begun = state.progress.step, time.monotonic()

    def attach(self, comm: Communicator, state: State) -> Log:
        """Become the log of rank 0 if this rank is rank 0 now, because those before it died."""
        self.world_size = comm.size
        if comm.rank:
            return self
        out = console(self.options.progress, comm.rank)
        root = RootLog(self.options, self.directory, out, self.callbacks)
        root.begun = self.begun
        root.take_over(comm, state)
        return root

    def end(self, state: State, code: int) -> None:
        with contextlib.suppress(OSError):
            self._append("end", state, exit_code=code)
        self.directory.write_outcome(code)

    def _append(self, event: str, state: State, **facts: Any) -> None:
        """Add an event to the run's history; raises OSError."""
        progress = state.progress
        where = {"step": progress.step, "epoch": progress.epoch, "world_size": self.world_size}
        events.append(self.directory.path, event, **where, **facts)


class RootLog(StandbyLog):
    """Tells people and files. A full or broken disk costs a warning, and not the run."""

    def __init__(
        self,
        options: Options,
        directory: RunDirectory,
        console: Console,
        callbacks: Callbacks | None = None,
    ) -> None:
        super().__init__(options, directory, callbacks)
        self.console = console
        self.saver = Saver(directory, options.keep_checkpoints, console.warn)
        self.slowness, self.steps = Slowness(), Steps()
        self.steps_of_epoch, self.total = -1, 0
        self.place = Progress()

    @property
    def asked(self) -> bool:
        return self.callbacks.asked

    def attach(self, comm: Communicator, state: State) -> Log:
        """Take notice of the world's size."""
        self.world_size = comm.size
        return self

    def take_over(self, comm: Communicator, state: State) -> None:
        """Write in the run directory from now on, in the place of a rank that is gone."""
        self.world_size = comm.size
        if not self.directory.path.is_dir():
            lacks = first_kept(state.metrics) - 1
            lost = f"; its metrics.jsonl lacks epochs 1 to {lacks:,}" if lacks else ""
            self.console.warn(f"{self.directory.path} goes on at {comm.hosts[0]}{lost}")
        try:
            self.directory.take_over(state.metrics, state.progress.step)
        except OSError as error:
            self.console.warn(f"metrics.jsonl may lack epochs ({error.strerror})")
        if self.begun is None:
            unread = state.progress.step, 0.0  # it tells of what it has done itself
            step, seconds = events.beginning(self.directory.path) or unread
            self.begun = step, time.monotonic() - seconds

    def note(self, event: str, state: State, **facts: Any) -> None:
        """Add an event to the run's history."""
        try:
            self._append(event, state, **facts)
        except OSError as error:
            self.console.warn(f"{event} is not in {events.NAME} ({error.strerror})")

    def begin(self, state: State, hosts: list[str], changed: Differences) -> None:
        super().begin(state, hosts, changed)
        self.world_size = len(hosts)
        event = "resume" if state.progress.step else "start"
        if event == "resume":
            self.saver.saved = _place(state)
        self.note(event, state, hosts=hosts, restart=outcome.restart(), process=os.getpid())
        if changed:
            self._change(event, state, changed)

    def _change(self, event: str, state: State, changed: Differences) -> None:
        """Keep a change of the options at once: a run that is killed now goes on with it."""
        before = {name: pair[0] for name, pair in changed.items()}
        after = {name: pair[1] for name, pair in changed.items()}
        self.note("change", state, before=before, after=after)
        if event == "resume":  # else options.json has it
            self.saver.saved = NOTHING
            self.save(state)
            self.saver.finish()

    @contextlib.contextmanager
    def progress(self, state: State, epochs: int, steps: int, total: int) -> Iterator[None]:
        progress = state.progress
        self.steps_of_epoch, self.total, self.place = steps, total, progress
        outlook = _outlook(state, steps, total)
        self.console.start_epoch(progress.epoch, epochs, steps, progress.epoch_step, outlook)
        try:
            yield
        finally:
            self.console.end_progress()

    @contextlib.contextmanager
    def evaluation(self, state: State, images: int) -> Iterator[Callable[[int], None]]:
        name = f"epoch {state.progress.epoch}/{self.options.epochs}"
        self.console.start_evaluation(name, images)
        try:
            yield self.console.evaluated
        finally:
            self.console.end_progress()

    def step(self, sums: Sums, lr: float) -> None:
        images = int(sums["images"])
        self.console.step(sums["loss"] / images, images, lr, sums["correct"])
        place = self.place
        epoch = place.epoch - 1 + place.epoch_step / self.steps_of_epoch
        counts = sums["loss"], sums["correct"], sums["images"]
        made = Step(place.step, max(self.total, place.step, 1), epoch, *counts, lr)
        self.steps.add(made, self.directory.path)
        self.saver.poll()
        self.callbacks.step(self.place, self.steps_of_epoch, sums, lr)

    def epoch(self, state: State) -> None:
        line = state.metrics[-1]
        self.steps.write(self.directory.path)
        try:
            self.directory.add_metrics(state.metrics)
        except OSError as error:
            self.console.warn(f"epoch {line['epoch']} is not in metrics.jsonl ({error.strerror})")
        self.note("epoch", state)
        pace = f"{line['seconds']:.1f} s", f"{line['images_per_second']:,.0f} images/s"
        digits = ", built-in digits" if _is_unnamed(state) else ""
        more = *ending.so_far(state.metrics), *pace
        self.console.line(f"{ending.of_epoch(line)}{digits}", more)
        if slow := self.slowness.after(line["ranks"]):
            doctor = "start python -m dpcnn.doctor in place of dpcnn.train to see why"
            self.console.warn(f"steps are slow: {slow}; {doctor}")
        self.callbacks.epoch(line)

    def save(self, state: State) -> None:
        self.saver.start(state.checkpoint())

    def save_best(self, state: State) -> None:
        self.saver.save_best(state.checkpoint())

    def save_last(self, state: State) -> bool:
        self.save(state)
        self.steps.write(self.directory.path)
        self.saver.finish()
        with contextlib.suppress(OSError):  # which is told of when an epoch lacks
            self.directory.complete_metrics(state.metrics)
        return self.saver.saved == _place(state)

    def diverged(self, error: DivergenceError, state: State) -> DivergenceError:
        self.save_last(state)
        step = state.progress.step
        kept = f"the state after step {step} is in {self.directory.path}"
        explained = DivergenceError(f"{error}; {kept}").on_all_ranks()
        self.note("divergence", state, error=str(explained))
        return explained

    def stopping(self, state: State) -> None:
        progress = state.progress
        if progress.epoch_step == self.steps_of_epoch:
            self.console.interrupt(
                f"asked to stop: evaluating epoch {progress.epoch} to its end, then saving it;"
                " Ctrl-C, once more, ends at once"
            )

    def cut_off(self, state: State) -> None:
        self.saver.poll(LAST_WAIT)
        step, epoch = self.saver.saved
        made = state.progress.step - max(step, 0)
        parts = [f"{made:,} step{'s' * (made != 1)}"] if made else []
        if state.progress.epoch_step == self.steps_of_epoch and epoch <= state.progress.epoch:
            parts.append(f"the evaluation of epoch {state.progress.epoch}")
        lost = " and ".join(parts) or "nothing"
        self.console.interrupt(f"ended by a second Ctrl-C: {lost} lost since the last checkpoint")

    def finish(self, state: State, saved: bool) -> int:
        code = super().finish(state, saved)
        self._account(state)
        if state.stop is not None:
            self.note("stop", state, signal=state.stop.name)
            self.console.line(
                f"Stopped by {state.stop.name}; step {state.progress.step:,} is saved. Go on with:"
                f" {self._resuming(state)}"
            )
        elif self._stopped_early(state):
            why = "a callback asked for it" if state.asked else ending.why_early(state.metrics)
            self.note("early_stop", state, reason=why)
            self.console.line(f"Stopped early: {why}")
        elif len(state.metrics) > 1:
            self.console.line(ending.best(state.metrics))
        if state.stop is None:
            self.console.line(ending.where_to_look(self.directory.path))
        if _is_unnamed(state):
            self.console.line(
                "Trained on the built-in digits, not on MNIST: no dataset was named or found"
            )
        self.console.line(f"Weights SHA-256: {state.network.weights_sha256()}")
        return code

    def breakpoints(self) -> contextlib.AbstractContextManager[None]:
        return before_breakpoints(lambda: self.console.pause())

    def _account(self, state: State) -> None:
        """Tell what was done since this process began, or that there was nothing to do."""
        if self.begun is None:
            return
        progress, (first, started) = state.progress, self.begun
        if progress.step > first:
            seconds = time.monotonic() - started
            self.console.line(ending.account(first, progress, self.steps_of_epoch, seconds))
        elif state.stop is None:
            self.console.line(ending.nothing_left(self.options, progress))

    def _stopped_early(self, state: State) -> bool:
        """Tell whether patience or a callback has ended the run, with epochs left."""
        epochs_left = state.progress.epoch <= self.options.epochs
        return epochs_left and (state.asked or exhausted(state.metrics, self.options.patience))

    def _resuming(self, state: State) -> str:
        """Return the command that goes on with the run."""
        words = ["--run_dir", str(self.directory.path), "--resume", "auto"]
        if self.options.model and own_layers(state.identity.network):
            words += ["--model", self.options.model]
        return f"{command(self.world_size)} {shlex.join(words)}"

    def replaced(
        self, lost: Sequence[Member], came: Sequence[Member], reason: str, state: State
    ) -> None:
        names = ", ".join(dict.fromkeys(map(str, lost)))
        instead = "replaced; " if came else f"not replaced ({reason}); " if reason else ""
        left = "1 rank goes" if self.world_size == 1 else f"{self.world_size} ranks go"
        step = state.progress.step
        self.console.warn(f"lost {names}; {instead}{left} on from step {step:,}")
        self.note("death", state, ranks=[*map(asdict, lost)], replaced=[*map(asdict, came)])


def _place(state: State) -> tuple[int, int]:
    return state.progress.step, state.progress.epoch


def _outlook(state: State, steps: int, total: int) -> Outlook:
    """Return what comes after the epoch in progress, of so many steps, in a run of `total`."""
    progress, best = state.progress, best_epoch(state.metrics)
    later = max(total - progress.epoch * steps, 0)
    if best is None:
        return Outlook(later)
    evaluation = state.metrics[-1].get("evaluation_seconds", 0.0)
    evaluations = 1 + later // steps
    return Outlook(later, evaluation * evaluations, best[measured(best)])


def _is_unnamed(state: State) -> bool:
    """Tell whether the run is on built-in digits that nobody asked for."""
    return bool(state.identity.dataset["source"] == UNNAMED)
