"""The training run: Trainer.run -> epoch -> step.

Start here. What a checkpoint keeps is `State` (state.py), what rank 0 tells and keeps is `Log`
(log.py), what the ranks do after a death is `Recovery` (recovery.py): none of them knows the
Trainer. Every rank runs the same code.
"""

from __future__ import annotations

import contextlib
from dataclasses import asdict
from functools import partial

import numpy as np

from dpcnn.data import words
from dpcnn.data.dataset import Dataset
from dpcnn.data.loader import Loader, Microbatch, Minibatch
from dpcnn.errors import DivergenceError
from dpcnn.inference.evaluation import COUNTS, evaluate
from dpcnn.nn.losses import LossSums
from dpcnn.optim.norms import clip_norm
from dpcnn.parallel.communicator import Communicator, RankLostError
from dpcnn.parallel.reduction import REDUCTIONS, Sums
from dpcnn.run.best import epochs_since_best, exhausted
from dpcnn.training.config import Config
from dpcnn.training.diagnosis import explain, explain_evaluation
from dpcnn.training.log import ASKED, Log
from dpcnn.training.recovery import Recovery, sync
from dpcnn.training.signals import NAMES, StopRequests, requested
from dpcnn.training.state import Progress, Results, State, epoch_metrics
from dpcnn.training.timing import Clock
from dpcnn.training.watch import Watch

BUG = "bug"  # the flag, among a step's sums, that a rank has met an exception nobody expects


class Trainer:
    """Trains one network on one dataset, on all ranks of a communicator."""

    def __init__(
        self,
        config: Config,
        state: State,
        dataset: Dataset,
        comm: Communicator,
        log: Log,
        recovery: Recovery,
        stops: StopRequests,
    ) -> None:
        self.config, self.state, self.dataset, self.comm = config, state, dataset, comm
        self.log, self.recovery, self.stops = log, recovery, stops
        self.network, self.optimizer = state.network, state.optimizer
        sizes = config.minibatch_size, config.microbatch_size
        self.loader = Loader(
            *(dataset.train, *sizes, config.seed, config.shuffle),
            augmentation=words.parse(config.augment, dataset.train.shape),
            fewest=self.network.plan.fewest_images(min(sizes)),
            last_minibatch=config.last_minibatch,
        )
        self.full = min(config.minibatch_size, len(dataset.train))
        self.loss = config.loss(dataset.train.labels, *self.network.plan.output_shape)
        self.learning_rate = config.schedule(self.loader.steps, state.identity.changes)
        self.total = config.length(self.loader.steps)
        self.lr = 0.0  # of the last step
        size = config.microbatch_size
        self.watch = Watch(self.network, dataset.train, size) if config.watch else None
        self.clock = Clock()
        stops.first = lambda: self.log.stopping(state)
        stops.last = lambda: self.log.cut_off(state)

    def run(self) -> int:
        """Train until the epochs or steps are done or a signal asks to stop; return the exit code.

        The state is saved at the end, however it came. Raises DivergenceError, after saving the
        last good step, and DpcnnError if the last state could not be saved.
        """
        with self.stops, self.warnings(), self.log.breakpoints():
            while True:
                try:
                    sync(self.comm, self.state)
                    self.attach()
                    while not self.done():
                        self.epoch()
                    saved = self.comm.allgather(self.log.save_last(self.state))
                    return self.log.finish(self.state, all(saved))
                except RankLostError:
                    self.recovery.survive(self.comm, self.state)
                except DivergenceError as error:
                    raise self.log.diverged(self.diagnosed(error), self.state) from None

    def warnings(self) -> contextlib.AbstractContextManager[object]:
        """Return the context of a run that says what NumPy does about overflows and the like.

        Nothing: a diverging step is found in its reduced sums.
        """
        return np.errstate(all="ignore")

    def attach(self) -> None:
        """Make what depends on the ranks as they are now: the reduction, and who tells and saves.

        Collective.
        """
        reduction = REDUCTIONS[self.config.reduce]
        size = self.network.sums.size
        self.reduction = reduction.allocate(self.comm, size, (*COUNTS, *NAMES, ASKED, BUG))
        self.log = self.log.attach(self.comm, self.state)
        self.recovery.report(self.comm, self.state, self.log)

    def done(self) -> bool:
        """Tell whether no step is left, nothing better comes, or somebody has asked to stop."""
        progress, config = self.state.progress, self.config
        finished = progress.step >= config.max_steps or progress.epoch > config.epochs
        stopped = self.state.stop is not None or self.state.asked
        return finished or stopped or exhausted(self.state.metrics, config.patience)

    def epoch(self) -> None:
        """Make the epoch's steps that are left; after the last one evaluate, and begin the next."""
        self.steps()
        if self.state.progress.epoch_step == self.loader.steps and self.state.stop is None:
            self.end_epoch()
            if not self.done():
                self.recovery.refill(self.comm)

    def steps(self) -> None:
        """Make the epoch's steps that are left, saving where it is time to."""
        progress, comm, log = self.state.progress, self.comm, self.log
        left = self.loader.minibatches(progress.epoch, progress.epoch_step, comm.rank, comm.size)
        with log.progress(self.state, self.config.epochs, self.loader.steps, self.total):
            for minibatch in left:
                sums = self.step(minibatch)
                self.state.stop, self.state.asked = requested(sums), sums[ASKED] > 0
                log.step(sums, self.lr)
                if progress.epoch_step < self.loader.steps:
                    self.save_if_due()
                if self.done():
                    break

    def step(self, minibatch: Minibatch) -> Sums:
        """Make one step; return the minibatch's sums.

        An exception that nobody expects on the way to them is one of all ranks: BugError.
        """
        network, clock, progress = self.network, self.clock, self.state.progress
        clock.start_lap()
        bug = self.comm.attempt(lambda: self.add_up(minibatch))
        flags = {ASKED: self.log.asked, BUG: bug is not None}
        self.reduction.add_scalars(**self.stops.flags(), **flags)
        clock.mark("compute")
        sums = self.reduction.allreduce(network.sums)
        clock.mark("communication", self.comm.waited)
        if sums[BUG]:
            self.comm.fail(bug)
        with self.watched():
            self.update(minibatch.size / self.full)
        clock.mark("compute")
        clock.steps += 1
        progress.advance(sums, clock.lap)
        self.comm.last_step = progress.step
        return sums

    def add_up(self, minibatch: Minibatch) -> None:
        """Compute this rank's micro-batches, and add them to what is reduced."""
        for microbatch in minibatch.microbatches:
            loss = self.compute(microbatch, minibatch.size)
            images = microbatch.labels.size
            sums = {"loss": loss.loss, "correct": loss.correct, "images": images}
            self.reduction.add(self.network.sums, **sums)
            self.clock.images += images

    def compute(self, microbatch: Microbatch, minibatch_size: int) -> LossSums:
        """Write a micro-batch's gradient and batch statistics; return the sums of its loss."""
        number, x, labels, mixture = microbatch
        key = (self.config.seed, self.state.progress.step, number)
        logits = self.network.forward(x, training=True, key=key)
        counted = minibatch_size if self.config.last_minibatch == "mean" else self.full
        loss = self.loss(logits, labels, counted, mixture)
        self.network.backward(loss.dlogits, labels.size / minibatch_size)
        return loss

    def watched(self) -> contextlib.AbstractContextManager[None]:
        """Return what measures the update that the body makes, if it is one that is watched."""
        progress = self.state.progress
        if self.watch is None or progress.epoch_step + 1 < self.loader.steps:
            return contextlib.nullcontext()
        return self.watch.step(progress)

    def update(self, fraction: float) -> None:
        """Update the parameters, the network's state and the averages from the reduced sums.

        fraction: how full the minibatch was.
        """
        network, step, average = self.network, self.state.progress.step, self.state.average
        if self.config.clip_norm is not None:
            clip_norm(network.gradient, self.config.clip_norm)
        self.lr = self.learning_rate(step, self.state.metrics)
        self.optimizer.update(network.parameters, network.gradient, self.lr, step)
        network.update_state(fraction)
        if average is not None:
            average.update(network.values, step, self.total)

    def diagnosed(self, error: DivergenceError) -> DivergenceError:
        """Return the error with where it came, and what was not finite first; collective.

        In the step that was being made, or in the evaluation after an epoch's last step.
        """
        progress, comm = self.state.progress, self.comm
        left = self.loader.minibatches(progress.epoch, progress.epoch_step, comm.rank, comm.size)
        minibatch = next(left, None)
        where = "evaluation" if minibatch is None else f"step {progress.step + 1}"
        reason = str(error)
        with contextlib.suppress(RankLostError):  # the run is over anyway
            reason = self.explained(error, minibatch)
        return DivergenceError(f"{where}: {reason}").on_all_ranks()

    def explained(self, error: DivergenceError, minibatch: Minibatch | None) -> str:
        """Return the error of a step, or without a minibatch of an evaluation; collective."""
        network, comm, seed = self.network, self.comm, self.config.seed
        if minibatch is None:
            with self.state.averaged():
                sets = self.dataset.evaluated()
                return explain_evaluation(error, network, sets, self.tta, comm, seed)
        compute = partial(self.compute, minibatch_size=minibatch.size)
        return explain(error, network, minibatch.microbatches, compute, comm, seed)

    def end_epoch(self) -> None:
        """Evaluate, tell, begin the next epoch; save before and after it if it is time to.

        All ranks keep rank 0's figures, since each may have to become rank 0.
        """
        state, comm = self.state, self.comm
        self.save_if_due(state.progress.next_epoch())  # an evaluation may be long, and be cut off
        results = self.evaluate()
        ranks = comm.allgather(asdict(comm.members[comm.rank]) | self.clock.timings())
        self.clock.reset()
        lr = self.learning_rate(state.progress.step - 1, state.metrics)
        line = epoch_metrics(state, results, lr, ranks)
        state.remember(line | self.learning_rate.memory(line, state.metrics))
        self.log.epoch(state)
        state.progress = state.progress.next_epoch()
        self.save_if_due(state.progress, epochs_since_best(state.metrics) == 0)
        state.asked = comm.bcast(self.log.asked)  # last: a death here finds the state whole

    def evaluate(self) -> Results:
        """Return what rank 0 makes of the test and validation sets, alone or with all ranks."""
        comm, clock = self.comm, self.clock
        clock.start_lap()
        if self.config.evaluate_on == "all":
            scores = self.scores(comm)
        else:
            scores = comm.on_root(lambda: self.scores(Communicator()))
            if comm.rank:
                clock.mark("waiting")
        clock.mark("evaluation", comm.waited)
        results = comm.bcast(Results(scores, sum(clock.lap.values())))
        clock.mark("waiting")
        return results

    @property
    def tta(self) -> str:
        """Which copies of images are evaluated now: those of --tta in a run's last evaluation."""
        return self.config.tta if self.state.progress.step >= self.total else "none"

    def scores(self, comm: Communicator) -> dict[str, float]:
        """Return the accuracy and the mean loss on each set, as the metrics name them."""
        scores: dict[str, float] = {}
        sets = self.dataset.evaluated()
        count = sum(map(len, sets.values()))
        with self.state.averaged(), self.log.evaluation(self.state, count) as told:
            for name, images in sets.items():
                loss, accuracy, _ = evaluate(self.network, images, comm, self.tta, told)
                scores |= {f"{name}_accuracy": accuracy, f"{name}_loss": loss}
        return scores

    def save_if_due(self, next_epoch: Progress | None = None, best: bool = False) -> None:
        """Begin to save the state if it is time to, or the best so far.

        next_epoch: where the run is after an epoch.
        """
        due = self.config.save.due(next_epoch or self.state.progress, next_epoch is not None)
        if due or best:
            self.clock.mark("other")
            (self.log.save if due else self.log.save_best)(self.state)
            self.clock.mark("saving")
