"""All figures of a report, by name: the page and the PNG files show the same ones."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from dpcnn.report import classes, curves, images, timings
from dpcnn.report.curves import ACCURACY, LEARNING_RATE, LOSS, SPEED, TRAINING, Curve
from dpcnn.report.results import Trained
from dpcnn.report.run import Run
from dpcnn.run.loggers.logger import Metrics

Figures = dict[str, Figure]


def of_metrics(metrics: Sequence[Metrics]) -> Figures:
    """Return the charts of metrics alone, wherever they come from."""
    lines = [dict(line) for line in metrics]
    return _curves(Run(Path(), {}, {}, lines, [], {}, None, False, []))


def _curves(run: Run) -> Figures:
    """Return the curves of a run, none before there is something to draw."""
    if not run.metrics and len(run.steps) < 2:
        return {}
    accuracy, loss = (curves.of_sets(run, metric) for metric in TRAINING)
    rate = [Curve(run, "learning_rate", within="learning_rate")]
    speed = [Curve(run, "images_per_second")]
    return {
        "accuracy": curves.over_epochs("Accuracy", ACCURACY, accuracy),
        "loss": curves.over_epochs("Loss", LOSS, loss),
        "learning-rate": curves.over_epochs("Learning rate", LEARNING_RATE, rate),
        "speed": curves.over_epochs("Throughput", SPEED, speed),
        "accuracy-time": curves.over_time("Accuracy over time", ACCURACY, accuracy),
        "loss-time": curves.over_time("Loss over time", LOSS, loss),
    }


def _telling(run: Run) -> Figures:
    """Return the curves that tell something: no flat one, and none of a single point."""
    drawn = _curves(run)
    if curves.is_flat(run, "learning_rate"):
        drawn.pop("learning-rate", None)
    if len(run.metrics) < 2:
        for name in ("speed", "accuracy-time", "loss-time"):
            drawn.pop(name, None)
    return drawn


def of_run(run: Run, trained: Trained) -> Figures:
    """Return the figures of one run, as far as there is something to draw."""
    figures = _telling(run)
    if trained.results:
        how = ", without --tta" if trained.tta else ""
        if trained.results.confusion is not None:
            figures["confusion"] = classes.confusion(trained.results.confusion, trained.name, how)
        figures["per-class"] = classes.per_class(trained.results, trained.name, how)
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
        figures["mistakes"] = images.sheet(mistakes, "Misclassified images", 5)
    for number, bank in enumerate(trained.filters, 1):
        name = "filters" if number == 1 else f"filters-{number}"
        figures[name] = images.sheet(images.filters(bank.W), bank.title, 8)
    return figures


def of_comparison(runs: Sequence[Run]) -> Figures:
    """Return the figures of several runs."""
    accuracy = curves.compared(runs, "test_accuracy")
    test_loss = curves.compared(runs, "test_loss")
    training_loss = curves.compared(runs, "loss")
    return {
        "test-accuracy": curves.over_epochs("Test accuracy", ACCURACY, accuracy),
        "test-accuracy-time": curves.over_time("Test accuracy over time", ACCURACY, accuracy),
        "test-loss": curves.over_epochs("Test loss", LOSS, test_loss),
        "training-loss": curves.over_epochs("Training loss", LOSS, training_loss),
    }
