"""The page of several runs: their curves over each other, and a table of what differs."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import numpy as np

from dpcnn.report import charts
from dpcnn.report.facts import Run
from dpcnn.report.html import Content, Markup, tag
from dpcnn.report.parts import (
    badge,
    chart,
    document,
    flat,
    foot,
    key_figures,
    missing,
    option_word,
)
from dpcnn.system.text import one_line

# Name -> key of the metrics, title, over time.
CURVES = {
    "test-accuracy": ("test_accuracy", "Test accuracy over epochs", False),
    "test-accuracy-time": ("test_accuracy", "Test accuracy over time", True),
    "test-loss": ("test_loss", "Test loss over epochs", False),
    "training-loss": ("loss", "Training loss over epochs", False),
}


def labels(runs: list[Run]) -> list[tuple[str, Run]]:
    """Return the runs with their names, with their paths where names are the same."""
    names = [run.name for run in runs]
    unique = len(set(names)) == len(names)
    return [(one_line(run.name if unique else run.path), run) for run in runs]


def comparison(runs: list[Run]) -> str:
    """Return the report of several runs."""
    named = labels(runs)
    drawings = [
        chart(partial(charts.compared, named, *arguments), name, caption)
        for name, arguments in CURVES.items()
        for caption in ["Each run begins at zero." if arguments[2] else None]
    ]
    title = f"{len(runs)} runs compared"
    return document(
        f"{title} - dpcnn",
        tag("header", tag("div", tag("h1", title), class_="title")),
        missing([f"{name}: {each}" for name, run in named for each in run.missing]),
        tag("h2", "Results"),
        _table(named, _results(runs)),
        tag("h2", "Curves"),
        tag("div", drawings, class_="grid"),
        tag("h2", "What differs"),
        _differences(named),
        foot(),
    )


def _results(runs: list[Run]) -> dict[str, list[Content]]:
    rows: dict[str, list[Content]] = {"": [badge(run) for run in runs]}
    for name, _ in key_figures(runs[0]):
        rows[name] = [dict(key_figures(run))[name] for run in runs]
    rows["best test accuracy"] = [_best(run) for run in runs]
    rows["weights SHA-256"] = [
        tag("code", one_line(run.weights_sha256)[:16] or "-") for run in runs
    ]
    return rows


def _best(run: Run) -> str:
    values = run.series("test_accuracy")
    if not np.isfinite(values).any():
        return "-"
    best = int(np.nanargmax(values))
    return f"{values[best]:.2%} (epoch {run.epochs[best]:.0f})"


def _differences(named: list[tuple[str, Run]]) -> Content:
    """Return tables of the options and facts of the environment that are not the same in all."""
    runs = [run for _, run in named]
    options = [
        {f"--{name}": option_word(name, value) for name, value in run.options.items()}
        for run in runs
    ]
    found: list[Content] = []
    for title, facts in (
        ("Options", options),
        ("Environment", [flat(run.environment) for run in runs]),
    ):
        rows = _different(facts)
        found.append(tag("h3", title))
        found.append(_table(named, rows) if rows else tag("p", "All the same.", class_="muted"))
    return found


def _different(facts: list[dict[str, str]]) -> dict[str, list[Content]]:
    names = dict.fromkeys(name for each in facts for name in each)
    rows = {name: [each.get(name, "-") for each in facts] for name in names}
    return {name: [*row] for name, row in rows.items() if len(set(row)) > 1}


def _table(named: list[tuple[str, Run]], rows: Mapping[str, list[Content]]) -> Markup:
    """Return a table with a column a run."""
    head = tag("tr", tag("td"), [tag("th", name, scope="col") for name, _ in named])
    body = [
        tag("tr", tag("th", name, scope="row"), [tag("td", cell) for cell in cells])
        for name, cells in rows.items()
    ]
    whole = tag("table", tag("thead", head), tag("tbody", body), class_="compare")
    return tag("div", whole, class_="card")
