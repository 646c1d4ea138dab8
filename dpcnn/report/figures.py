"""All figures of a report, by name: the page and the PNG files show the same ones."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from dpcnn.report import classes, curves, images, timings
from dpcnn.report.curves import ACCURACY, LEARNING_RATE, LOSS, SPEED, Curve
from dpcnn.report.results import Trained
from dpcnn.report.run import Run
from dpcnn.run.loggers.logger import Metrics

Figures = dict[str, Figure]


def of_metrics(metrics: Sequence[Metrics]) -> Figures:
    """Return the charts of metrics alone, wherever they come from."""
    lines = [dict(line) for line in metrics]
    return _curves(Run(Path(), {}, {}, lines, [], {}, None, False, []))


def _curves(run: Run) -> Figures:
    """Return the curves of a run, none before the end of its first epoch."""
    if not run.metrics:
        return {}
    accuracy = curves.of_sets(run, "accuracy")
    loss = curves.of_sets(run, "loss")
    rate = [Curve(run, "learning_rate")]
    speed = [Curve(run, "images_per_second")]
    return {
        "accuracy": curves.over_epochs("Accuracy over epochs", ACCURACY, accuracy),
        "loss": curves.over_epochs("Loss over epochs", LOSS, loss),
        "accuracy-time": curves.over_time("Accuracy over time", ACCURACY, accuracy),
        "loss-time": curves.over_time("Loss over time", LOSS, loss),
        "learning-rate": curves.over_epochs("Learning rate", LEARNING_RATE, rate),
        "speed": curves.over_epochs("Training speed", SPEED, speed),
    }


def of_run(run: Run, trained: Trained) -> Figures:
    """Return the figures of one run, as far as there is something to draw."""
    figures = _curves(run)
    if trained.results:
        if trained.results.confusion is not None:
            figures["confusion"] = classes.confusion(trained.results.confusion, trained.name)
        figures["per-class"] = classes.per_class(trained.results, trained.name)
    if timings.rank_numbers(run):
        figures["timings"] = timings.timings(run)
    if run.sessions:
        figures["timeline"] = timings.timeline(run)
    return figures


def sheets(trained: Trained) -> Figures:
    """Return sheets of images, which a page shows as elements of its own."""
    figures: Figures = {}
    if trained.dataset:
        samples = images.samples(trained.dataset.train, trained.name)
        figures["samples"] = images.sheet(samples, "Training images", 1)
        augmented = images.augmented(trained.dataset.train, trained.augmentation)
        if augmented:
            figures["augmented"] = images.sheet(augmented, "Augmented training images", 1)
    if trained.results and trained.results.worst:
        mistakes = [images.mistake(guess, trained.name) for guess in trained.results.worst]
        figures["mistakes"] = images.sheet(mistakes, "Worst mistakes", 5)
    if trained.filters is not None:
        filters = images.filters(trained.filters)
        figures["filters"] = images.sheet(filters, "Filters of the first layer", 8)
    return figures


def of_comparison(runs: Sequence[Run]) -> Figures:
    """Return the figures of several runs."""
    accuracy = curves.compared(runs, "test_accuracy")
    test_loss = curves.compared(runs, "test_loss")
    training_loss = curves.compared(runs, "loss")
    return {
        "test-accuracy": curves.over_epochs("Test accuracy over epochs", ACCURACY, accuracy),
        "test-accuracy-time": curves.over_time("Test accuracy over time", ACCURACY, accuracy),
        "test-loss": curves.over_epochs("Test loss over epochs", LOSS, test_loss),
        "training-loss": curves.over_epochs("Training loss over epochs", LOSS, training_loss),
    }
