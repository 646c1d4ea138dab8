"""The pages: of one run, and of several; what their templates show."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Sequence

import numpy as np
from markupsafe import Markup

from dpcnn.nn.network import Network
from dpcnn.options import OPTIONS
from dpcnn.report import figures, html, images, watch
from dpcnn.report.curves import time_unit
from dpcnn.report.files import as_line
from dpcnn.report.html import extent, formatted
from dpcnn.report.results import Results, Trained
from dpcnn.report.run import Run, labels, number

CLASSES = 100  # rows of the table of classes
CHAIN = 12  # layers at most that are listed in a row


def of_run(run: Run, trained: Trained) -> str:
    """Return the page of a run."""
    drawn = figures.of_run(run, trained)
    worst = trained.results.worst if trained.results else []
    training = trained.dataset and trained.dataset.train
    augmented = images.augmented(training, trained.augmentation) if training else []
    watched = watch.table(run)
    titles = {
        "setup": "Setup",
        "augmentation": "Augmentation" if augmented else "",
        "curves": "Curves" if run.metrics else "",
        "watch": "Layers over the epochs" if watched.rows else "",
        "classes": "Results per class" if trained.results else "",
        "mistakes": "Worst mistakes" if trained.results else "",
        "filters": "Filters" if trained.filters is not None else "",
        "time": "Timing" if {"timings", "timeline"} & drawn.keys() else "",
    }
    return html.render(
        "run.html",
        drawn,
        title=run.name,
        run=run,
        trained=trained,
        sections={name: title for name, title in titles.items() if title},
        headline=_headline(run),
        missing=run.missing + trained.missing,
        summary=_summary(run, trained),
        changed_options=html.option_texts(run.changed_options),
        options=html.option_texts(run.options),
        environment=html.flattened(run.environment),
        samples=images.samples(training, trained.name) if training else [],
        augmented=augmented,
        layers=trained.model.network.plan.table() if trained.model else [],
        watched=watched,
        class_rows=_class_rows(trained.results, trained.name) if trained.results else [],
        mistakes=[(guess, images.mistake(guess, trained.name)) for guess in worst],
        filters=images.filters(trained.filters) if trained.filters is not None else [],
    )


def _headline(run: Run) -> dict[str, str]:
    """Return the numbers that matter most, by name."""
    last = run.metrics[-1] if run.metrics else {}
    seconds = float(run.seconds[-1]) if run.metrics else math.nan
    unit, symbol = time_unit(seconds)
    epochs = as_line(run.options.get("epochs"))
    validation = number(last.get("validation_accuracy"))
    validated = {"validation accuracy": formatted(100 * validation, "{:.2f} %")}
    return {
        "test accuracy": formatted(100 * number(last.get("test_accuracy")), "{:.2f} %"),
        "test loss": formatted(number(last.get("test_loss")), "{:.4f}"),
        **(validated if run.has("validation_accuracy") else {}),
        **_best(run),
        "epochs": formatted(number(last.get("epoch")), "{:.0f}") + f" of {epochs}",
        "ranks": formatted(number(last.get("world_size")), "{:.0f}"),
        "training time": formatted(seconds / unit, "{:.1f} " + symbol),
        "images/s": formatted(number(last.get("images_per_second")), "{:,.0f}"),
    }


def _best(run: Run) -> dict[str, str]:
    """Return the best accuracy and its epoch, by name: what `RUN --best` takes."""
    key = "validation_accuracy" if run.has("validation_accuracy") else "test_accuracy"
    accuracy = run.series(key)
    if not np.isfinite(accuracy).any():
        return {}
    place = int(np.nanargmax(accuracy))
    text = f"{100 * accuracy[place]:.2f} % (epoch {run.epochs[place]:.0f})"
    return {f"best {key.replace('_', ' ')}": text}


def _summary(run: Run, trained: Trained) -> dict[str, str]:
    """Return what was trained on what, by name."""
    options = defaultdict(lambda: "?", html.option_texts(run.options))
    source = trained.checkpoint.dataset.get("source") if trained.checkpoint else None
    rows = {"dataset": as_line(source or options["--dataroot"])}
    if trained.dataset:
        training, test = trained.dataset.train, trained.dataset.test
        validation = trained.dataset.validation
        validated = f"{len(validation):,} for validation, " if validation else ""
        counts = f"{len(training):,} for training, {validated}{len(test):,} for testing"
        rows["images"] = f"{counts}, {extent(training.shape)}"
    if trained.model:
        rows["network"] = _network(options["--model"], trained.model.network)
        rows["parameters"] = f"{trained.model.network.parameters.size:,}"
    microbatch = options["--microbatch_size"]
    if trained.checkpoint:
        rows["shown after"] = f"step {trained.checkpoint.progress['step']:,}"
    rows["optimizer"] = _optimizer(run)
    rows["minibatch"] = f"{options['--minibatch_size']} images, in micro-batches of {microbatch}"
    rows["reduction"] = options["--reduce"]
    return rows | _machines(run)


def _network(model: str, network: Network) -> str:
    """Return a network's layers in a row, or what it was named and how many they are."""
    leaves = len(network.plan.leaves)
    if leaves > CHAIN:
        return f"{model}, {leaves} layers"
    return " → ".join(map(repr, network.layers))


def _optimizer(run: Run) -> str:
    """Return what optimized, and at which learning rate: what is set of it."""
    options = defaultdict(lambda: "?", html.option_texts(run.options))
    changed = {
        name: value
        for name, value in run.changed_options.items()
        if name in OPTIONS and OPTIONS[name].group in ("optimizer", "schedule")
    }
    changed.pop("optimizer", None)
    words = [options["--optimizer"], f"learning rate {options['--lr']}"]
    texts = html.option_texts(changed).items()
    return ", ".join(words + [f"{name[2:].replace('_', ' ')} {text}" for name, text in texts])


def _machines(run: Run) -> dict[str, str]:
    """Return what the run ran on, by name."""
    rows = {}
    hosts = run.environment.get("hosts")
    if isinstance(hosts, list):
        names = [as_line(host) for host in hosts]
        counts = (f"{names.count(name)} on {name}" for name in dict.fromkeys(names))
        rows["ranks"] = f"{len(names)} ({', '.join(counts)})"
    for key in ("mpi", "cpu"):
        if key in run.environment:
            rows[key.upper()] = as_line(run.environment[key])
    return rows


def _class_rows(results: Results, name: Callable[[int], str]) -> list[list[str]]:
    """Return the rows of the table of classes. name: of a class."""
    mistaken_for: dict[int, str] = {}
    for mistake in results.mistakes:  # the most frequent come first
        taken_for = f"{name(mistake.predicted)} ({mistake.images:,} times)"
        mistaken_for.setdefault(mistake.label, taken_for)
    rows = []
    for label, (support, *scores) in enumerate(zip(*results.per_class, strict=True)):
        shares = [formatted(score, "{:.4f}") for score in scores]
        rows.append([name(label), f"{support:,}", *shares, mistaken_for.get(label, "-")])
    return rows[:CLASSES]


def of_comparison(runs: Sequence[Run]) -> str:
    """Return the page of several runs: their results, their curves, and what differs."""
    names = labels(runs)
    return html.render(
        "comparison.html",
        figures.of_comparison(runs),
        title=f"Comparison of {len(runs)} runs",
        names=names,
        statuses=[run.status for run in runs],
        missing=[
            f"{name}: {sentence}"
            for name, run in zip(names, runs, strict=True)
            for sentence in run.missing
        ],
        results=_rows([_results(run) for run in runs]),
        differences={
            "Options": _different([html.option_texts(run.options) for run in runs]),
            "Environment": _different([html.flattened(run.environment) for run in runs]),
        },
    )


def _results(run: Run) -> dict[str, str]:
    """Return the results of a run by name."""
    sha256 = Markup("<code>{}</code>").format(run.weights_sha256[:16] or "-")
    return _headline(run) | {"weights SHA-256": sha256}


def _rows(columns: Sequence[dict[str, str]]) -> dict[str, list[str]]:
    """Return what each column has under each name, a dash if it has nothing."""
    names = dict.fromkeys(name for column in columns for name in column)
    return {name: [column.get(name, "-") for column in columns] for name in names}


def _different(columns: Sequence[dict[str, str]]) -> dict[str, list[str]]:
    """Return the rows that are not the same in all columns."""
    return {name: row for name, row in _rows(columns).items() if len(set(row)) > 1}
