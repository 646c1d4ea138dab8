"""--watch: the bits of a run without it, and numbers that follow from the run itself."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import dpcnn
from dpcnn.models.build import plan_network
from dpcnn.nn import BatchNorm, Convolution, Dense, Flatten, Layer, ReLU
from dpcnn.nn.network import Network
from dpcnn.parallel.communicator import Communicator
from dpcnn.training.config import Config
from dpcnn.training.log import Log
from dpcnn.training.recovery import Recovery
from dpcnn.training.setup import initial_state
from dpcnn.training.signals import StopRequests
from dpcnn.training.state import State
from dpcnn.training.trainer import Trainer
from dpcnn.training.watch import Watch
from tests.networks import of_mnist
from tests.training.test_thread_ranks import dataset, with_state

LR = 0.05


def trained(watch: bool, layers: Sequence[Layer], **options: Any) -> State:
    sizes = {"minibatch_size": 50, "microbatch_size": 7}
    values = of_mnist(dataroot="digits", lr=LR, watch=watch, **sizes | options)
    state = initial_state(values, plan_network(values, own=layers), dataset(), "")
    parts = Communicator(), Log(), Recovery(), StopRequests()
    assert Trainer(Config.of(values), state, dataset(), *parts).run() == 0
    return state


def test_the_bits_are_the_same_with_it_and_without() -> None:
    """Of a network with random masks and batch statistics, whose gradient is clipped."""
    runs = [trained(watch, with_state(), epochs=2, clip_norm=0.5) for watch in (True, False)]
    values = [state.network.values.tobytes() for state in runs]
    assert values[0] == values[1]
    lines = [[line["weights_sha256"] for line in state.metrics] for state in runs]
    assert lines[0] == lines[1]
    assert all("layers" in line for line in runs[0].metrics)
    assert not any("layers" in line for line in runs[1].metrics)


def test_the_numbers_are_those_of_the_last_step() -> None:
    """One step of plain descent: each update is the learning rate times the gradient."""
    layers = [BatchNorm(), Convolution(2, 4), ReLU(), Flatten(), Dense(10)]
    state = trained(True, layers, epochs=1, minibatch_size=130, microbatch_size=13)
    lines = {line.pop("layer"): line for line in state.metrics[-1]["layers"]}
    assert [*lines] == ["batchnorm1", "convolution1", "relu1", "dense1"]
    for name, values in state.network.named_values().items():
        trainable = [array.ravel() for key, array in values.items() if key in "Wb"]
        if trainable:
            weights = np.linalg.norm(np.concatenate(trainable))
            assert lines[name]["weights"] == pytest.approx(weights, rel=1e-5)
            change = lines[name]["update"] * weights
            assert change == pytest.approx(LR * lines[name]["gradient"], rel=1e-3)
    pixels = dataset().train.load(np.arange(130))
    assert lines["batchnorm1"]["batch_mean"] == pytest.approx(pixels.mean(), rel=1e-4)
    assert lines["batchnorm1"]["batch_variance"] == pytest.approx(pixels.var(), rel=0.05)


def test_a_relu_is_dead_where_nothing_makes_it_positive() -> None:
    layers = [Convolution(4, 5), ReLU(), Flatten(), Dense(8), ReLU(), Dense(10)]
    options = of_mnist(dataroot="digits")
    network = Network(plan_network(options, own=layers))
    network.initialize(0)
    values = network.named_values()
    values["convolution1"]["b"][...] = [1, -100, 1, 1]
    values["dense1"]["b"][...] = [100, -100] * 4
    assert Watch(network, dataset().train, 16).dead() == {"relu1": 0.25, "relu2": 0.5}


@pytest.mark.parametrize("size", [1, 7, 16, 130, 200])
def test_any_micro_batch_is_measured_on_images_from_all_over(size: int) -> None:
    network = Network(plan_network(of_mnist(dataroot="digits"), own=with_state()))
    parts = Watch(network, dataset().train, size)._microbatches()
    numbers = np.concatenate(parts)
    assert len(set(numbers)) == len(numbers) == len(dataset().train) // size * size or size > 130
    assert numbers.max() < len(dataset().train)
    assert {len(part) for part in parts} == {min(size, len(dataset().train))}


def test_they_are_in_the_files_and_the_history_and_go_on_after_a_resume(
    small: Path, tmp_path: Path
) -> None:
    values = {"run_dir": tmp_path / "run", "progress": "silent"}
    new = {"dataroot": small, "train_limit": 128, "test_limit": 20, "n_filter": 2}
    dpcnn.train(**new, epochs=2, max_steps=3, watch=True, **values)
    run = dpcnn.train(resume="auto", max_steps=6, epochs=3, **values)
    lines = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").open()]
    assert [line["layers"] for line in lines] == [line["layers"] for line in run.metrics]
    names = [[layer["layer"] for layer in line["layers"]] for line in lines]
    assert names == [["convolution1", "relu1", "dense1"]] * 3
    assert dpcnn.verify(tmp_path / "run", all=True) == 6
    dpcnn.train(resume="auto", epochs=4, max_steps=8, watch=False, **values)
    last = json.loads([*(tmp_path / "run/metrics.jsonl").open()][-1])
    assert "layers" not in last
