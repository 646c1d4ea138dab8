"""Optimizers, schedules, clipping and averages in the trainer: one SHA-256, whatever happens."""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dpcnn.errors import CheckpointError, OptionError
from dpcnn.models.build import plan_network
from dpcnn.optim.adam import AdamW
from dpcnn.optim.lars import LARS
from dpcnn.options import Options
from dpcnn.parallel.communicator import Communicator
from dpcnn.run.checkpoint import Checkpoint
from dpcnn.training.config import Config
from dpcnn.training.log import Log
from dpcnn.training.optimization import learning_rate, make_optimizer, summary, vectors
from dpcnn.training.recovery import Recovery
from dpcnn.training.replay import replay_epoch
from dpcnn.training.setup import initial_state, restore
from dpcnn.training.signals import StopRequests
from dpcnn.training.trainer import Trainer
from tests.networks import of_mnist
from tests.parallel.mortal_ranks import DeathError, on_mortal_ranks
from tests.parallel.ranks import on_ranks
from tests.training.test_thread_ranks import dataset, with_state

EPOCH_STEPS, STEPS = 3, 9  # of 50 images, the last of an epoch of 30
KINDS: dict[str, dict[str, Any]] = {
    "adamw": {"optimizer": "adamw", "schedule": "onecycle", "clip_norm": 0.5, "ema": 0.9},
    "nesterov": {
        "momentum": 0.9, "nesterov": True, "weight_decay": 1e-3, "schedule": "cosine",
        "warmup": "0.2", "ema": 0.5,
    },
    "lars": {"optimizer": "lars", "lr": 1.0, "weight_decay": 1e-3, "schedule": "step",
             "milestones": "1ep,7st"},
    "rmsprop": {"optimizer": "rmsprop", "lr": 1e-4, "schedule": "plateau", "plateau_patience": 0,
                "warmup": "2st"},
    "triangle": {"momentum": 0.9, "nesterov": True, "weight_decay": 1e-3, "decay_all": True,
                 "lr_factors": "batchnorm*/shift:64,dense2/*:0", "schedule": "triangle",
                 "first_lr": 0.002, "final_lr": 0.001, "lookahead": 2},
}  # fmt: skip


def options_of(kind: str) -> Options:
    sizes = {"minibatch_size": 50, "microbatch_size": 7, "epochs": 3}
    return of_mnist(dataroot="digits", **sizes, **KINDS[kind])


class StoppedTrainer(Trainer):
    """A trainer that stops after some step, as a signal would make it."""

    last = math.inf

    def done(self) -> bool:
        return super().done() or self.state.progress.step >= self.last


def trainer_of(kind: str, comm: Communicator) -> StoppedTrainer:
    options = options_of(kind)
    state = initial_state(options, plan_network(options, own=with_state()), dataset(), "")
    config, recovery, stops = Config.of(options), Recovery(), StopRequests()
    return StoppedTrainer(config, state, dataset(), comm, Log(), recovery, stops)


def train(
    comm: Communicator, kind: str, start: Checkpoint | None = None, last: float = math.inf
) -> Checkpoint:
    """Return the state after step `last` of a run, which goes on from a checkpoint if given."""
    trainer = trainer_of(kind, comm)
    if start is not None:
        restore(trainer, start)
    trainer.last = last
    assert trainer.run() == 0
    return trainer.state.checkpoint().copy()


@cache
def expected(kind: str) -> Checkpoint:
    return train(Communicator(), kind)


def same(found: Checkpoint | Exception, other: Checkpoint) -> bool:
    """Tell whether two states have the same bits: weights, averages, slots, learning rates."""
    assert isinstance(found, Checkpoint), found
    for name in ("model", "average"):
        for layer, values in getattr(other, name).items():
            for key, array in values.items():
                np.testing.assert_array_equal(getattr(found, name)[layer][key], array)
    for slot, vector in other.optimizer.items():
        np.testing.assert_array_equal(found.optimizer[slot], vector)
    keys = ("weights_sha256", "learning_rate", "test_loss", "loss")
    lines = [[{key: line[key] for key in keys} for line in each.metrics] for each in (found, other)]
    return lines[0] == lines[1]


@settings(max_examples=12, deadline=None)
@given(
    st.sampled_from([*KINDS]), st.integers(1, 4), st.integers(1, 4), st.integers(1, STEPS - 1)
)  # fmt: skip
def test_a_run_stopped_anywhere_and_resumed_on_other_ranks_has_the_bits_of_one(
    kind: str, ranks: int, others: int, stop: int
) -> None:
    first = on_ranks(ranks, lambda comm: train(comm, kind, last=stop))[0]
    assert isinstance(first, Checkpoint)
    for found in on_ranks(others, lambda comm: train(comm, kind, first)):
        assert same(found, expected(kind))


@settings(max_examples=12, deadline=None)
@given(st.sampled_from([*KINDS]), st.integers(2, 4), st.integers(1, 18))
def test_a_rank_that_dies_anywhere_changes_no_bit(kind: str, ranks: int, death: int) -> None:
    for found in on_mortal_ranks(ranks, lambda comm: train(comm, kind), {0: death}):
        if not isinstance(found, DeathError):
            assert same(found, expected(kind))


@pytest.mark.parametrize("kind", KINDS)
def test_an_epoch_made_again_from_its_checkpoint_has_its_bits(kind: str) -> None:
    trainer = trainer_of(kind, Communicator())
    restore(trainer, train(Communicator(), kind, last=EPOCH_STEPS))
    trainer.attach()
    for line in expected(kind).metrics[1:]:
        replay_epoch(trainer, line)
        assert trainer.network.weights_sha256() == line["weights_sha256"]
    assert same(trainer.state.checkpoint(), expected(kind))


def test_what_is_evaluated_are_the_averages_and_what_is_hashed_the_trained_weights() -> None:
    trainer = trainer_of("adamw", Communicator())
    restore(trainer, expected("adamw"))
    state, line = trainer.state, expected("adamw").metrics[-1]
    trained = trainer.network.values.copy()
    assert trainer.network.weights_sha256() == line["weights_sha256"]
    with state.averaged():
        averaged = trainer.network.values.copy()
    np.testing.assert_array_equal(trainer.network.values, trained)
    assert (averaged != trained).any()
    trainer.network.values[...] = averaged
    state.average = None
    assert trainer.evaluate().scores["test_loss"] == line["test_loss"]


@pytest.mark.parametrize(
    ("kind", "other", "message"),
    [
        ("adamw", "rmsprop", "the checkpoint's optimizer: found mean_square, expected mean, mean_"),
    ],
)
def test_a_checkpoint_without_what_the_options_keep_is_refused(
    kind: str, other: str, message: str
) -> None:
    with pytest.raises(CheckpointError) as caught:
        restore(trainer_of(kind, Communicator()), expected(other))
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("values", "decayed"),
    [
        ({"optimizer": "adamw"}, {"convolution1/W", "dense1/W"}),
        ({"weight_decay": 0.01}, {"convolution1/W", "dense1/W"}),
        ({"weight_decay": 0.01, "decay_all": True},
         {"convolution1/W", "convolution1/b", "dense1/W", "dense1/b"}),
        ({"optimizer": "adamw", "weight_decay": 0.0}, set()),
        ({}, set()),
    ],
)  # fmt: skip
def test_vectors_are_not_decayed_unless_all_are(values: dict[str, Any], decayed: set[str]) -> None:
    options = of_mnist(n_filter=2, **values)
    plan = plan_network(options)
    optimizer = make_optimizer(options, plan)
    found = {
        f"{slot.layer.name}/{slot.key}": {*optimizer.decay[slot.part].tolist()}
        for slot in plan.slots
    }
    for name, factors in found.items():
        assert factors == {float(np.float32(0.01)) if name in decayed else 0.0}


def test_factors_scale_the_steps_of_some_parameters_and_not_their_decay() -> None:
    options = of_mnist(n_filter=2, lr=0.1, weight_decay=0.5, lr_factors="conv*/?:4,dense1/W:0")
    plan = plan_network(options)
    optimizer = make_optimizer(options, plan)
    parameters = np.ones(plan.parameter_count, np.float32)
    optimizer.update(parameters, np.ones_like(parameters), 0.1, 0)
    found = {
        f"{slot.layer.name}/{slot.key}": {*parameters[slot.part].tolist()} for slot in plan.slots
    }
    expected = {
        "convolution1/W": 1 - 0.4 - 0.05, "convolution1/b": 0.6, "dense1/W": 1, "dense1/b": 0.9
    }  # fmt: skip
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert [*found[name]] == [pytest.approx(value, rel=1e-6)]


def test_a_factor_of_no_parameter_is_refused() -> None:
    options = of_mnist(n_filter=2, lr_factors="convolution*/W:2,conv/W:3")
    message = "--lr_factors has 'conv/W', expected a parameter of the network, such as convolution1"
    with pytest.raises(OptionError, match=message):
        make_optimizer(options, plan_network(options))


def test_what_is_auto_is_the_default_of_pytorch_and_lars_has_momentum() -> None:
    plan = plan_network(of_mnist(n_filter=2))
    adamw = make_optimizer(of_mnist(optimizer="adamw", beta2=0.9), plan)
    assert isinstance(adamw, AdamW)
    assert (adamw.beta1, adamw.beta2, adamw.eps) == (0.9, 0.9, 1e-8)
    lars = make_optimizer(of_mnist(optimizer="lars"), plan)
    assert isinstance(lars, LARS)
    assert lars.momentum == 0.9


@pytest.mark.parametrize(
    ("values", "count"),
    [
        ({}, 0),
        ({"momentum": 0.9}, 1),
        ({"optimizer": "adam", "ema": 0.9}, 3),
        ({"ema": 0.9}, 1),
        ({"lr_factors": "*:2"}, 1),
        ({"lookahead": 5}, 1),
    ],
)
def test_the_vectors_that_training_keeps_are_counted(values: dict[str, Any], count: int) -> None:
    assert vectors(of_mnist(**values)) == count


@pytest.mark.parametrize(
    ("values", "rates"),
    [
        ({}, {0: 0.1, 99: 0.1}),
        ({"warmup": "2ep"}, {0: 0.005, 9: 0.05, 19: 0.1, 99: 0.1}),
        ({"warmup": "0.5ep"}, {0: 0.02, 4: 0.1}),
        ({"warmup": "4st"}, {0: 0.025, 3: 0.1}),
        ({"schedule": "step", "milestones": "2ep,30st,0.5"},
         {19: 0.1, 20: 0.01, 29: 0.01, 30: 0.001, 49: 0.001, 50: 0.0001}),
        ({"schedule": "cosine", "warmup": "0.1"}, {0: 0.01, 9: 0.1, 10: 0.1, 55: 0.05}),
        ({"schedule": "linear", "final_lr": 0.05}, {0: 0.1, 50: 0.075}),
        ({"schedule": "linear", "max_steps": 50}, {0: 0.1, 25: 0.05}),
        ({"schedule": "linear", "max_steps": 5000}, {50: 0.05}),
        ({"schedule": "triangle", "first_lr": 0.02, "pct_start": 0.2},
         {0: 0.02, 20: 0.1, 60: 0.05}),
        ({"schedule": "onecycle"}, {0: 0.004, 29: 0.1, 99: 4e-7}),
        ({"schedule": "onecycle", "pct_start": 0.5, "final_lr": 0.001}, {49: 0.1, 99: 0.001}),
    ],
)  # fmt: skip
def test_learning_rates_of_a_run_of_ten_epochs_of_ten_steps(
    values: dict[str, Any], rates: dict[int, float]
) -> None:
    rate = learning_rate(of_mnist(lr=0.1, epochs=10, **values), 10)
    assert {step: rate(step, []) for step in rates} == pytest.approx(rates)


def test_without_a_schedule_the_rate_is_lr_to_the_bit() -> None:
    assert learning_rate(of_mnist(lr=0.3), 7)(123, []) == 0.3


def test_plateau_looks_at_the_loss_of_the_validation_set_or_else_of_the_training_set() -> None:
    options = of_mnist(lr=0.1, schedule="plateau", plateau_patience=1, gamma=0.5, final_lr=0.04)
    rate = learning_rate(options, 10)

    def rates(lines: list[dict[str, Any]]) -> list[float]:
        """Return the rate after each epoch, of which only the last metrics are kept."""
        kept: list[dict[str, Any]] = []
        found = []
        for line in lines:
            kept = [line | rate.memory(line, kept)]
            found.append(rate(80, kept))
        return found

    lines = [{"loss": 1 / epoch} for epoch in range(1, 9)]
    assert set(rates(lines)) == {0.1}
    flat = [line | {"validation_loss": 1.0} for line in lines]
    assert rates(flat)[:5] == [0.1, 0.1, 0.05, 0.05, 0.04]
    assert rates([{"loss": None}, {}, {"loss": "x"}])[-1] == 0.05  # of a forged checkpoint


@pytest.mark.parametrize("schedule", ["cosine", "linear"])
def test_a_warm_up_that_takes_the_whole_run_is_refused(schedule: str) -> None:
    options = of_mnist(epochs=3, warmup="3ep", schedule=schedule)
    with pytest.raises(OptionError, match=r"--warmup 3ep is 30 steps, expected fewer than the 30"):
        learning_rate(options, 10)


def test_the_header_says_what_optimizes_only_where_it_is_not_plain_descent() -> None:
    assert summary(of_mnist(lr=0.3)) == {}
    assert summary(of_mnist(ema=0.9)) == {"optimizer": "sgd, ema 0.9"}
    found = summary(of_mnist(optimizer="adamw", decay_all=True, schedule="cosine", warmup="2ep"))
    assert found == {"optimizer": "adamw, decay_all true", "schedule": "cosine, warmup 2ep"}
    found = summary(of_mnist(label_smoothing=0.1, class_weights="balanced"))
    assert found == {"loss": "cross entropy, label_smoothing 0.1, class_weights balanced"}
