"""A run that diverges names the first layer and quantity that was not finite, on any ranks."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

from dpcnn.data.dataset import Dataset, Images
from dpcnn.data.loader import Loader, Microbatch
from dpcnn.errors import DivergenceError
from dpcnn.models.build import plan_network
from dpcnn.nn import Dense, Flatten, Layer, ReLU, Residual
from dpcnn.parallel.communicator import Communicator, RankLostError
from dpcnn.training.config import Config
from dpcnn.training.log import Log
from dpcnn.training.recovery import Recovery
from dpcnn.training.setup import initial_state
from dpcnn.training.signals import StopRequests
from dpcnn.training.trainer import Trainer
from tests.networks import of_mnist
from tests.parallel.ranks import on_ranks
from tests.reference import Array

STEP = 1  # in which the layer below is at fault, from 0
FAULTY = 3  # the first micro-batch in which it is


class Faulty(Layer):
    """x * W, with one quantity that is not finite, or too large, from a micro-batch on."""

    def __init__(self, quantity: str, value: float = float("nan")) -> None:
        super().__init__()
        self.quantity, self.value = quantity, value

    def build(self, input_shape: tuple[int, ...]) -> tuple[int, ...]:
        self.parameter_shapes = {"W": (1,)}
        self.state_shapes = {"mean": (1,)}
        return input_shape

    def initialize(self, rng: np.random.Generator) -> None:
        self.W[...] = 1

    def spoil(self, quantity: str, values: Array) -> Array:
        context = self.context
        if context.step == STEP and context.microbatch >= FAULTY and quantity == self.quantity:
            values.flat[-1] = self.value
        return values

    def forward(self, x: Array) -> Array:
        self.x = x.copy()
        self.batch_mean[...] = self.spoil("statistic", np.full(1, x.mean(), x.dtype))
        return self.spoil("output", x * self.W)

    def backward(self, dy: Array) -> Array:
        self.dW[...] = self.spoil("gradient", np.full(1, np.sum(dy * self.x), dy.dtype))
        return self.spoil("input", dy * self.W)


def dataset() -> Dataset:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (128, 1, 28, 28), np.uint8)
    parts = [Images(images, np.arange(128, dtype=np.uint8) % 10)] * 2
    return Dataset(parts[0], parts[1], "noise", 10)


def diverged(
    comm: Communicator, layers: list[Layer], parameter: float = 0, **options: Any
) -> tuple[str, int]:
    """Train until the run diverges; return the error, and how many steps were made."""
    resolved = of_mnist(**{"minibatch_size": 64, "microbatch_size": 8, "epochs": 9} | options)
    state = initial_state(resolved, plan_network(resolved, own=layers), dataset(), "")
    config, stops = Config.of(resolved), StopRequests()
    trainer = Trainer(config, state, dataset(), comm, Log(), Recovery(), stops)
    if parameter:
        state.network.parameters[-1] = parameter
    with pytest.raises(DivergenceError) as caught:
        trainer.run()
    assert caught.value.collective
    return str(caught.value), state.progress.step


def network(*faulty: Any) -> list[Layer]:
    return [Flatten(), Dense(8), Residual([Faulty(*faulty), ReLU()]), Dense(10)]


@pytest.mark.parametrize(
    ("quantity", "name"),
    [
        ("output", "residual1/faulty1's output (forward)"),
        ("gradient", "the gradient of residual1/faulty1/W (backward)"),
        ("input", "the gradient of residual1/faulty1's input (backward)"),
        ("statistic", "the batch statistic residual1/faulty1/mean"),
    ],
)
def test_the_first_quantity_that_is_not_finite_is_named_on_any_ranks(
    quantity: str, name: str
) -> None:
    what = f"{name} is not finite (NaN or infinity) in micro-batch {FAULTY}"
    gradients = "" if quantity == "output" else r" and gradients up to \d\.\d+"
    # Nothing has grown: a smaller learning rate would not help.
    form = rf"{re.escape(what)}; residual1/faulty1 is given inputs up to \d\.\d+{gradients}"
    messages = set()
    for ranks in (1, 2, 5, 9):
        found = on_ranks(ranks, lambda comm: diverged(comm, network(quantity, np.inf)))
        assert all(step == STEP for _, step in found)
        messages |= {message for message, _ in found}
    [message] = messages
    assert re.fullmatch(f"step 2: {form}", message), message


@pytest.mark.parametrize("reduce", ["exact", "fast"])
def test_a_learning_rate_that_is_too_high_is_found_out(reduce: str) -> None:
    layers: list[Layer] = [Flatten(), Dense(20), Dense(20), Dense(10)]
    found = {diverged(Communicator(), layers, lr=1e6, reduce=reduce)}
    found |= {*on_ranks(3, lambda comm: diverged(comm, layers, lr=1e6, reduce=reduce))}
    if reduce == "exact":
        assert len(found) == 1
    for message, step in found:
        assert "try a smaller --lr" in message
        assert step > 0


class Logarithm(Layer):
    """log(x), of which there is none where a ReLU has made a 0."""

    def build(self, input_shape: tuple[int, ...]) -> tuple[int, ...]:
        return input_shape

    def forward(self, x: Array) -> Array:
        self.x = x.copy()
        return np.log(x)

    def backward(self, dy: Array) -> Array:
        return dy / self.x


class Exponential(Layer):
    """e^x, which leaves float32 once x has grown to 89."""

    def build(self, input_shape: tuple[int, ...]) -> tuple[int, ...]:
        return input_shape

    def forward(self, x: Array) -> Array:
        self.y = np.exp(x)
        return self.y.copy()

    def backward(self, dy: Array) -> Array:
        return dy * self.y


def test_a_smaller_learning_rate_is_no_cure_for_a_logarithm_of_zero() -> None:
    layers = [Flatten(), Dense(8), ReLU(), Logarithm(), Dense(10)]
    message, step = diverged(Communicator(), layers)
    assert step == 0
    assert message.startswith(
        "step 1: logarithm1's output (forward) is not finite (NaN or infinity) in micro-batch 0;"
        " logarithm1 is given inputs up to "
    )
    assert "--lr" not in message


def test_nor_for_a_dataset_that_is_not_finite(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(self: Any, *arguments: Any) -> Microbatch:
        found = original(self, *arguments)
        found.x[0, 3] = np.nan
        return found

    original = Loader._load
    monkeypatch.setattr(Loader, "_load", load)
    message, _ = diverged(Communicator(), [Flatten(), Dense(10)])
    assert message == "step 1: an input image is not finite (NaN or infinity) in micro-batch 0"


def test_but_for_inputs_that_have_grown() -> None:
    layers = [Flatten(), Dense(8), Exponential(), Dense(10)]
    message, step = diverged(Communicator(), layers, lr=1.0, reduce="fast", minibatch_size=32)
    assert step > 0
    assert "exponential1's output (forward) is not finite" in message
    assert message.endswith(": try a smaller --lr")


def test_a_gradient_past_the_range_names_the_layer_with_the_largest() -> None:
    found = diverged(Communicator(), network("gradient", 5000))
    assert found[0].startswith("step 2: the gradient norm reached")
    assert found[0].endswith(
        "; the largest gradient is that of residual1/faulty1/W in micro-batch 3, of norm 5e+03"
    )
    # Five micro-batches have the same: the first of them is named on any ranks.
    for ranks in (2, 4):
        assert (
            on_ranks(ranks, lambda comm: diverged(comm, network("gradient", 5000)))
            == [found] * ranks
        )


def test_a_gradient_whose_squares_overflow_is_no_nan() -> None:
    message, _ = diverged(Communicator(), network("gradient", 1e30))
    assert message.endswith("of residual1/faulty1/W in micro-batch 3, of norm 1e+30")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_parameter_that_was_not_finite_before_is_named(value: float) -> None:
    found = diverged(Communicator(), [Flatten(), Dense(10)], parameter=value)
    assert found == (
        "step 1: dense1/b is not finite (NaN or infinity) before it: try a smaller --lr",
        0,
    )


def test_a_loss_that_is_not_finite_is_named() -> None:
    """Logits that are finite and farther apart than a float32 reaches."""

    class Far(Layer):
        def build(self, input_shape: tuple[int, ...]) -> tuple[int, ...]:
            return input_shape

        def forward(self, x: Array) -> Array:
            far = np.where(np.arange(len(x)) % 2, np.float32(3e38), np.float32(-3e38))
            return np.repeat(far[:, None], x.shape[-1], axis=1)

        def backward(self, dy: Array) -> Array:
            return dy * 0

    message, _ = diverged(Communicator(), [Flatten(), Dense(10), Far()])
    assert message.startswith("step 1: the loss is not finite (NaN or infinity) in micro-batch 0")


@pytest.mark.parametrize("evaluate_on", ["rank0", "all"])
def test_an_evaluation_that_diverges_ends_all_ranks_alike(evaluate_on: str) -> None:
    """The step before was sound, the update that it made was not."""
    layers: list[Layer] = [Flatten(), Dense(10)]
    options = {"lr": 1e6, "minibatch_size": 128, "evaluate_on": evaluate_on}
    for ranks in (1, 3):
        [found] = {*on_ranks(ranks, lambda comm: diverged(comm, layers, **options))}
        assert found[0].startswith("evaluation: the loss reached")
        assert found[1] == 1


class Untested(Layer):
    """x, which is infinite for one of the test images, outside of training."""

    def build(self, input_shape: tuple[int, ...]) -> tuple[int, ...]:
        return input_shape

    def forward(self, x: Array) -> Array:
        y = x.copy()
        if not self.training:
            image = dataset().test.images[40, 0, :, :, None] / 255
            y[..., np.isclose(x[0], image).all(axis=(0, 1))] = np.inf
        return y

    def backward(self, dy: Array) -> Array:
        return dy


@pytest.mark.parametrize("options", [{"evaluate_on": "rank0"}, {"evaluate_on": "all", "ema": 0.9}])
def test_an_evaluation_whose_values_are_not_finite_names_the_layer_and_the_images(
    options: dict[str, Any],
) -> None:
    layers: list[Layer] = [Untested(), Flatten(), Dense(10)]
    for ranks in (1, 3):
        [found] = {*on_ranks(ranks, lambda comm: diverged(comm, layers, **options))}
        assert found == (
            "evaluation: untested1's output (forward) is not finite (NaN or infinity) for test"
            " images 33 to 48; untested1 is given inputs up to 1",
            2,
        )


def test_the_layers_are_as_before_afterwards() -> None:
    layers = network("output")
    options = of_mnist(minibatch_size=64, microbatch_size=8)
    state = initial_state(options, plan_network(options, own=layers), dataset(), "")
    stops = StopRequests()
    trainer = Trainer(
        Config.of(options), state, dataset(), Communicator(), Log(), Recovery(), stops
    )
    with pytest.raises(DivergenceError):
        trainer.run()
    for layer in state.network.plan.leaves.values():
        assert not {"forward", "backward"} & vars(layer).keys()
    assert np.isfinite(state.network.values).all()


def test_a_death_meanwhile_leaves_the_error_as_it_was() -> None:
    class Dying(Communicator):
        def allgather(self, value: Any) -> list[Any]:
            if value is not None and type(value).__name__ == "Finding":
                raise RankLostError
            return super().allgather(value)

    message, _ = diverged(Dying(), network("output"))
    assert message.startswith("step 2: the loss or its gradient is not finite")
