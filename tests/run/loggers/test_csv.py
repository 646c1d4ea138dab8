"""metrics.csv: a row an epoch, under one header."""

from __future__ import annotations

import csv
from pathlib import Path

from dpcnn.run.loggers.csv import NAME, Csv, text

LINES = [
    {"epoch": 1, "loss": 0.1 + 0.2, "deaths": []},
    {"epoch": 2, "loss": 1e-300, "deaths": [{"rank": 1}, {"rank": 2}]},
]


def test_the_table_has_a_header_once_and_lists_as_their_length(tmp_path: Path) -> None:
    for line in LINES:
        Csv().append(tmp_path, line)
    with (tmp_path / NAME).open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(int(row["epoch"]), float(row["loss"]), int(row["deaths"])) for row in rows] == [
        (1, 0.1 + 0.2, 0),
        (2, 1e-300, 2),
    ]
    assert (tmp_path / NAME).read_bytes().decode() == text(LINES)


def test_a_rewrite_leaves_these_rows_alone(tmp_path: Path) -> None:
    (tmp_path / NAME).write_text("epoch,loss\n7")
    Csv().rewrite(tmp_path, LINES)
    assert (tmp_path / NAME).read_bytes().decode() == text(LINES)
    Csv().rewrite(tmp_path, [])
    assert (tmp_path / NAME).read_text() == ""
