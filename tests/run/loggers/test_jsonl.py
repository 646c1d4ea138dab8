"""metrics.jsonl and jsonl.csv: an epoch a line, and which was the best."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from dpcnn.run.loggers import jsonl


def test_a_line_is_added_for_each_epoch(tmp_path: Path) -> None:
    lines = [{"epoch": 1, "loss": 0.1 + 0.2}, {"epoch": 2, "loss": 1e-300}]
    for line in lines:
        jsonl.append(tmp_path, line)
    text = (tmp_path / jsonl.NAME).read_text()
    assert [json.loads(line) for line in text.splitlines()] == lines
    assert text == jsonl.text(lines)


def test_the_table_has_a_header_once_and_lists_as_their_length(tmp_path: Path) -> None:
    lines = [
        {"epoch": 1, "loss": 0.1 + 0.2, "deaths": []},
        {"epoch": 2, "loss": 1e-300, "deaths": [{"rank": 1}, {"rank": 2}]},
    ]
    for line in lines:
        jsonl.append(tmp_path, line)
    with (tmp_path / jsonl.TABLE).open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(int(row["epoch"]), float(row["loss"]), int(row["deaths"])) for row in rows] == [
        (1, 0.1 + 0.2, 0),
        (2, 1e-300, 2),
    ]
    assert (tmp_path / jsonl.TABLE).read_bytes().decode() == jsonl.table(lines)
    assert jsonl.table([]) == ""


@pytest.mark.parametrize(
    ("accuracies", "best"),
    [([], None), ([0.5], 10), ([0.5, 0.9, 0.8], 20), ([0.9, 0.9], 10), ([0, 0], 10)],
)
def test_the_best_is_the_earliest_of_equals(accuracies: list[float], best: int | None) -> None:
    lines = [{"step": 10 * n, "test_accuracy": each} for n, each in enumerate(accuracies, 1)]
    assert jsonl.best_step(lines) == best
