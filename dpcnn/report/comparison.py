"""The page of several runs: their results in rows, the best first; curves; what differs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from dpcnn.options import OF_DATASET
from dpcnn.report import curves, figures, html
from dpcnn.report.files import as_line
from dpcnn.report.run import Run, Status, labels, number
from dpcnn.report.standing import newest, why_failed
from dpcnn.report.style import variable
from dpcnn.run.directory import RunDirectory

SHA256 = 8  # characters of the hash of the weights
# Options that decide which images a run is tested on, beside the dataset itself.
DECIDING = ("keys", "size", "grey", "layout", "test_fraction", "test_limit", "num_class")
SHAPE = ("num_channel", "img_height", "img_width")
PLACES = ("run_dir", "resume", "progress", "mirror", "tensorboard")  # say nothing of the results


@dataclass(frozen=True)
class Row:
    """The results of a run as the table has them; `winner` if it is the best of its dataset."""

    name: str
    color: str
    status: Status
    cells: dict[str, str]
    dataset: str
    reason: str
    winner: bool = False


@dataclass(frozen=True)
class Tested:
    """The images that a run is tested on, as far as its files tell."""

    name: str
    fingerprint: str
    options: tuple[Any, ...]

    def same(self, other: Tested) -> bool:
        """Tell whether these seem to be the same images."""
        by_content = self.fingerprint == other.fingerprint != ""
        return by_content or (self.name, self.options) == (other.name, other.options)


def page(runs: Sequence[Run]) -> str:
    """Return the page of several runs."""
    runs = ranked(runs)
    names = labels(runs)
    datasets = _datasets(runs)
    colors = [variable(curves.color(place)) for place in range(len(runs))]
    rows = _winners(
        [
            Row(name, color, run.status, _cells(run), dataset, "; ".join(why_failed(run)))
            for name, color, run, dataset in zip(names, colors, runs, datasets, strict=True)
        ]
    )
    return html.render(
        "comparison.html",
        figures.of_comparison(runs),
        title=f"Comparison of {len(runs)} runs",
        names=names,
        rows=rows,
        columns=[*rows[0].cells],
        datasets=[*dict.fromkeys(datasets)],
        missing=[
            f"{name}: {sentence}"
            for name, run in zip(names, runs, strict=True)
            for sentence in run.missing
        ],
        differences={
            "Options": _different([html.option_texts(_compared(run)) for run in runs]),
            "Environment": _different([html.flattened(run.environment) for run in runs]),
        },
    )


def ranked(runs: Sequence[Run]) -> list[Run]:
    """Return the runs by their last test accuracy, the best first; those without one last."""

    def key(run: Run) -> tuple[float, float]:
        last = run.metrics[-1] if run.metrics else {}
        accuracy, loss = number(last.get("test_accuracy")), number(last.get("test_loss"))
        return (
            math.inf if math.isnan(accuracy) else -accuracy,
            math.inf if math.isnan(loss) else loss,
        )

    return sorted(runs, key=key)


def _winners(rows: Sequence[Row]) -> list[Row]:
    """Mark the best run of each dataset that several have a result on."""
    measured = [row for row in rows if row.cells["test accuracy"] != "-"]
    marked = []
    for row in rows:
        rivals = [other for other in measured if other.dataset == row.dataset]
        best = len(rivals) > 1 and row.cells["test accuracy"] == rivals[0].cells["test accuracy"]
        marked.append(replace(row, winner=best))
    return marked


def _cells(run: Run) -> dict[str, str]:
    """Return the results of a run by the names of their columns."""
    numbers, best = newest(run), "-"
    if run.best is not None:
        accuracy = run.series(run.judged_by)[run.best]
        best = f"{100 * accuracy:.2f}% ({run.epochs[run.best]:.0f})"
    return {
        "test accuracy": numbers["test accuracy"],
        "test loss": numbers["test loss"],
        "best (epoch)": best,
        "epochs": numbers["epochs"],
        "time": numbers["training time"],
        "images/s": numbers["images/s"],
        "ranks": numbers["ranks"],
        "SHA-256": run.weights_sha256[:SHA256] or "-",
    }


def _datasets(runs: Sequence[Run]) -> list[str]:
    """Return the name of the dataset of each run, the same for the same images to test on."""
    tested = [_tested(run) for run in runs]
    firsts = [next(other for other in tested if other.same(each)) for each in tested]
    others: dict[str, list[Tested]] = {}
    for first in firsts:
        alike = others.setdefault(first.name, [])
        alike.extend([] if first in alike else [first])
    return [
        first.name + (f" ({others[first.name].index(first) + 1})" * (len(others[first.name]) > 1))
        for first in firsts
    ]


def _tested(run: Run) -> Tested:
    checkpoint = RunDirectory(run.path).newest_checkpoint(lambda sentence: None)
    dataset = checkpoint.dataset if checkpoint else {}
    name = as_line(dataset.get("source") or run.options.get("dataroot"))
    options = tuple(as_line(run.options.get(option)) for option in (*DECIDING, *SHAPE))
    return Tested(name, str(dataset.get("fingerprint", "")), options)


def _compared(run: Run) -> dict[str, Any]:
    """Return the options of a run that may have to do with its results."""
    return {
        name: value for name, value in run.options.items() if name not in (*PLACES, *OF_DATASET)
    }


def _different(columns: Sequence[dict[str, str]]) -> dict[str, list[str]]:
    """Return by name what each column has, a dash for nothing, where they are not the same."""
    names = dict.fromkeys(name for column in columns for name in column)
    rows = {name: [column.get(name, "-") for column in columns] for name in names}
    return {name: row for name, row in rows.items() if len(set(row)) > 1}
