"""Optimizers, clipping and averages, against PyTorch and against their formulas."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from dpcnn.optim.adam import Adam, AdamW
from dpcnn.optim.averaging import Average, Lookahead
from dpcnn.optim.lars import LARS, TRUST
from dpcnn.optim.norms import clip_norm, norm
from dpcnn.optim.optimizer import BLOCK, Optimizer, blocks
from dpcnn.optim.rmsprop import RMSprop
from dpcnn.optim.sgd import SGD

Array = NDArray[Any]

SIZE = BLOCK + 7  # two blocks, the last one short
STEPS = 50
SOME = np.arange(SIZE) % 3 == 0  # the parameters that are decayed, where not all are

CASES: dict[str, tuple[type[Optimizer], str, dict[str, Any]]] = {
    "sgd": (SGD, "SGD", {}),
    "sgd with weight decay": (SGD, "SGD", {"weight_decay": 0.1}),
    "momentum": (SGD, "SGD", {"momentum": 0.9}),
    "momentum with weight decay": (SGD, "SGD", {"momentum": 0.5, "weight_decay": 0.1}),
    "nesterov": (SGD, "SGD", {"momentum": 0.9, "nesterov": True, "weight_decay": 0.1}),
    "adam": (Adam, "Adam", {}),
    "adam with other values": (Adam, "Adam", {"beta1": 0.8, "beta2": 0.9, "eps": 1e-3}),
    "adam with weight decay": (Adam, "Adam", {"weight_decay": 0.1}),
    "adamw": (AdamW, "AdamW", {"weight_decay": 0.01}),
    "rmsprop": (RMSprop, "RMSprop", {}),
    "rmsprop with momentum": (RMSprop, "RMSprop", {"momentum": 0.9, "weight_decay": 0.1}),
    "rmsprop with other values": (RMSprop, "RMSprop", {"beta2": 0.5, "eps": 1e-4}),
}  # fmt: skip
SLOTS = {
    "sgd": set(), "sgd with weight decay": set(), "momentum": {"momentum"},
    "adam": {"mean", "mean_square"}, "adamw": {"mean", "mean_square"}, "rmsprop": {"mean_square"},
    "rmsprop with momentum": {"mean_square", "momentum"},
}  # fmt: skip


@pytest.fixture(scope="module")
def torch() -> Any:
    module = pytest.importorskip("torch", reason="PyTorch, the oracle, is not installed")
    module.set_num_threads(1)
    return module


def lr(step: int) -> float:
    return 0.05 / (1 + step)


def draw(dtype: Any = np.float64) -> tuple[Array, Array]:
    """Return parameters (SIZE,), and gradients (STEPS, SIZE) that do not all point one way."""
    rng = np.random.default_rng(0)
    gradients = rng.standard_normal((STEPS, SIZE)) * rng.uniform(1e-3, 10, SIZE)
    return rng.standard_normal(SIZE).astype(dtype), gradients.astype(dtype)


def run(optimizer: Optimizer, first: int = 0, last: int = STEPS, dtype: Any = np.float64) -> Array:
    """Return the parameters after steps `first` to `last` of an optimizer."""
    parameters, gradients = draw(dtype)
    for step in range(first, last):
        optimizer.update(parameters, gradients[step].copy(), lr(step), step)
    return parameters


def torch_arguments(kind: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments under PyTorch's names."""
    names = {"weight_decay": 0, "momentum": 0, "nesterov": False, "eps": 1e-8}
    words = {name: value for name, value in arguments.items() if name in names}
    if kind.startswith("Adam"):
        words["betas"] = (arguments.get("beta1", 0.9), arguments.get("beta2", 0.999))
    elif kind == "RMSprop":
        words["alpha"] = arguments.get("beta2", 0.99)
    return words


def in_torch(torch: Any, kind: str, arguments: dict[str, Any], dtype: Any) -> Array:
    """Return what PyTorch makes of the same steps: weight decay of the parameters in SOME."""
    parameters, gradients = draw(dtype)
    decayed = torch_arguments(kind, arguments)
    plain = decayed | {"weight_decay": 0}
    groups = [(SOME, decayed), (~SOME, plain)]
    tensors = [torch.from_numpy(parameters[chosen]) for chosen, _ in groups]
    pairs = zip(tensors, groups, strict=True)
    optimizer = getattr(torch.optim, kind)(
        [{"params": [tensor], **words} for tensor, (_, words) in pairs], lr=1.0
    )
    for step, gradient in enumerate(gradients):
        for group, (chosen, _) in zip(optimizer.param_groups, groups, strict=True):
            group["lr"] = lr(step)
            group["params"][0].grad = torch.from_numpy(gradient[chosen])
        optimizer.step()
    for tensor, (chosen, _) in zip(tensors, groups, strict=True):
        parameters[chosen] = tensor.numpy()
    return parameters


def optimizer_of(case: str, dtype: Any = np.float64) -> Optimizer:
    """Return a case's optimizer, which decays the parameters in SOME."""
    kind, _, arguments = CASES[case]
    decay = (
        {"weight_decay": arguments["weight_decay"] * SOME} if "weight_decay" in arguments else {}
    )
    return kind(SIZE, **arguments | decay, dtype=dtype)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float64, 1e-10), (np.float32, 1e-5)])
def test_fifty_steps_are_those_of_pytorch(
    torch: Any, case: str, dtype: Any, tolerance: float
) -> None:
    found = run(optimizer_of(case, dtype), dtype=dtype)
    assert found.dtype == dtype
    expected = in_torch(torch, *CASES[case][1:], dtype)
    np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("case", SLOTS)
def test_what_a_checkpoint_keeps_is_all_that_an_optimizer_remembers(case: str) -> None:
    whole = optimizer_of(case)
    expected = run(whole)
    assert whole.slots.keys() == SLOTS[case]
    first, second = optimizer_of(case), optimizer_of(case)
    parameters, gradients = draw()
    for step in range(STEPS):
        optimizer = first if step < 20 else second
        if step == 20:
            for name, vector in first.slots.items():
                second.slots[name][...] = vector
        optimizer.update(parameters, gradients[step].copy(), lr(step), step)
    np.testing.assert_array_equal(parameters, expected)


def test_one_weight_decay_for_all_is_the_same_as_that_of_each() -> None:
    one = AdamW(SIZE, weight_decay=0.1, dtype=np.float64)
    each = AdamW(SIZE, weight_decay=np.full(SIZE, 0.1), dtype=np.float64)
    np.testing.assert_array_equal(run(one), run(each))


def test_a_plain_step_is_parameters_minus_lr_times_gradient_in_place_in_float32() -> None:
    parameters, gradients = draw(np.float32)
    expected = parameters - np.float32(0.01) * gradients[0]
    view = parameters[:]
    SGD(SIZE).update(parameters, gradients[0], 0.01, 0)
    assert view.dtype == np.float32
    np.testing.assert_array_equal(view, expected)


def lars_by_the_paper(parts: list[slice], momentum: float, decay: float) -> Array:
    """Algorithm 1 of the paper, a layer at a time; the rest is not scaled and not decayed."""
    w, gradients = draw()
    v = np.zeros_like(w)
    rest = np.ones(SIZE, bool)
    for part in parts:
        rest[part] = False
    for step, gradient in enumerate(gradients):
        for part in parts:
            weights, g = w[part], gradient[part]
            rate = TRUST * np.linalg.norm(weights)
            rate /= np.linalg.norm(g) + decay * np.linalg.norm(weights)
            v[part] = momentum * v[part] + lr(step) * rate * (g + decay * weights)
        v[rest] = momentum * v[rest] + lr(step) * gradient[rest]
        w -= v
    return w


@pytest.mark.parametrize(
    "parts",
    [[slice(0, SIZE)], [slice(0, 100), slice(130, BLOCK + 3)], [slice(5, 9), slice(9, SIZE)], []],
)
@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_lars_is_the_algorithm_of_the_paper(parts: list[slice], decay: float) -> None:
    vector = np.zeros(SIZE)
    for part in parts:
        vector[part] = decay
    lars = LARS(SIZE, parts, momentum=0.9, weight_decay=vector, dtype=np.float64)
    np.testing.assert_allclose(run(lars), lars_by_the_paper(parts, 0.9, decay), rtol=0, atol=1e-10)


def test_lars_does_not_scale_weights_that_are_all_zero() -> None:
    parameters, gradient = np.zeros(4, np.float32), np.ones(4, np.float32)
    LARS(4, [slice(0, 4)]).update(parameters, gradient, 0.5, 0)
    np.testing.assert_array_equal(parameters, [-0.5] * 4)


@pytest.mark.parametrize("limit", [1e-3, 1.0, 1e9])
def test_a_gradient_is_clipped_as_pytorch_does(torch: Any, limit: float) -> None:
    _, gradients = draw()
    tensor = torch.zeros(SIZE, dtype=torch.float64)
    tensor.grad = torch.from_numpy(gradients[0].copy())
    expected = torch.nn.utils.clip_grad_norm_([tensor], limit)
    assert clip_norm(gradients[0], limit) == pytest.approx(float(expected), rel=1e-12)
    np.testing.assert_allclose(gradients[0], tensor.grad.numpy(), rtol=1e-12, atol=0)


def test_the_norm_does_not_depend_on_where_the_vector_lies() -> None:
    vector = np.random.default_rng(0).standard_normal(3 * BLOCK).astype(np.float32)
    shifted = np.empty(vector.size + 1, np.float32)
    shifted[1:] = vector
    assert norm(vector) == norm(shifted[1:])
    assert norm(vector) == pytest.approx(float(np.linalg.norm(vector.astype(np.float64))))
    assert norm(vector[:0]) == 0


def test_an_average_is_the_sum_of_weights_that_its_decays_give() -> None:
    vectors = np.random.default_rng(0).standard_normal((STEPS + 1, SIZE))
    average = Average(vectors[0], 0.8)
    expected = vectors[0].copy()
    for step, values in enumerate(vectors[1:]):
        average.update(values, step, STEPS)
        decay = min(0.8, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * values
    np.testing.assert_allclose(average.vector, expected, rtol=0, atol=1e-12)


def test_the_average_of_what_does_not_change_is_that_to_the_bit() -> None:
    values = np.random.default_rng(0).standard_normal(SIZE).astype(np.float32)
    average = Average(values, 0.999)
    for step in range(5):
        average.update(values, step, STEPS)
    np.testing.assert_array_equal(average.vector, values)


def test_average_and_values_change_places_and_come_back() -> None:
    values, other = np.random.default_rng(0).standard_normal((2, SIZE))
    average = Average(other, 0.9)
    places = values.copy(), average.vector
    average.swap(values)
    np.testing.assert_array_equal(values, other)
    np.testing.assert_array_equal(average.vector, places[0])
    average.swap(values)
    np.testing.assert_array_equal(values, places[0])
    assert average.vector is places[1]


def test_blocks_cover_a_vector_once() -> None:
    covered = np.zeros(2 * BLOCK + 5, int)
    for part in blocks(3, covered.size):
        covered[part] += 1
    assert covered[:3].sum() == 0
    assert (covered[3:] == 1).all()
    assert [*blocks(4, 4)] == []


def test_an_update_allocates_nothing_large() -> None:
    import tracemalloc

    updates: list[Callable[[Array, Array], None]] = []
    for case in CASES:
        optimizer = optimizer_of(case, np.float32)
        updates.append(lambda p, g, o=optimizer: o.update(p, g, 0.1, 1))  # type: ignore[misc]
    parameters, gradients = draw(np.float32)
    for update in updates:
        tracemalloc.start()
        update(parameters, gradients[0])
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < BLOCK


def test_lookahead_sets_the_values_to_an_average_that_is_ever_slower() -> None:
    values, slow = np.zeros(SIZE), np.zeros(SIZE)
    average = Lookahead(values, 5)
    rng = np.random.default_rng(0)
    for step in range(20):
        values += rng.standard_normal(SIZE)
        expected = values.copy()
        if step % 5 == 4:
            decay = 0.95**5 * ((step + 1) / 20) ** 3
            expected = slow = decay * slow + (1 - decay) * values
        average.update(values, step, 20)
        np.testing.assert_allclose(values, expected, rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(average.vector, slow, rtol=1e-12, atol=1e-12)
