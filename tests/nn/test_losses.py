"""Softmax cross entropy."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dpcnn.errors import OptionError
from dpcnn.nn.losses import (
    CrossEntropy,
    balanced_weights,
    scaled_weights,
    softmax,
    softmax_cross_entropy,
    training_loss,
)
from tests.gradients import check_gradient
from tests.reference import Array

sweep = settings(derandomize=True, deadline=None, max_examples=50)


def draw(classes: int, images: int, seed: int = 0) -> tuple[Array, Array]:
    """Return logits (classes, N) and labels (N,)."""
    rng = np.random.default_rng(seed)
    return rng.standard_normal((classes, images)), rng.integers(classes, size=images)


@sweep
@given(st.integers(1, 10), st.integers(1, 8), st.integers(0, 9))
def test_the_loss_is_the_sum_of_minus_log_p(classes: int, images: int, seed: int) -> None:
    logits, labels = draw(classes, images, seed)
    logits = logits.astype(np.float32)
    expected = 0.0
    for column, label in zip(logits.T.tolist(), labels, strict=True):
        expected += math.log(sum(math.exp(logit) for logit in column)) - column[label]
    loss = softmax_cross_entropy(logits, labels, minibatch_size=64).loss
    assert loss == pytest.approx(expected, rel=1e-6, abs=1e-5)


@sweep
@given(st.integers(2, 10), st.integers(1, 8), st.integers(0, 9))
def test_the_gradient_is_that_of_the_loss_divided_by_the_batch(
    classes: int, images: int, seed: int
) -> None:
    logits, labels = draw(classes, images, seed)
    dlogits = softmax_cross_entropy(logits, labels, minibatch_size=64).dlogits
    check_gradient(
        lambda x: softmax_cross_entropy(x, labels, minibatch_size=64).loss / 64, logits, dlogits
    )


def test_micro_batches_add_up_to_their_minibatch() -> None:
    logits, labels = draw(10, 12)
    whole = softmax_cross_entropy(logits, labels, minibatch_size=12)
    parts = [
        softmax_cross_entropy(logits[:, run], labels[run], minibatch_size=12)
        for run in (slice(0, 5), slice(5, 6), slice(6, 12))
    ]
    assert sum(part.loss for part in parts) == pytest.approx(whole.loss, rel=1e-14)
    assert sum(part.correct for part in parts) == whole.correct
    dlogits = np.hstack([part.dlogits for part in parts])
    np.testing.assert_allclose(dlogits, whole.dlogits, rtol=1e-14)


def test_large_logits_do_not_overflow() -> None:
    logits = np.array([[1e4, -1e4, 3e38], [-1e4, 1e4, 0]], np.float32)
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        loss = softmax_cross_entropy(logits, np.array([0, 0, 0]), minibatch_size=1)
        p = softmax(logits)
    assert loss.loss == pytest.approx(2e4)
    np.testing.assert_array_equal(loss.dlogits, [[0, -1, 0], [0, 1, 0]])
    np.testing.assert_array_equal(p, [[1, 0, 1], [0, 1, 0]])


def test_of_equal_logits_the_first_counts() -> None:
    logits = np.array([[2, 2, 0], [2, 2, 5], [1, 1, 5]], np.float32)
    assert softmax_cross_entropy(logits, np.array([0, 1, 1]), minibatch_size=3).correct == 2


def test_nan_logits_give_a_nan_loss_and_gradient() -> None:
    loss = softmax_cross_entropy(np.array([[np.nan], [1]]), np.array([1]), minibatch_size=1)
    assert math.isnan(loss.loss)
    assert np.isnan(loss.dlogits).any()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_gradient_keeps_the_dtype_of_the_logits(dtype: type[np.floating]) -> None:
    logits, labels = draw(4, 3)
    loss = softmax_cross_entropy(logits.astype(dtype), labels.astype(np.uint8), minibatch_size=64)
    assert loss.dlogits.dtype == dtype


WEIGHTS = st.sampled_from(["none", "any", "balanced"])
SMOOTHINGS = st.sampled_from([0.0, 0.1, 0.5])


def class_weights(kind: str, labels: Array, classes: int) -> Array | None:
    if kind == "any":
        return np.random.default_rng(1).uniform(0, 3, classes)
    return balanced_weights(labels, classes) if kind == "balanced" else None


@sweep
@given(st.integers(2, 10), st.integers(1, 8), SMOOTHINGS, WEIGHTS, st.integers(0, 9))
def test_smoothing_and_weights_are_those_of_torch(
    classes: int, images: int, smoothing: float, kind: str, seed: int
) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is the oracle here")
    torch.set_num_threads(1)
    logits, labels = draw(classes, images, seed)
    weights = class_weights(kind, labels, classes)
    found = training_loss(smoothing, weights)(logits, labels, 64)
    x = torch.tensor(logits.T, requires_grad=True)
    expected = torch.nn.functional.cross_entropy(
        x,
        torch.tensor(labels),
        weight=None if weights is None else torch.tensor(weights),
        label_smoothing=smoothing,
        reduction="sum",
    )
    (expected / 64).backward()
    assert found.loss == pytest.approx(expected.item(), rel=1e-10, abs=1e-10)
    np.testing.assert_allclose(found.dlogits, x.grad.numpy().T, rtol=1e-10, atol=1e-10)


@sweep
@given(st.integers(2, 10), st.integers(1, 8), SMOOTHINGS, WEIGHTS, st.integers(0, 9))
def test_the_gradient_against_targets_is_that_of_the_loss(
    classes: int, images: int, smoothing: float, kind: str, seed: int
) -> None:
    logits, labels = draw(classes, images, seed)
    loss = CrossEntropy(smoothing, class_weights(kind, labels, classes))
    check_gradient(lambda x: loss(x, labels, 8).loss / 8, logits, loss(logits, labels, 8).dlogits)


@sweep
@given(st.integers(2, 10), st.integers(1, 8), SMOOTHINGS, WEIGHTS, st.integers(0, 9))
def test_the_loss_of_mixed_images_is_the_mixture_of_their_losses(
    classes: int, images: int, smoothing: float, kind: str, seed: int
) -> None:
    logits, labels = draw(classes, images, seed)
    rng = np.random.default_rng(seed)
    others, weights = rng.permutation(labels), rng.uniform(0.5, 1, images)
    loss = training_loss(smoothing, class_weights(kind, labels, classes))
    found = loss(logits, labels, 8, (others, weights))
    expected = sum(
        weights[n] * loss(logits[:, [n]], labels[[n]], 8, None).loss
        + (1 - weights[n]) * loss(logits[:, [n]], others[[n]], 8, None).loss
        for n in range(images)
    )
    assert found.loss == pytest.approx(expected, rel=1e-10, abs=1e-10)
    assert found.correct == loss(logits, labels, 8, None).correct
    mixture = others, weights
    check_gradient(lambda x: loss(x, labels, 8, mixture).loss / 8, logits, found.dlogits)


def test_without_options_the_loss_is_the_plain_one() -> None:
    assert training_loss() is softmax_cross_entropy


def test_the_plain_loss_is_a_case_of_the_other() -> None:
    logits, labels = draw(10, 12)
    plain, general = (loss(logits, labels, 64) for loss in (training_loss(), CrossEntropy()))
    assert general.loss == pytest.approx(plain.loss, rel=1e-14)
    assert general.correct == plain.correct
    np.testing.assert_allclose(general.dlogits, plain.dlogits, rtol=1e-12, atol=1e-16)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_smoothing_keeps_the_dtype_of_the_logits(dtype: type[np.floating]) -> None:
    logits, labels = draw(4, 3)
    loss = CrossEntropy(0.1, [1, 2, 3, 4])(logits.astype(dtype), labels.astype(np.uint8), 64)
    assert loss.dlogits.dtype == dtype


@sweep
@given(st.lists(st.integers(0, 5), min_size=1, max_size=40))
def test_balanced_weights_give_every_class_the_same_share(drawn: list[int]) -> None:
    labels = np.array(drawn, np.uint8)
    weights = balanced_weights(labels, 7)
    shares = np.bincount(labels, weights=weights[labels], minlength=7)
    present = np.bincount(labels, minlength=7) > 0
    np.testing.assert_allclose(shares[present], labels.size / present.sum(), rtol=1e-12)
    np.testing.assert_array_equal(weights[~present], 0)
    assert weights[labels].mean() == pytest.approx(1)


def test_balanced_weights_are_those_of_scikit_learn() -> None:
    """compute_class_weight("balanced", classes=[0, 1, 2], y=[0, 0, 0, 1, 2, 2])."""
    weights = balanced_weights(np.array([0, 0, 0, 1, 2, 2]), 3)
    np.testing.assert_allclose(weights, [2 / 3, 2, 1], rtol=1e-15)


def test_given_weights_are_scaled_to_a_mean_of_1() -> None:
    np.testing.assert_allclose(scaled_weights([1, 4], np.array([0, 0, 1])), [0.5, 2])
    with pytest.raises(OptionError, match="weigh 0 on average"):
        scaled_weights([0, 1], np.array([0, 0]))
