"""The layers of a watched run in its report: a row each, whatever the metrics lack."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import dpcnn
from dpcnn.report.run import Run, read
from dpcnn.report.watch import table
from dpcnn.report.write import write
from tests.browser import Browser
from tests.networks import two_convolutions


@pytest.fixture(scope="module")
def watched(small: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of three epochs of a step."""
    path = tmp_path_factory.mktemp("watched") / "run"
    values: dict[str, Any] = {"dataroot": small, "train_limit": 64, "test_limit": 20}
    dpcnn.train(two_convolutions(), **values, epochs=3, watch=True, run_dir=path, progress="silent")
    return path


def test_the_page_has_a_row_for_each_layer_and_fits_a_phone(
    watched: Path, tmp_path: Path, browser: Browser
) -> None:
    browser.open(write([watched], tmp_path / "report.html", "html", None), 390)
    assert browser.complaints() == []
    assert browser.evaluate("document.documentElement.scrollWidth") <= 390
    names = browser.evaluate(
        "[...document.querySelectorAll('.watched td:first-child')].map((cell) => cell.innerText)"
    )
    assert names == ["convolution1", "relu1", "convolution2", "relu2", "dense1", "relu3", "dense2"]
    lines = "[...document.querySelectorAll('.watched polyline')].map((line) => line.points.length)"
    assert browser.evaluate(lines) == [3] * (4 * 3 + 3)


def test_the_newest_numbers_are_shown_with_their_ways(watched: Path) -> None:
    run = read(watched)
    heads, rows = table(run)
    assert heads == ["norm of weights", "norm of gradient", "update ratio", "dead ReLUs"]
    last = {line["layer"]: line for line in run.metrics[-1]["layers"]}
    for name, (weights, _, _, dead) in rows:
        if name.startswith("relu"):
            assert weights == ""
            assert dead.startswith(f"{last[name]['dead']:.1%} <svg")
        else:
            assert weights.startswith(f"{last[name]['weights']:#.3g} <svg")


def test_metrics_of_any_form_are_shown_as_far_as_they_are_numbers(watched: Path) -> None:
    def shown(*layers: Any) -> list[tuple[str, list[str]]]:
        metrics = [{"epoch": at, "layers": each} for at, each in enumerate(layers, 1)]
        return [(name, [*map(str, cells)]) for name, cells in table(changed(metrics)).rows]

    def changed(metrics: list[dict[str, Any]]) -> Run:
        return replace(read(watched), metrics=metrics)

    assert table(changed([])).rows == []
    assert shown(None, 3, [3, {"dead": 1}], [{"layer": "x", "other": 2}]) == [("x", [])]
    none = [{"layer": "<b>", "dead": None}]
    assert shown(none, none) == [("<b>", ["-"])]
    assert shown(none, [{"layer": "<b>", "dead": 0.5}]) == [("<b>", ["50.0% "])]
    [(_, [cell])] = shown([{"layer": "y", "update": 1}], None, [{"layer": "y", "update": 1}])
    assert 'points="1.5,8.0 62.5,8.0"' in cell
