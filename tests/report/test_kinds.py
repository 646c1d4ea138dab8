"""Pages of runs that run, have failed, or have layers of one's own: said at the top, and sound."""

from __future__ import annotations

import fcntl
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import dpcnn
from dpcnn.api.reporting import report
from dpcnn.data.dataset import Dataset, Images
from dpcnn.data.formats import hdf5
from dpcnn.errors import DpcnnError
from dpcnn.inference import evaluation
from dpcnn.models.zoo import ZOO
from dpcnn.nn import Convolution, Dense, Flatten, ReLU
from dpcnn.nn.network import Network
from dpcnn.nn.plan import Plan
from dpcnn.report import comparison, images, results, standing
from dpcnn.report.run import read
from dpcnn.report.write import write
from dpcnn.run import lock, steps
from tests.browser import Browser


class Doubled(ReLU):
    """A layer of one's own."""


def own(shape: Any = None, classes: int = 3) -> list[Any]:
    return [Convolution(4, 5, stride=3), Doubled(), Flatten(), Dense(classes)]


@pytest.fixture(scope="module")
def colours(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with a layer of one's own on colour images of CIFAR-10's size, with named classes."""
    folder = tmp_path_factory.mktemp("colours")
    rng = np.random.default_rng(0)
    labels = np.arange(90, dtype=np.uint8) % 3
    pixels = rng.integers(0, 256, (90, 3, 32, 32), np.uint8)
    train, test = Images(pixels, labels), Images(pixels[:30], labels[:30])
    names = ("a cat", "dog", "ship")
    hdf5.write(folder / "c.hdf5", Dataset(train, test, "colours", 3, class_names=names))
    data = {"dataroot": folder / "c.hdf5", "progress": "silent"}
    dpcnn.train(own(), epochs=2, run_dir=folder / "run", **data)
    return folder / "run"


def opened(browser: Browser, page: Path) -> str:
    """Return the text of a page that is sound on a phone."""
    browser.open(page, 390, scheme="dark")
    assert browser.complaints() == []
    assert browser.requests() == [page.as_uri()]
    assert browser.evaluate("document.documentElement.scrollWidth") <= 390
    return browser.text()


def test_layers_of_ones_own_are_shown_where_they_are_named(
    colours: Path, tmp_path: Path, browser: Browser
) -> None:
    page = report(colours, out=tmp_path / "page.html", network=own())
    text = opened(browser, page)
    assert "Doubled()" in text
    assert {"a cat", "dog", "ship"} <= set(text.splitlines()), "classes in the confusion matrix"
    assert "Missing from this report" not in text
    assert "--model MODULE:FUNCTION" in report(colours, out=page).read_text()
    with pytest.raises(DpcnnError, match="network"):
        report(colours, out=page, network=[Flatten(), Dense(3)])


def test_results_are_made_without_the_copies_of_tta_and_say_so(
    colours: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = {
        "dataroot": colours.parent / "c.hdf5",
        "progress": "silent",
        "run_dir": tmp_path / "run",
    }
    run = dpcnn.train([Flatten(), Dense(3)], epochs=1, tta="shift", **data)
    monkeypatch.setattr(evaluation, "_moved", lambda *arguments: pytest.fail("copies"))
    page = report(run.directory).read_text()
    assert re.search(r"classified once here, as it is\..*<code>--tta shift</code>", page, re.DOTALL)
    assert "Confusion matrix, without --tta" in page
    trained = results.load(read(run.directory))
    assert trained.results is not None
    assert trained.dataset is not None
    logits = run.model.network.forward(trained.dataset.test.load(np.arange(30)))
    right = logits.argmax(axis=0) == trained.dataset.test.labels
    assert trained.results.correct == right.sum()


def test_a_failed_run_says_why_at_the_top(copy: Path, browser: Browser) -> None:
    (copy / "outcome.json").write_text('{"exit_code": 1}')
    (copy / "errors").mkdir()
    error = "Traceback (most recent call last):\n  File\nValueError: too <large>\n"
    for rank in (0, 1):
        (copy / f"errors/rank-{rank}.txt").write_text(error)
    text = opened(browser, write([copy], None, "html", None))
    assert re.search(r"Failed after step 48\s+rank 0: ValueError: too <large>\n", text)
    assert text.index("Failed after") < text.index("test accuracy")
    colour = "getComputedStyle(document.querySelector('.alert > b')).color"
    red, green, blue = map(int, re.findall(r"\d+", browser.evaluate(colour)))
    assert red > 1.5 * max(green, blue)
    divergence = {"event": "divergence", "step": 48, "error": "step 49: inf"}
    with (copy / "events.jsonl").open("a") as file:
        file.write(json.dumps(divergence) + "\n")
    assert standing.why_failed(read(copy)) == ["Diverged: step 49: inf"]
    (copy / "outcome.json").unlink()
    assert "Interrupted after step 48" in write([copy], None, "html", None).read_text()


def test_a_running_run_says_where_it_is_and_how_long_it_takes(copy: Path, browser: Browser) -> None:
    (copy / "outcome.json").unlink()
    (copy / "metrics.jsonl").write_text("")
    points = [json.loads(text) for text in (copy / steps.NAME).read_text().splitlines()[:9]]
    for point in points:
        point["time"] = f"2026-01-02T10:{2 * point['step']:02}:00+00:00"
    (copy / steps.NAME).write_text("".join(json.dumps(point) + "\n" for point in points))
    (copy / "events.jsonl").write_text('{"event": "start", "time": "2026-01-02T10:00:00+00:00"}\n')
    with (copy / lock.NAME).open("a") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        page = write([copy], None, "html", None)
    text = opened(browser, page)
    assert "Step 9 of 48, 0.56 of 3 epochs, as of 02 January 2026, 10:18:00 UTC." in text
    assert "About 78 min left then, until about 11:36 UTC." in text
    charts = "[...document.querySelectorAll('#curves figure')].map((figure) => figure.id)"
    assert browser.evaluate(charts) == ["accuracy", "loss"], "of steps alone"
    assert standing.whereabouts(read(copy)) is None, "nobody holds the lock any more"


def test_runs_on_other_images_are_not_compared(
    colours: Path, whole: Path, copy: Path, tmp_path: Path, browser: Browser
) -> None:
    page = write([colours, copy, whole], tmp_path / "page.html", "html", None)
    text = opened(browser, page)
    assert "Not all of these runs are on the same dataset" in text
    best = "[...document.querySelectorAll('.winner')].map((row) => row.children[0].innerText)"
    assert {name.split()[0] for name in browser.evaluate(best)} == {"whole", "copy"}, "equals"
    order = comparison.ranked([read(path) for path in (colours, whole, copy)])
    assert [run.name for run in order][-1] == "run"
    assert "Not all" not in write([copy, whole], page, "html", None).read_text()


def test_filters_behind_a_whitening_are_those_that_the_image_is_seen_through() -> None:
    shape = (3, 32, 32)
    network = Network(Plan(ZOO["airbench"].make(shape, 10), shape))
    rng = np.random.default_rng(0)
    network.initialize(0)
    whitening, convolution = (network.plan.leaves[name] for name in ("whitening1", "convolution1"))
    whitening.W[...] = rng.standard_normal(whitening.W.shape)
    banks = results._banks([*network.plan.leaves.values()])
    assert [bank.W.shape for bank in banks] == [(24, 3, 2, 2), (64, 3, 4, 4)]
    x = rng.standard_normal((3, 4, 4))
    inner = np.array([
        [[(x[:, i : i + 2, j : j + 2] * W).sum() for j in range(3)] for i in range(3)]
        for W in whitening.W
    ])  # fmt: skip
    expected = (convolution.W * inner).sum(axis=(1, 2, 3))
    np.testing.assert_allclose((banks[1].W * x).sum(axis=(1, 2, 3)), expected, rtol=1e-4, atol=1e-4)
    pictures = images.filters(banks[0].W)
    assert pictures[0].pixels.shape == (2, 2, 3)
    np.testing.assert_array_equal(images.filters(np.zeros((1, 3, 2, 2)))[0].pixels, 128)
