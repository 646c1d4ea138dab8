"""Softmax cross entropy: summed loss, gradient and number of correct predictions.

`softmax_cross_entropy` is the plain one, which every evaluation reports. What is trained is a
`Loss` that `training_loss` makes once from its options: the plain one or a `CrossEntropy` with
smoothed labels and weighted classes. Axes: logits and targets (classes, N), labels (N,).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dpcnn.errors import OptionError
from dpcnn.nn.layer import Array

Labels = NDArray[np.integer[Any]]


class LossSums(NamedTuple):
    """What a micro-batch contributes: sums, never means, since shards are uneven."""

    loss: float
    correct: int
    dlogits: Array  # (classes, N)


# Of mixed images: their second labels (N,), and the weights (N,) of the first ones, at least 1/2.
Mixture = tuple[Labels, Array]
# logits (classes, N), labels (N,), the size of the global minibatch, the mixture if the images are
# mixed -> the micro-batch's sums
Loss = Callable[[Array, Labels, int, Mixture | None], LossSums]


def softmax(logits: Array) -> Array:
    """Return the probabilities exp(logits)/sum(exp(logits)) over the classes, (classes, N).

    The largest logit is subtracted first, so that nothing overflows.
    """
    exponentials: Array = np.exp(logits - logits.max(axis=0))
    exponentials /= exponentials.sum(axis=0)
    return exponentials


def softmax_cross_entropy(
    logits: Array, labels: Labels, minibatch_size: int, mixture: Mixture | None = None
) -> LossSums:
    """Return the loss -log p[label] summed over N images, its gradient, and how many are correct.

    logits (classes, N), labels (N,). The gradient is (p - onehot)/minibatch_size, with the size of
    the *global* minibatch: sums over micro-batches and ranks are then the gradient of the mean. The
    loss is a float64 sum, not divided. A prediction is correct if its label has the largest logit,
    the first of equal ones. A mixture is for CrossEntropy, which does it.
    """
    if mixture is not None:
        return CrossEntropy()(logits, labels, minibatch_size, mixture)
    images = np.arange(labels.size)
    shifted = logits - logits.max(axis=0)
    exponentials = np.exp(shifted)
    normalizer = exponentials.sum(axis=0)
    losses = np.log(normalizer) - shifted[labels, images]
    correct = int(np.count_nonzero(logits.argmax(axis=0) == labels))
    dlogits = exponentials / (normalizer * minibatch_size)
    dlogits[labels, images] -= logits.dtype.type(1 / minibatch_size)
    return LossSums(float(losses.sum(dtype=np.float64)), correct, dlogits)


def training_loss(
    label_smoothing: float = 0.0, class_weights: Sequence[float] | Array | None = None
) -> Loss:
    """Return the loss that is trained, with the parameters of CrossEntropy.

    Without either of them it is `softmax_cross_entropy`, to the bit.
    """
    if label_smoothing == 0 and class_weights is None:
        return softmax_cross_entropy
    return CrossEntropy(label_smoothing, class_weights)


class CrossEntropy:
    """Softmax cross entropy against smoothed labels, with a weight for each class.

    loss = -sum over classes c of target[c] * log p[c], where
    target[c] = weight[c] * ((1 - smoothing) * [c is the label] + smoothing / classes),
    as torch.nn.functional.cross_entropy defines it for reduction="sum". The mean is over the images
    of the global minibatch. PyTorch divides by the sum of their labels' weights instead, which is
    that number on average if the weights are 1 on average over the training set (balanced_weights,
    scaled_weights). A sum of weights would be one more thing to know of all other micro-batches
    before the first gradient.

    Source of the smoothing: Szegedy et al., "Rethinking the Inception architecture for computer
    vision", CVPR 2016.

    label_smoothing: 0 up to but not including 1. class_weights: (classes,), none negative; None for
    1 each.
    """

    def __init__(
        self,
        label_smoothing: float = 0.0,
        class_weights: Sequence[float] | Array | None = None,
    ) -> None:
        assert 0 <= label_smoothing < 1
        self.label_smoothing = label_smoothing
        self.class_weights = None if class_weights is None else np.asarray(class_weights, float)

    def __call__(
        self,
        logits: Array,
        labels: Labels,
        minibatch_size: int,
        mixture: Mixture | None = None,
    ) -> LossSums:
        """Return the loss summed over N images, its gradient, and how many are correct.

        As softmax_cross_entropy, but for the targets. Those of mixed images are mixed as well, and
        a prediction is correct if it is the first label, the one that weighs more.
        """
        targets = self.targets(labels, len(logits))
        if mixture is not None:
            other_labels, weights = mixture
            targets = weights * targets + (1 - weights) * self.targets(other_labels, len(logits))
        return cross_entropy(logits, targets, labels, minibatch_size)

    def targets(self, labels: Labels, classes: int) -> Array:
        """Return the target of each class for each label, (classes, N) float64."""
        targets = np.full((classes, labels.size), self.label_smoothing / classes)
        targets[labels, np.arange(labels.size)] += 1 - self.label_smoothing
        if self.class_weights is not None:
            targets *= self.class_weights[:, None]
        return targets


def cross_entropy(logits: Array, targets: Array, labels: Labels, minibatch_size: int) -> LossSums:
    """Return the loss -sum(target * log p) over classes and N images, its gradient, and the hits.

    targets (classes, N), of any sums. The gradient is (p * sum(targets) - targets)/minibatch_size.
    A prediction is correct by its label.
    """
    targets = targets.astype(logits.dtype, copy=False)
    shifted = logits - logits.max(axis=0)
    p = np.exp(shifted)
    normalizer = p.sum(axis=0)
    p /= normalizer
    losses = -np.sum(targets * (shifted - np.log(normalizer)), axis=0)
    correct = int(np.count_nonzero(logits.argmax(axis=0) == labels))
    dlogits = (p * targets.sum(axis=0) - targets) / logits.dtype.type(minibatch_size)
    return LossSums(float(losses.sum(dtype=np.float64)), correct, dlogits)


def balanced_weights(labels: Labels, classes: int) -> Array:
    """Return weights (classes,) that give every class the same share of the loss.

    n / (classes * images of the class), as scikit-learn's class_weight="balanced": their mean over
    the n images is 1. Classes without images do not count, and get the weight 0.
    """
    counts = np.bincount(labels, minlength=classes)
    weights: Array = np.zeros(classes)
    np.divide(labels.size, np.count_nonzero(counts) * counts, out=weights, where=counts > 0)
    return weights


def scaled_weights(weights: Sequence[float], labels: Labels) -> Array:
    """Return weights (classes,), none negative, scaled so that their mean over the labels is 1.

    A learning rate means the same with them as without. Raises OptionError if none of the classes
    that there are has a weight.
    """
    mean = np.asarray(weights, float)[labels].mean()
    if not 0 < mean < np.inf:
        raise OptionError(
            f"--class_weights: the training images weigh {mean:g} on average, expected more than 0"
        )
    scaled: Array = np.asarray(weights, float) / mean
    return scaled
