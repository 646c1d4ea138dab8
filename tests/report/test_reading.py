"""What is made of the files of a run before anything is drawn."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from dpcnn.data.dataset import Images
from dpcnn.data.sources import find
from dpcnn.report import charts, pictures
from dpcnn.report.facts import NEWEST, number, read
from dpcnn.report.history import sessions
from dpcnn.report.html import Markup, join, tag
from dpcnn.report.results import learned
from dpcnn.report.timecharts import RANKS, SHARES, ranks, shares
from tests.launching import metrics


def test_text_is_escaped_and_markup_is_not():
    inner = tag("b", "<x>", class_="a")
    assert inner == '<b class="a">&lt;x&gt;</b>'
    assert tag("p", inner, [" & ", None]) == '<p><b class="a">&lt;x&gt;</b> &amp; </p>'
    assert tag("img", alt='"', src=None) == '<img alt="&quot;">'
    assert isinstance(join("a"), Markup)
    assert tag("p", "a\0b\ud800").encode() == "<p>a\N{REPLACEMENT CHARACTER}b?</p>".encode()


@pytest.mark.parametrize("value", [None, True, "1", [1], float("inf"), float("nan"), 10**400])
def test_what_is_no_finite_number_is_nan(value):
    assert math.isnan(number(value))


def test_events_are_gathered_between_starts():
    kinds = ["start", "epoch", "death", "resume", "stop", "end"]
    lines = [{"event": kind, "step": at, "world_size": 2} for at, kind in enumerate(kinds)]
    lines[2] |= {"ranks": [{"rank": 1, "host": "h"}], "world_size": 1}
    lines[4] |= {"signal": "SIGTERM"}
    first, second = sessions(lines)
    assert [event.kind for event in first.events] == ["start", "epoch", "death"]
    assert (first.ended, second.ended) == (False, True)
    assert first.events[2].words() == "Lost rank 1 on h after step 2, went on on 1 rank"
    lines[2]["replaced"] = [{"rank": 2, "host": "h"}]
    assert sessions(lines)[0].events[2].words().endswith(", replaced by rank 2 on h")
    assert second.events[0].words() == "Resumed after step 3 on 2 ranks"
    assert second.events[1].words() == "Stopped by SIGTERM after step 4, saved"


def test_labels_keep_their_order_and_distance():
    moved = charts._spread([0.5, 0.5, 0.52, 1.2])
    assert moved == sorted(moved)
    assert min(np.diff(moved)) >= charts.DISTANCE - 1e-9
    assert max(moved) <= 1
    assert min(charts._spread([0.0] * 40)) > -0.1
    assert charts._spread([]) == []


def test_a_run_is_read_as_it_was_written(whole):
    run = read(whole)
    last = metrics(whole)[-1]
    assert run.missing == []
    assert run.status() == "done"
    assert run.weights_sha256 == last["weights_sha256"]
    assert run.series("test_loss")[-1] == last["test_loss"]
    assert {"epochs", "n_filter"} < set(run.changed())
    assert "lr" not in run.changed()
    spent = shares(run)
    assert [*spent] == [0, 1]
    assert all(seconds.shape == (len(SHARES), 3) for _, seconds in spent.values())


def test_of_many_lines_and_ranks_the_newest_and_first_are_shown(copy):
    line = {"epoch": 1, "ranks": [{"rank": rank, "host": "h"} for rank in range(RANKS + 5)]}
    lines = [json.dumps(line | {"epoch": epoch}) for epoch in range(1, NEWEST + 8)]
    (copy / "metrics.jsonl").write_text("\n".join(lines))
    run = read(copy)
    assert run.missing == [f"metrics.jsonl: of {NEWEST + 7:,} lines the last {NEWEST:,} are shown."]
    assert (run.epochs[0], run.epochs[-1]) == (8, NEWEST + 7)
    assert len(ranks(run)) == RANKS + 5
    assert [*shares(run)] == [*range(RANKS)]


def test_the_results_are_those_that_were_recorded(whole):
    run = read(whole)
    results = learned(run).results
    assert results.accuracy == run.series("test_accuracy")[-1]
    assert results.confusion.sum() == results.images == 200
    rights = [guess.right for guess in results.worst]
    assert rights == sorted(rights)
    assert all(guess.classes[0] != guess.label for guess in results.worst)
    assert all(guess.probabilities[0] >= guess.right for guess in results.worst)


def test_a_dataset_is_never_downloaded(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DPCNN_CACHE", str(tmp_path / "cache"))
    assert find.locate("auto") is None
    assert find.locate("mnist") is None
    assert find.locate("digits") == "digits"
    (tmp_path / "MNISTdata.hdf5").touch()
    assert find.locate("auto") == "MNISTdata.hdf5"
    assert find.locate("mnist") is None


@pytest.mark.parametrize(
    ("shape", "expected"),
    [((1, 28, 28), (28, 28)), ((3, 32, 30), (32, 30, 3)), ((2, 200, 100), (50, 25))],
)
def test_images_of_any_shape_become_pictures(shape, expected):
    assert pictures.pixels(np.ones(shape, np.float32)).shape == expected
    images = Images(np.zeros((5, *shape), np.uint8), np.array([3, 3, 70, 70, 70]))
    tiles = pictures.samples(images)
    assert [tile.caption for tile in tiles] == ["3: 2 images", "70: 3 images"]
    assert tiles[0].pixels.shape == tiles[1].pixels.shape
