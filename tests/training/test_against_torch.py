"""Whole runs in float64 are those of PyTorch: same weights, same batches, 30 steps.

The trainer makes its steps as always, with a network, an optimizer and a reduction in float64. The
last step of each epoch is short, and so is its last micro-batch. PyTorch takes the micro-batches
one by one (batch normalisation over each of them) and adds their gradients up.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from dpcnn.data.dataset import Dataset, Images
from dpcnn.data.loader import Microbatch
from dpcnn.inference.evaluation import COUNTS
from dpcnn.models.build import plan_network
from dpcnn.nn import BatchNorm, Dropout
from dpcnn.nn.network import Network
from dpcnn.nn.plan import Plan
from dpcnn.optim.adam import Adam
from dpcnn.optim.optimizer import Optimizer
from dpcnn.optim.sgd import SGD
from dpcnn.options import Options
from dpcnn.parallel.communicator import Communicator
from dpcnn.parallel.reduction import Reduction
from dpcnn.training.config import Config
from dpcnn.training.log import ASKED, Log
from dpcnn.training.recovery import Recovery
from dpcnn.training.setup import initial_state
from dpcnn.training.signals import NAMES, StopRequests
from dpcnn.training.state import State
from dpcnn.training.trainer import BUG, Trainer
from tests.networks import of_mnist
from tests.reference import Array

torch = pytest.importorskip("torch", reason="PyTorch is the oracle of whole runs")
torch_network = pytest.importorskip("dpcnn.bench.torch_network")
torch.set_num_threads(1)

STEPS, IMAGES, MINIBATCH, MICROBATCH = 30, 107, 32, 8
SHAPE = (3, 8, 8)
DECAY = 2.0**-10
Values = dict[str, dict[str, Array]]


class DoubleReduction(Reduction):
    dtype = np.float64


class DoubleTrainer(Trainer):
    """A trainer whose network, optimizer and sums are in float64."""

    def attach(self) -> None:
        super().attach()
        size = self.network.sums.size
        self.reduction = DoubleReduction.allocate(self.comm, size, (*COUNTS, *NAMES, ASKED, BUG))


def dataset() -> Dataset:
    """Return noise that is brighter on one side, by class: something to learn."""
    rng = np.random.default_rng(0)
    labels = rng.integers(10, size=IMAGES + 20).astype(np.uint8)
    pixels = rng.integers(0, 200, (IMAGES + 20, *SHAPE), np.uint8)
    pixels[:, 0, :, 0] += (5 * labels)[:, None]
    parts = [Images(pixels[:IMAGES], labels[:IMAGES]), Images(pixels[IMAGES:], labels[IMAGES:])]
    return Dataset(parts[0], parts[1], "noise", 10)


def options_of(**chosen: Any) -> Options:
    shape = dict(zip(("num_channel", "img_height", "img_width"), SHAPE, strict=True))
    sizes = {"minibatch_size": MINIBATCH, "microbatch_size": MICROBATCH}
    length = {"epochs": 8, "max_steps": STEPS, "last_minibatch": "mean"}
    return of_mnist(dataroot="noise", **shape, **sizes, **length, **chosen)


def double_trainer(options: Options, optimizer: Any) -> DoubleTrainer:
    """Return a trainer whose weights are those of the seed; optimizer: plan -> optimizer."""
    single = initial_state(options, plan_network(options), dataset(), "")
    initial = copy.deepcopy(single.network.named_values())
    network = Network(single.network.plan, np.float64)
    network.restore(initial)
    state = State(network, optimizer(network.plan), single.identity)
    config, stops = Config.of(options), StopRequests()
    return DoubleTrainer(config, state, dataset(), Communicator(), Log(), Recovery(), stops)


class TorchBatchNorm(torch.nn.Module):  # type: ignore[misc,name-defined]
    """Batch normalisation over a micro-batch; running statistics from the mean over a step's."""

    def __init__(self, layer: BatchNorm) -> None:
        super().__init__()
        self.eps, self.momentum = layer.eps, layer.momentum
        self.scale = torch_network.parameter(layer.scale)
        self.shift = torch_network.parameter(layer.shift)
        self.running = [torch.tensor(value.copy()) for value in (layer.mean, layer.variance)]
        self.step: list[tuple[int, list[Any]]] = []

    def forward(self, x: Any) -> Any:
        axes = (0, *range(2, x.ndim))
        self.step.append((len(x), [x.detach().mean(axes), x.detach().var(axes)]))
        return torch.nn.functional.batch_norm(
            x, None, None, self.scale, self.shift, training=True, eps=self.eps
        )

    def end_step(self) -> None:
        images = sum(count for count, _ in self.step)
        for number, running in enumerate(self.running):
            mean = sum(count * values[number] for count, values in self.step) / images
            running += self.momentum * images / MINIBATCH * (mean - running)
        self.step = []


class TorchDropout(torch.nn.Module):  # type: ignore[misc,name-defined]
    """Dropout by the mask of a layer of dpcnn, in the same step and micro-batch."""

    def __init__(self, layer: Dropout) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Any) -> Any:
        mask = self.layer.forward(np.ones((*x.shape[1:], len(x))))
        return x * torch.tensor(np.moveaxis(mask, -1, 0).copy())


def module(plan: Plan) -> Any:
    """Return the network in PyTorch, with copies of the weights."""
    return torch_network.network(plan, {BatchNorm: TorchBatchNorm, Dropout: TorchDropout})


def batches(trainer: Trainer) -> Iterator[tuple[int, list[Microbatch]]]:
    """Yield the size and the micro-batches of each step."""
    for step in range(STEPS):
        epoch, first = 1 + step // trainer.loader.steps, step % trainer.loader.steps
        minibatch = next(trainer.loader.minibatches(epoch, first))
        yield minibatch.size, list(minibatch.microbatches)


def train_torch(trainer: Trainer, model: Any, optimizer: Any, lr: Any) -> None:
    """Make the trainer's steps with PyTorch; lr: step -> learning rate."""
    context = trainer.network.context  # by which the masks of dropout are drawn
    for step, (size, microbatches) in enumerate(batches(trainer)):
        optimizer.zero_grad()
        for number, x, labels, _ in microbatches:
            context.training, context.step, context.microbatch = True, step, number
            logits = model(torch.tensor(np.moveaxis(x, -1, 0).astype(np.float64)))
            target = torch.tensor(labels.astype(np.int64))
            loss = torch.nn.functional.cross_entropy(logits, target, reduction="sum")
            (loss / size).backward()
        for group in optimizer.param_groups:
            group["lr"] = lr(step)
        optimizer.step()
        for layer in model.modules():
            if isinstance(layer, TorchBatchNorm):
                layer.end_step()


def torch_values(plan: Plan, model: Any) -> Iterator[tuple[str, Array]]:
    """Yield the path and the values, as dpcnn keeps them, of all parameters and statistics."""
    kinds = (torch.nn.Conv2d, torch.nn.Linear, TorchBatchNorm)
    layers = [layer for layer in plan.leaves.values() if layer.parameter_shapes]
    modules = [made for made in model.modules() if isinstance(made, kinds)]
    for layer, made in zip(layers, modules, strict=True):
        if isinstance(made, TorchBatchNorm):
            values = {"scale": made.scale, "shift": made.shift}
            values |= dict(zip(("mean", "variance"), made.running, strict=True))
        else:
            W = made.weight.T if isinstance(made, torch.nn.Linear) else made.weight
            values = {"W": W} | ({} if made.bias is None else {"b": made.bias})
        for key, value in values.items():
            yield f"{layer.name}/{key}", value.detach().numpy()


def compare(trainer: Trainer, model: Any, initial: Values) -> None:
    """Raise AssertionError unless no weight or statistic is farther than 1e-8 from PyTorch's."""
    found = trainer.network.named_values()
    compared = dict(torch_values(trainer.network.plan, model))
    assert compared.keys() == {f"{name}/{key}" for name in found for key in found[name]}
    for path, expected in compared.items():
        name, _, key = path.rpartition("/")
        np.testing.assert_allclose(found[name][key], expected, rtol=0, atol=1e-8, err_msg=path)
        assert np.abs(found[name][key] - initial[name][key]).max() > 1e-4, f"{path} was not trained"


def decayed(plan: Plan) -> Array:
    """Return the weight decay of each parameter: none of vectors."""
    decay = np.zeros(plan.parameter_count)
    for slot in plan.slots:
        if slot.trained and len(slot.shape) > 1:
            decay[slot.part] = DECAY
    return decay


def cosine_after_warm_up(lr: float, warm_up: int) -> Any:
    def rate(step: int) -> float:
        if step < warm_up:
            return lr * (step + 1) / warm_up
        return lr * (1 + math.cos(math.pi * (step - warm_up) / (STEPS - warm_up))) / 2

    return rate


def test_resnet8_with_momentum_decay_and_a_warm_cosine_is_that_of_torch() -> None:
    options = options_of(model="resnet8", lr=0.05, momentum=0.9, schedule="cosine", warmup="5st")

    def sgd(plan: Plan) -> Optimizer:
        size = plan.parameter_count
        return SGD(size, momentum=0.9, weight_decay=decayed(plan), dtype=np.float64)

    trainer = double_trainer(options, sgd)
    initial = copy.deepcopy(trainer.network.named_values())
    model = module(trainer.network.plan)
    assert trainer.run() == 0
    weights = list(model.parameters())
    groups = [
        {"params": [each for each in weights if each.ndim > 1], "weight_decay": DECAY},
        {"params": [each for each in weights if each.ndim == 1], "weight_decay": 0},
    ]
    optimizer = torch.optim.SGD(groups, lr=1.0, momentum=0.9)
    train_torch(trainer, model, optimizer, cosine_after_warm_up(0.05, 5))
    compare(trainer, model, initial)


def test_vgg_with_dropout_and_adam_is_that_of_torch() -> None:
    options = options_of(model="vgg", optimizer="adam", lr=1e-3)

    def adam(plan: Plan) -> Optimizer:
        return Adam(plan.parameter_count, dtype=np.float64)

    trainer = double_trainer(options, adam)
    initial = copy.deepcopy(trainer.network.named_values())
    model = module(trainer.network.plan)
    assert trainer.run() == 0
    train_torch(trainer, model, torch.optim.Adam(model.parameters()), lambda step: 1e-3)
    compare(trainer, model, initial)
