"""Classification metrics against a plain loop and the definitions of precision and recall."""

from __future__ import annotations

import math

import numpy as np
import pytest

from dpcnn.metrics.classification import Mistake, confusion, mistakes, per_class


@pytest.fixture(scope="module")
def answers():
    """Labels and predictions of 500 images in 7 classes: 5 is never right, 6 never predicted."""
    rng = np.random.default_rng(3)
    labels = rng.integers(0, 7, 500).astype(np.uint8)
    predicted = np.where(rng.random(500) < 0.7, labels, rng.integers(0, 7, 500))
    predicted = np.where((predicted == 6) | ((labels == 5) & (predicted == 5)), 0, predicted)
    return labels, predicted


def test_every_image_is_counted_in_the_row_of_its_class(answers):
    counts = np.zeros((7, 7), int)
    for label, taken_for in zip(*answers, strict=True):
        counts[label, taken_for] += 1
    np.testing.assert_array_equal(confusion(*answers, 7), counts)


def test_precision_recall_and_f1_follow_their_definitions(answers):
    labels, predicted = answers
    scores = per_class(labels, predicted, 7)
    for label in range(6):
        correct = np.sum((labels == label) & (predicted == label))
        precision = correct / np.sum(predicted == label)
        recall = correct / np.sum(labels == label)
        assert scores.support[label] == np.sum(labels == label)
        assert scores.precision[label] == precision
        assert scores.recall[label] == recall
        harmonic = 2 * precision * recall / (precision + recall) if correct else 0
        assert scores.f1[label] == pytest.approx(harmonic)
    assert math.isnan(scores.precision[6]), "it was never predicted"
    assert scores.recall[6] == scores.f1[6] == 0


def test_a_class_without_images_or_predictions_has_no_scores():
    scores = per_class(np.array([0, 1]), np.array([0, 1]), 3)
    assert scores.support.tolist() == [1, 1, 0]
    assert np.isnan([scores.precision[2], scores.recall[2], scores.f1[2]]).all()


def test_mistakes_are_the_matrix_without_its_diagonal_the_most_frequent_first(answers):
    most_frequent_first = mistakes(*answers)
    matrix = confusion(*answers, 7)
    np.fill_diagonal(matrix, 0)
    assert {(m.label, m.predicted): m.images for m in most_frequent_first} == {
        (i, j): matrix[i, j] for i, j in zip(*matrix.nonzero(), strict=True)
    }
    counts = [mistake.images for mistake in most_frequent_first]
    assert counts == sorted(counts, reverse=True)
    assert mistakes(np.array([3, 1]), np.array([3, 1])) == []


def test_mistakes_need_no_matrix_of_all_classes():
    labels = np.array([60_000, 60_000, 2], np.uint16)
    assert mistakes(labels, np.array([1, 1, 3])) == [Mistake(60_000, 1, 2), Mistake(2, 3, 1)]
    assert per_class(labels, labels, 65_536).recall[60_000] == 1
