"""The training run: epochs, step, evaluation, saving, stop requests.

The only file, with start.py, that knows all rooms. Each rank runs the same code; rank 0 alone
prints and saves, through objects that do nothing on the others.
"""

from __future__ import annotations

import os
import shlex
import signal
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import numpy as np

from dpcnn.data import sampler
from dpcnn.data.dataset import Dataset, Images
from dpcnn.data.loader import Loader, Minibatch
from dpcnn.errors import DivergenceError, DpcnnError
from dpcnn.inference.evaluation import COUNTS, evaluate
from dpcnn.models.build import check_dataset, check_parameters, common_fingerprint
from dpcnn.nn.config import own_layers, to_config
from dpcnn.nn.losses import softmax_cross_entropy
from dpcnn.nn.network import Network
from dpcnn.optim.sgd import SGD
from dpcnn.options import Options, checkpoint_interval
from dpcnn.parallel.communicator import Communicator, RankLostError
from dpcnn.parallel.launcher import command
from dpcnn.parallel.reduction import REDUCTIONS, Reduction, Sums
from dpcnn.run import events, outcome
from dpcnn.run.checkpoint import Checkpoint
from dpcnn.run.directory import RunDirectory
from dpcnn.run.loggers import jsonl, tensorboard
from dpcnn.run.saver import Saver
from dpcnn.training.console import Console
from dpcnn.training.recovery import recover
from dpcnn.training.signals import NAMES, StopRequests, requested
from dpcnn.training.state import Position, restored
from dpcnn.training.timing import Spending


class Trainer:
    """Trains one network on one dataset, on all ranks of a communicator."""

    def __init__(
        self,
        options: Options,
        network: Network,
        dataset: Dataset,
        comm: Communicator,
        console: Console,
        directory: RunDirectory,
    ) -> None:
        self.options, self.network, self.dataset = options, network, dataset
        self.comm, self.console, self.directory = comm, console, directory
        self.optimizer = SGD()
        self.requests = StopRequests()
        self.reduction = self.new_reduction()
        sizes = options.minibatch_size, options.microbatch_size or sampler.AUTO_MICROBATCH
        self.loader = Loader(dataset.train, *sizes, options.seed, options.shuffle)
        self.steps_in_epoch = self.loader.steps
        self.interval, self.unit = checkpoint_interval(options.checkpoint_every)
        own = dataset.fingerprint() if comm.node.rank == 0 else ""
        self.fingerprint = common_fingerprint(comm.allgather(own), comm.hosts, dataset.source)
        self.position, self.spending = Position(), Spending()
        self.metrics: list[jsonl.Metrics] = []
        self.saver = Saver(directory, options.keep_checkpoints, console.warn)
        self.stop: signal.Signals | None = None
        self.tries: Counter[int] = Counter()  # at replacing lost ranks, by step

    def new_reduction(self) -> Reduction:
        """Return the reduction of a step, for the ranks as they are now; collective."""
        reduction = REDUCTIONS[self.options.reduce]
        return reduction(self.comm, self.network.gradient.size, (*COUNTS, *NAMES))

    def run(self) -> int:
        """Train until the epochs or steps are done or a signal asks to stop; return the exit code.

        The state is saved at the end, however it came. Raises DivergenceError, after saving the
        last good step, and DpcnnError if the last state could not be saved.
        """
        self.comm.timeout = self.options.timeout
        start = "resume" if self.position.step else "start"
        self.note(start, hosts=self.comm.hosts, restart=outcome.restart(), process=os.getpid())
        self.spending = Spending()
        # A diverging step is found in the sums it is reduced to; NumPy need not warn before.
        with self.requests, np.errstate(all="ignore"):
            while True:
                try:
                    saved = self._train()
                    break
                except RankLostError:
                    recover(self)
        if not saved:
            raise DpcnnError("the last state of the run could not be saved").on_all_ranks()
        if self.stop is not None:
            self.note("stop", signal=self.stop.name)
            self.console.line(
                f"Stopped by {self.stop.name}; step {self.position.step:,} is saved. Go on with:"
                f" {self._resuming()}"
            )
        self.console.line(f"Weights SHA-256: {self.weights_sha256()}")
        return 0 if self.stop is None else 128 + self.stop

    def _resuming(self) -> str:
        """Return the command that goes on with the run."""
        words = ["--run_dir", str(self.directory.path), "--resume", "auto"]
        if self.options.model and own_layers(to_config(self.network.layers)):
            words += ["--model", self.options.model]
        return f"{command(self.comm.size)} {shlex.join(words)}"

    def _train(self) -> bool:
        """Make the steps that are left and save the state; tell whether that could be done."""
        try:
            while not self._done():
                self._train_epoch()
        except DivergenceError as error:
            self._save_last()
            explained = self._explained(error)
            self.note("divergence", error=str(explained))
            raise explained from None
        return all(self.comm.allgather(self._save_last()))

    def _explained(self, error: DivergenceError) -> DivergenceError:
        """Return the error with the step it came in and where the last good state is."""
        step = self.position.step
        kept = f"the state after step {step} is in {self.directory.path}"
        return DivergenceError(f"step {step + 1}: {error}; {kept}").on_all_ranks()

    def _done(self) -> bool:
        limit = self.options.max_steps
        steps_done = limit is not None and self.position.step >= limit
        epochs_done = self.position.epoch > self.options.epochs
        return steps_done or epochs_done or self.stop is not None

    def _train_epoch(self) -> None:
        """Make the rest of the epoch's steps; if none is left over, evaluate and go to the next."""
        options, position = self.options, self.position
        self.console.start_epoch(
            position.epoch, options.epochs, self.steps_in_epoch, position.epoch_step
        )
        for minibatch in self.minibatches():
            sums = self.step(minibatch)
            self.stop = requested(sums)
            self.console.step(sums["loss"] / sums["images"], int(sums["images"]))
            self.saver.poll()
            if self.unit == "st" and position.step % self.interval == 0:
                self._save_unless_epoch_ends()
            if self._done():
                break
        self.console.end_epoch()
        if position.epoch_step == self.steps_in_epoch and self.stop is None:
            self._finish_epoch()

    def minibatches(self) -> Iterator[Minibatch]:
        """Return the minibatches that are left of the epoch in progress."""
        at, comm = self.position, self.comm
        return self.loader.minibatches(at.epoch, at.epoch_step, comm.rank, comm.size)

    def replay_epoch(self) -> None:
        """Make the rest of the epoch's steps and go to the next: no evaluation, nothing is kept."""
        for minibatch in self.minibatches():
            self.step(minibatch)
        self.position = self.position.next_epoch()

    def step(self, minibatch: Minibatch) -> Sums:
        """Make one step; return the minibatch's sums."""
        started = time.perf_counter()
        options, network, position, comm = self.options, self.network, self.position, self.comm
        for x, labels in minibatch.microbatches:
            logits = network.forward(x)
            loss = softmax_cross_entropy(logits, labels, minibatch.size)
            network.backward(loss.dlogits)
            self.reduction.add(
                network.gradient, loss=loss.loss, correct=loss.correct, images=labels.size
            )
        self.reduction.add_scalars(**self.requests.flags())
        computed, waited = time.perf_counter(), comm.waited
        sums = self.reduction.allreduce(network.gradient)
        reduced = time.perf_counter()
        self.optimizer.step(network.parameters, network.gradient, options.lr)
        position.step += 1
        position.epoch_step += 1
        comm.last_step = position.step
        for name in COUNTS:
            setattr(position, name, getattr(position, name) + sums[name])
        ended = time.perf_counter()
        waited = comm.waited - waited
        position.seconds += ended - started
        self.spending.steps += 1
        for sums_of in (position, self.spending):
            sums_of.compute_seconds += computed - started + ended - reduced
            sums_of.communication_seconds += reduced - computed - waited
            sums_of.waiting_seconds += waited
        return sums

    def _finish_epoch(self) -> None:
        """Evaluate, report, begin the next epoch, and save if it is time to.

        All ranks keep rank 0's figures, as each may have to stand in for it.
        """
        position = self.position
        (test_loss, test_accuracy), evaluation_seconds = self._evaluate_epoch()
        ranks = self.comm.allgather(self.spending.of(self.comm.members[self.comm.rank]))
        self.spending = Spending()
        line = {
            "epoch": position.epoch,
            "step": position.step,
            "loss": position.loss / position.images,
            "train_accuracy": position.correct / position.images,
            "test_accuracy": test_accuracy,
            "test_loss": test_loss,
            "learning_rate": self.options.lr,
            "seconds": position.seconds + evaluation_seconds,
            "images_per_second": position.images / position.seconds,
            "compute_seconds": position.compute_seconds,
            "communication_seconds": position.communication_seconds,
            "waiting_seconds": position.waiting_seconds,
            "evaluation_seconds": evaluation_seconds,
            "world_size": self.comm.size,
            "deaths": position.deaths,
            "ranks": ranks,
            "weights_sha256": self.weights_sha256(),
        }
        self.metrics.append(line)
        if self.comm.rank == 0:
            self._write_metrics(line)
        self.note("epoch")
        self.console.line(
            f"Epoch {line['epoch']}, Loss = {line['loss']:.4f},"
            f" Training Accuracy = {line['train_accuracy']:.4f},"
            f" Test Accuracy = {line['test_accuracy']:.4f}"
        )
        self.position = position.next_epoch()
        due = position.epoch if self.unit == "ep" else position.step
        if due % self.interval == 0:
            self._save()

    def _write_metrics(self, line: jsonl.Metrics) -> None:
        """Add the newest line to the files of metrics; a full disk costs it there, not the run."""
        try:
            self.directory.add_metrics(self.metrics)
            if self.options.tensorboard:
                tensorboard.append(self.directory.path, line)
        except OSError as error:
            self.console.warn(f"epoch {line['epoch']} is not in jsonl.jsonl ({error.strerror})")

    def _evaluate_epoch(self) -> tuple[tuple[float, float], float]:
        """Return rank 0's evaluation of the test set and how many seconds it took there."""
        started, waited = time.perf_counter(), self.comm.waited
        evaluation = self.evaluate(self.dataset.test)
        evaluated = time.perf_counter()
        waited = self.comm.waited - waited
        told = self.comm.bcast((evaluation, evaluated - started))
        self.spending.evaluation_seconds += evaluated - started - waited
        self.spending.waiting_seconds += waited + time.perf_counter() - evaluated
        return told

    def evaluate(self, images: Images) -> tuple[float, float]:
        """Return the mean loss and the accuracy over these images, where they are evaluated.

        With evaluate_on rank0 the other ranks return NaN at once.
        """
        if self.options.evaluate_on == "all":
            return evaluate(self.network, images, self.comm)[:2]
        if self.comm.rank != 0:
            return float("nan"), float("nan")
        return evaluate(self.network, images, Communicator())[:2]

    def weights_sha256(self) -> str:
        """Return the SHA-256 of the parameters."""
        return self.network.weights_sha256()

    def checkpoint(self) -> Checkpoint:
        """Return the state of the run."""
        return Checkpoint(
            model=self.network.named_parameters(),
            optimizer=self.optimizer.slots,
            progress=asdict(self.position),
            options=self.options.as_dict(),
            metrics=self.metrics,
            dataset={"fingerprint": self.fingerprint, "source": self.dataset.source},
            network=to_config(self.network.layers),
        )

    def restore(self, checkpoint: Checkpoint) -> None:
        """Take over the state of a checkpoint that is on the disk; collective.

        Raises CheckpointError if it is of another dataset, another network or no such run.
        """
        self.check_dataset(checkpoint)
        check_parameters(checkpoint.model, checkpoint.optimizer, self.network.plan)
        images = len(self.dataset.train), self.options.minibatch_size
        self.comm.together(lambda: restored(checkpoint.progress, self.steps_in_epoch, *images))
        self.adopt(checkpoint)
        self.saver.saved_step = self.position.step

    def adopt(self, checkpoint: Checkpoint) -> None:
        """Take over the state of a checkpoint of this network."""
        self.network.restore(checkpoint.model)
        self.optimizer.slots.update(checkpoint.optimizer)
        self.position = Position(**checkpoint.progress)
        self.metrics = list(checkpoint.metrics)

    def check_dataset(self, checkpoint: Checkpoint) -> None:
        """Raise CheckpointError, on all ranks, if a checkpoint is of another dataset."""
        found = self.fingerprint, self.dataset.source
        self.comm.together(lambda: check_dataset(checkpoint, *found), only=self.comm.rank == 0)

    def _save_unless_epoch_ends(self) -> None:
        """Save in the middle of an epoch; at its end the evaluation comes first."""
        if self.position.epoch_step < self.steps_in_epoch:
            self._save()

    def _save(self) -> None:
        """Begin to save the state; training goes on meanwhile."""
        started = time.perf_counter()
        if self.comm.rank == 0:
            self.saver.start(self.checkpoint())
        self.spending.saving_seconds += time.perf_counter() - started

    def _save_last(self) -> bool:
        """Save the state, unless that has been done; tell whether it is on the disk now."""
        self._save()
        self.saver.finish()
        return self.comm.rank != 0 or self.saver.saved_step == self.position.step

    def note(self, event: str, alone: bool = False, **facts: Any) -> None:
        """Add an event to the run's history: rank 0 does, or a rank that is `alone` with it."""
        if self.comm.rank == 0 or alone:
            at, size = self.position, self.comm.size
            where = {"step": at.step, "epoch": at.epoch, "world_size": size}
            try:
                events.append(self.directory.path, event, **where, **facts)
            except OSError as error:
                self.console.warn(f"{event} is not in {events.NAME} ({error.strerror})")

    def end(self, code: int) -> None:
        """Keep how the run ends: for rank 0, or a rank that ends it alone."""
        self.note("end", alone=True, exit_code=code)
        self.directory.write_outcome(code)
