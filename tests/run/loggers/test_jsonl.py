"""metrics.jsonl: an epoch a line, with every value as it was."""

from __future__ import annotations

import json
from pathlib import Path

from dpcnn.run.loggers.jsonl import NAME, JsonLines, text

LINES = [{"epoch": 1, "loss": 0.1 + 0.2}, {"epoch": 2, "loss": 1e-300, "deaths": [{"rank": 1}]}]


def test_a_line_is_added_for_each_epoch(tmp_path: Path) -> None:
    for line in LINES:
        JsonLines().append(tmp_path, line)
    content = (tmp_path / NAME).read_text()
    assert [json.loads(line) for line in content.splitlines()] == LINES
    assert content == text(LINES)


def test_a_rewrite_leaves_these_lines_alone(tmp_path: Path) -> None:
    (tmp_path / NAME).write_text('{"epoch": 7}\n{"epo')
    JsonLines().rewrite(tmp_path, LINES)
    assert (tmp_path / NAME).read_text() == text(LINES)
    JsonLines().rewrite(tmp_path, [])
    assert (tmp_path / NAME).read_text() == ""
