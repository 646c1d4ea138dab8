"""The exact reduction has the same bits in any order, or says that it cannot; fast is close."""

from __future__ import annotations

import random
import re
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from dpcnn.errors import DivergenceError
from dpcnn.parallel.communicator import Communicator
from dpcnn.parallel.reduction import (
    BLOCK,
    GRID,
    NORM,
    RANGE,
    REDUCTIONS,
    SCALAR_RANGE,
    ExactReduction,
    Reduction,
)
from tests.parallel.ranks import on_ranks

pytestmark = pytest.mark.filterwarnings("error")

Array = NDArray[Any]
Part = tuple[Array, dict[str, float]]
NAMES = ("loss", "images")
SCALAR_GRID = 2.0**-24
EXACT_AND_FAST = sorted(REDUCTIONS)


def parts_of(count: int, length: int, seed: int) -> list[Part]:
    """Return random parts over 40 orders of magnitude, the sum of all norms within range."""
    rng = np.random.default_rng(seed)
    magnitudes = 10 ** rng.uniform(-39, 1, (count, length))
    gradients = (magnitudes * rng.choice([-1, 1], (count, length))).astype(np.float32)
    losses = 10 ** rng.uniform(-30, 5, count)
    return [
        (gradient, {"loss": loss, "images": float(rng.integers(1, 17))})
        for gradient, loss in zip(gradients, losses, strict=True)
    ]


def reduced(
    parts: list[Part], size: int = 1, seed: int = 0, reduce: str = "exact", dtype: Any = np.float32
) -> list[Any]:
    """Return (gradient, scalars), or the error, of each rank; the parts are dealt out at random."""
    chance = random.Random(seed)
    hands: list[list[Part]] = [[] for _ in range(size)]
    for part in chance.sample(parts, len(parts)):
        chance.choice(hands).append(part)
    length = parts[0][0].size

    def work(comm: Communicator) -> tuple[Array, dict[str, float]]:
        reduction = REDUCTIONS[reduce].allocate(comm, length, NAMES)
        result = np.full(length, np.nan, dtype)
        with np.errstate(all="ignore"):  # as in Trainer.run
            for gradient, scalars in hands[comm.rank]:
                reduction.add(gradient, **scalars)
            return result, reduction.allreduce(result)

    return on_ranks(size, work, seed)


def on_grid(values: list[float], grid: float) -> float:
    """Return the sum of the values, each rounded to the grid, in integers; the sum is exact."""
    total = sum(round(Fraction(value) / Fraction(grid)) for value in values) * Fraction(grid)
    assert Fraction(float(total)) == total
    return float(total)


def oracle(parts: list[Part]) -> tuple[Array, dict[str, float]]:
    """Return the sums of gradients, float64, and of scalars."""
    columns = np.stack([gradient for gradient, _ in parts]).astype(np.float64).T.tolist()
    gradient = np.array([on_grid(column, GRID) for column in columns])
    names = NAMES if parts[0][1] else ()
    return gradient, {n: on_grid([s[n] for _, s in parts], SCALAR_GRID) for n in names}


@settings(max_examples=80, deadline=None)
@given(
    count=st.integers(1, 24),
    length=st.integers(1, 20),
    size=st.integers(1, 64),
    seed=st.integers(0, 2**32 - 1),
)
def test_any_split_and_order_gives_the_bits_of_exact_arithmetic(
    count: int, length: int, size: int, seed: int
) -> None:
    parts = parts_of(count, length, seed)
    gradient, scalars = oracle(parts)
    everyones = reduced(parts, size, seed)
    for found, sums in everyones:
        assert found.tobytes() == gradient.astype(np.float32).tobytes()
        assert {name: sums[name] for name in NAMES} == scalars
        assert sums == everyones[0][1]


@pytest.mark.parametrize("length", [BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK + 5])
@pytest.mark.parametrize("size", [1, 3])
def test_vectors_over_several_blocks_are_exact_to_the_end(length: int, size: int) -> None:
    rng = np.random.default_rng(length)
    gradients = (rng.standard_normal((4, length)) * 1e-3).astype(np.float32)
    expected = (np.rint(gradients.astype(np.float64) / GRID) * GRID).sum(axis=0)
    for found, _ in reduced([(gradient, {}) for gradient in gradients], size):
        np.testing.assert_array_equal(found, expected.astype(np.float32), strict=True)


@pytest.mark.parametrize("parts", [1, 2])
def test_ties_are_rounded_to_even(parts: int) -> None:
    halves = np.arange(-9, 10, 2) / 2
    value = [((halves * GRID).astype(np.float32), {})] * parts
    expected = [-4, -4, -2, -2, 0, 0, 2, 2, 4, 4]
    (found, _), *_ = reduced(value, dtype=np.float64)
    np.testing.assert_array_equal(found / GRID, np.array(expected) * parts)


def test_values_of_2_to_the_minus_16_or_more_are_not_rounded() -> None:
    rng = np.random.default_rng(0)
    value = (2.0 ** rng.uniform(-16, 5, 500)).astype(np.float32)
    (found, _), *_ = reduced([(value, {})])
    np.testing.assert_array_equal(found, value)


BAD = [np.nan, np.inf, -np.inf, 1e30, -3e38, 2 * RANGE, -2 * RANGE]


@pytest.mark.parametrize("place", range(5))
@pytest.mark.parametrize("bad", BAD)
def test_a_bad_value_anywhere_is_seen_by_all_ranks_also_when_it_cancels(
    bad: float, place: int
) -> None:
    for others in ([], [-bad]):
        parts = [(np.full(5, 0.5, np.float32), {}) for _ in range(4)]
        for number, value in enumerate([bad, *others]):
            parts[number][0][place] = value
        errors = reduced(parts, size=3, seed=place)
        assert [type(error) for error in errors] == [DivergenceError] * 3
        assert len({str(error) for error in errors}) == 1
        assert all(error.collective for error in errors)
        assert len(str(errors[0]).splitlines()) == 1
        assert re.search("is not finite|past the .*--lr", str(errors[0]))


@pytest.mark.parametrize("size", [1, 3])
def test_the_range_ends_where_it_says(size: int) -> None:
    inside = [(np.array([value], np.float32), {}) for value in (RANGE / 2, -RANGE / 2)]
    assert reduced(inside, size)[0][0] == 0
    outside = [*inside, (np.array([2.0**-10], np.float32), {})]
    (error, *_) = reduced(outside, size)
    assert isinstance(error, DivergenceError)
    assert NORM in str(error)


@pytest.mark.parametrize("bad", [np.nan, np.inf, 2 * SCALAR_RANGE])
def test_a_bad_scalar_is_seen(bad: float) -> None:
    reduction = ExactReduction.allocate(Communicator(), 1, NAMES)
    reduction.add_scalars(loss=bad)
    with pytest.raises(DivergenceError):
        reduction.allreduce(np.empty(1, np.float32))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e30])
@pytest.mark.parametrize("place", range(3))
def test_fast_sees_what_is_not_finite(bad: float, place: int) -> None:
    value = np.zeros(3, np.float32)
    value[place] = bad
    errors = reduced([(value, {}), (-value, {})], size=3, reduce="fast")
    assert [type(error) for error in errors] == [DivergenceError] * 3


@pytest.mark.parametrize("size", [1, 2, 5])
def test_fast_is_close_to_exact(size: int) -> None:
    rng = np.random.default_rng(size)
    gradients = rng.standard_normal((8, 1000)).astype(np.float32)
    parts = [(gradient, {"loss": 1.5, "images": 16.0}) for gradient in gradients]
    exact, scalars = oracle(parts)
    for found, sums in reduced(parts, size, reduce="fast"):
        np.testing.assert_allclose(found, exact, rtol=0, atol=1e-5)
        assert {name: sums[name] for name in NAMES} == scalars


@pytest.mark.parametrize("reduce", EXACT_AND_FAST)
def test_scalars_are_counted_with_and_without_a_gradient(reduce: str) -> None:
    reduction = REDUCTIONS[reduce].allocate(Communicator(), 1, NAMES)
    reduction.add(np.array([3], np.float32), loss=0.5)
    reduction.add(np.array([-4], np.float32), loss=0.25, images=3)
    reduction.add_scalars(images=2)
    sums = reduction.allreduce(np.empty(1, np.float32))
    assert sums == {"loss": 0.75, "images": 5, NORM: 7}


@pytest.mark.parametrize("reduce", EXACT_AND_FAST)
def test_every_step_starts_anew(reduce: str) -> None:
    reduction = REDUCTIONS[reduce].allocate(Communicator(), 2, NAMES)
    result = np.empty(2, np.float32)
    for step in (1.0, 2.0, 3.0):
        for _ in range(2):
            reduction.add(np.array([step, -step], np.float32), images=step)
        sums = reduction.allreduce(result)
        np.testing.assert_array_equal(result, [2 * step, -2 * step])
        assert sums["images"] == 2 * step


@pytest.mark.parametrize("reduce", EXACT_AND_FAST)
def test_a_step_without_parts_is_zero(reduce: str) -> None:
    reduction = REDUCTIONS[reduce].allocate(Communicator(), 2, NAMES)
    result = np.ones(2, np.float32)
    reduction.add(result, loss=1)
    reduction.allreduce(result)
    sums = reduction.allreduce(result)
    np.testing.assert_array_equal(result, [0, 0])
    assert set(sums.values()) == {0}


@pytest.mark.parametrize("reduce", EXACT_AND_FAST)
def test_the_gradient_that_is_added_stays_as_it_is(reduce: str) -> None:
    gradient = np.array([1e-20, 0.3], np.float32)
    before = gradient.copy()
    REDUCTIONS[reduce].allocate(Communicator(), 2, ()).add(gradient)
    np.testing.assert_array_equal(gradient, before)


def test_a_reduction_of_scalars_alone_has_no_gradient() -> None:
    reduction: Reduction = ExactReduction.allocate(Communicator(), 0, NAMES)
    reduction.add_scalars(loss=2.5)
    assert reduction.allreduce(np.empty(0))["loss"] == 2.5
