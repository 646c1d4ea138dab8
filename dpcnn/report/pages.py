"""The page of one run: what its template shows."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable

from markupsafe import Markup

from dpcnn.nn.network import Network
from dpcnn.options import OPTIONS
from dpcnn.report import figures, html, images, watch
from dpcnn.report.curves import is_flat
from dpcnn.report.files import as_line
from dpcnn.report.html import extent, formatted
from dpcnn.report.results import Results, Trained
from dpcnn.report.run import Run, number
from dpcnn.report.standing import newest, whereabouts, why_failed
from dpcnn.training.optimization import LOSS as CHANGING

CLASSES = 100  # rows of the table of classes
CHAIN = 12  # layers at most that are listed in a row
NO_BREAK = "\N{NO-BREAK SPACE}"


def of_run(run: Run, trained: Trained) -> str:
    """Return the page of a run."""
    drawn = figures.of_run(run, trained)
    worst = trained.results.worst if trained.results else []
    training = trained.dataset and trained.dataset.train
    augmented = images.augmented(training, trained.augmentation) if training else []
    watched = watch.table(run)
    titles = {
        "setup": "Configuration",
        "augmentation": "Augmentation" if augmented else "",
        "curves": "Learning curves" if "accuracy" in drawn else "",
        "watch": "Layers over the epochs" if watched.rows else "",
        "classes": "Per-class results" if trained.results else "",
        "mistakes": "Misclassified images" if trained.results else "",
        "filters": "Filters" if trained.filters else "",
        "time": "Timing" if {"timings", "timeline"} & drawn.keys() else "",
    }
    return html.render(
        "run.html",
        drawn,
        title=run.name,
        run=run,
        trained=trained,
        sections={name: title for name, title in titles.items() if title},
        failure=why_failed(run),
        whereabouts=whereabouts(run),
        headline=_headline(run) if run.metrics else {},
        constants=_constants(run),
        captions=_captions(run),
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
        banks=[(bank, images.filters(bank.W)) for bank in trained.filters],
    )


def _headline(run: Run) -> dict[str, str]:
    """Return the numbers that matter most, by name."""
    numbers = newest(run)
    values = {name: numbers.pop(name) for name in ("test accuracy", "test loss")}
    if run.has("validation_accuracy"):
        validation = number(run.metrics[-1].get("validation_accuracy"))
        values["validation accuracy"] = formatted(100 * validation, "{:.2f}%")
    values |= _best(run) | numbers
    return {name: value.replace(" ", NO_BREAK) for name, value in values.items()}


def _best(run: Run) -> dict[str, str]:
    """Return the best accuracy and its epoch, by name: what `RUN --best` takes."""
    if run.best is None:
        return {}
    accuracy, epoch = run.series(run.judged_by)[run.best], run.epochs[run.best]
    validation = " validation" if run.judged_by.startswith("validation") else ""
    name = f"best{validation}, epoch {epoch:.0f}"
    return {name: f"{100 * accuracy:.2f}%"}


def _captions(run: Run) -> dict[str, str]:
    """Return what is to be said of the curves of accuracy and loss, by the figure's name."""
    within = " (thin line: over a few steps)" if run.steps else ""
    changed = [name.replace("_", " ") for name in CHANGING if name in run.changed_options]
    of_training = f"; the training loss with {' and '.join(changed)}" if changed else ""
    others = "Validation and test" if run.has("validation_accuracy") else "Test"
    return {
        "accuracy": f"Training: the mean over each epoch{within}. {others}: at its end.",
        "loss": f"Mean cross-entropy per image, in nats{of_training}.",
    }


def _constants(run: Run) -> str:
    """Return in a sentence what no chart is drawn of, as it did not change."""
    rates = run.known("learning_rate")
    constant = rates.size and is_flat(run, "learning_rate")
    return f"The learning rate was {rates[0]:g} throughout." if constant else ""


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
        rows["checkpoint"] = f"step {trained.checkpoint.progress['step']:,}"
    rows["optimizer"] = _optimizer(run)
    rows["minibatch"] = f"{options['--minibatch_size']} images, in micro-batches of {microbatch}"
    rows["reduction"] = options["--reduce"]
    sha256 = {"weights SHA-256": Markup("<code>{}</code>").format(run.weights_sha256)}
    return rows | _machines(run) | (sha256 if run.weights_sha256 else {})


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
    confused_with: dict[int, str] = {}
    for mistake in results.mistakes:  # the most frequent come first
        prediction = f"{name(mistake.predicted)} ({mistake.images:,})"
        confused_with.setdefault(mistake.label, prediction)
    rows = []
    for label, (support, *scores) in enumerate(zip(*results.per_class, strict=True)):
        shares = [formatted(score, "{:.4f}") for score in scores]
        rows.append([name(label), f"{support:,}", *shares, confused_with.get(label, "-")])
    return rows[:CLASSES]
