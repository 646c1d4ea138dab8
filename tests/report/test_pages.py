"""The pages in Chromium: whole, without complaint or request, legible on any screen."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

import dpcnn
from dpcnn.report.write import write
from tests.browser import Browser
from tests.launching import metrics, run

SECTIONS = {
    "setup": "Configuration",
    "curves": "Learning curves",
    "classes": "Per-class results",
    "mistakes": "Misclassified images",
    "filters": "Filters",
    "time": "Timing",
}
CHARTS = {
    *("accuracy", "loss", "accuracy-time", "speed"),
    *("confusion", "per-class", "timings", "timeline"),
}
NO_WORDS = re.compile(r"\b(?:None|nan|NaN|inf|Undefined|True|False)\b|[{}]")
SIZE = 3_000_000  # bytes of a page at most

# Texts of a chart whose colour is not 3:1 or more against the card that it stands on. The numbers
# in the strong cells of a confusion matrix are white on both.
ILLEGIBLE = """
(() => {
  const light = (color) => {
    const [r, g, b] = color.match(/[\\d.]+/g).slice(0, 3).map((value) => {
      const v = value / 255; return v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  return [...document.querySelectorAll('figure svg text')].filter((text) => {
    const fill = getComputedStyle(text).fill;
    const card = getComputedStyle(text.closest('figure')).backgroundColor;
    const [low, high] = [light(fill), light(card)].sort((a, b) => a - b);
    return fill !== 'rgb(255, 255, 255)' && (high + 0.05) / (low + 0.05) < 3;
  }).map((text) => text.textContent);
})()
"""


@pytest.fixture(scope="module")
def page(whole: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write([whole], tmp_path_factory.mktemp("page") / "report.html", "html", None)


@pytest.fixture(scope="module")
def comparison(whole: Path, small: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    cwd = tmp_path_factory.mktemp("other")
    options = ("--dataroot", small, "--epochs", 2, "--lr", 0.05, "--n_filter", 4)
    assert run(None, *options, "--run_dir", "other", cwd=cwd).returncode == 0
    return write([whole, cwd / "other"], cwd / "comparison.html", "html", None)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1200, 390])
@pytest.mark.parametrize("name", ["page", "comparison"])
def test_a_page_is_sound_on_any_screen(
    name: str, width: int, scheme: str, browser: Browser, request: pytest.FixtureRequest, tmp_path
) -> None:
    path = request.getfixturevalue(name)
    browser.open(path, width, scheme=scheme)
    assert browser.complaints() == []
    assert browser.requests() == [path.as_uri()]
    browser.evaluate("document.querySelectorAll('details').forEach((fold) => fold.open = true)")
    assert browser.evaluate("document.documentElement.scrollWidth") <= width
    assert browser.evaluate(ILLEGIBLE) == []
    assert browser.evaluate("document.scripts.length") == 0
    assert NO_WORDS.findall(browser.text()) == []
    shares = "[...document.querySelectorAll('#per-class text')].map((text) => text.textContent)"
    assert "\N{MINUS SIGN}" not in "".join(browser.evaluate(shares)), "a share below zero"
    broken = "[...document.images].filter((image) => !image.naturalWidth).length"
    assert browser.evaluate(broken) == 0
    ids = browser.evaluate("[...document.querySelectorAll('[id]')].map((element) => element.id)")
    assert len(ids) == len(set(ids))
    named = "[...document.querySelectorAll('figure > svg')].every((svg) => svg.ariaLabel)"
    assert browser.evaluate(named)
    assert browser.evaluate("[...document.images].every((image) => image.alt)")
    narrow = "[...document.querySelectorAll('figure > svg')]"
    narrow += f".filter((svg) => svg.getBoundingClientRect().width < {min(width * 0.7, 400)})"
    assert browser.evaluate(f"{narrow}.length") == 0
    names = "document.querySelectorAll('.results .run th')"
    browser.evaluate(f"{names}.forEach((name) => name.append('-with-a-rather-long-name'))")
    wide = "[...document.querySelectorAll('.layers, .results')]"
    wide += ".filter((table) => table.scrollWidth > table.parentElement.clientWidth)"
    assert browser.evaluate(f"{wide}.length") == 0
    assert browser.screenshot(tmp_path / "page.png").stat().st_size > 50_000


def test_a_page_has_all_its_sections(page: Path, whole: Path, browser: Browser) -> None:
    assert page.stat().st_size < SIZE
    browser.open(page, 1200)
    headings = browser.evaluate(
        "[...document.querySelectorAll('section')]"
        ".map((section) => [section.id, section.querySelector('h2').innerText])"
    )
    assert headings == [[*pair] for pair in SECTIONS.items()]
    links = browser.evaluate(
        "[...document.querySelectorAll('nav a')].map((a) => [a.hash.slice(1), a.innerText])"
    )
    assert links == headings
    charts = browser.evaluate(
        "[...document.querySelectorAll('figure[id]')].filter((f) => f.querySelector('svg'))"
        ".map((f) => f.id)"
    )
    assert set(charts) == CHARTS
    for selector, count in ((".mistakes .card", 25), (".filters img", 4), (".samples img", 10)):
        assert browser.evaluate(f"document.querySelectorAll('{selector}').length") == count
    text = browser.evaluate("document.body.textContent")
    last = metrics(whole)[-1]
    assert last["weights_sha256"] in text
    assert f"{last['test_accuracy']:.2%}" in text
    right = round(last["test_accuracy"] * 200)
    assert f"{right} of 200 test images are classified correctly" in text
    for part in (
        "--n_filter 4",
        "The learning rate was 0.01 throughout",
        "MPICH",
        "1,000 for training, 200 for testing",
        "computing",
    ):
        assert part in text
    assert "Missing from this report" not in text


def test_the_history_tells_of_kill_and_restart(page: Path, browser: Browser) -> None:
    browser.open(page, 1200)
    lines = browser.evaluate("[...document.querySelectorAll('.events li')].map((e) => e.innerText)")
    texts = [re.sub(r"^\d\d \w+ [\d:]+ ", "", line) for line in lines]
    assert texts == [
        "Started on 2 ranks",
        "Interrupted some time after step 16: no end is recorded",
        "Resumed after step 16 on 2 ranks (automatic restart 1)",
        "Finished",
    ]


def test_a_comparison_shows_what_differs_and_nothing_else(
    comparison: Path, browser: Browser
) -> None:
    assert comparison.stat().st_size < SIZE
    browser.open(comparison, 1200)
    rows = browser.evaluate(
        "Object.fromEntries([...document.querySelectorAll('table.compare tbody tr')]"
        ".map((row) => [...row.children].map((cell) => cell.innerText))"
        ".map(([name, ...cells]) => [name, cells]))"
    )
    assert sorted(rows["--lr"]) == ["0.01", "0.05"]
    assert sorted(rows["--epochs"]) == ["2", "3"]
    assert not {"--n_filter", "--seed", "cpu", "python"} & rows.keys()
    results = browser.evaluate(
        "[...document.querySelectorAll('.results .run')]"
        ".map((row) => [...row.children].map((cell) => cell.innerText))"
    )
    names = [row[0].split()[0] for row in results]
    assert results[0][0].split() == [names[0], "best"]
    assert {row[0].split()[0]: row[4] for row in results} == {"whole": "3 of 3", "other": "2 of 2"}
    accuracies = [float(row[1].rstrip("%")) for row in results]
    assert accuracies == sorted(accuracies, reverse=True)
    labels = browser.evaluate(
        "[...document.querySelectorAll('#test-loss text')].map((t)=>t.textContent)"
    )
    assert {"whole", "other"} <= {label.split()[0] for label in labels}


def test_single_pictures_are_written_as_png(whole: Path, tmp_path: Path) -> None:
    folder = write([whole], tmp_path / "pictures", "png", None)
    names = {path.stem for path in folder.iterdir()}
    assert names == CHARTS | {"loss-time", "mistakes", "samples", "filters"}
    for path in folder.iterdir():
        content = path.read_bytes()
        assert content.startswith(b"\x89PNG")
        assert len(content) > 5000, path


@pytest.mark.long
def test_six_epochs_of_mnist_on_four_ranks(mnist: Path, tmp_path: Path, browser: Browser) -> None:
    options = ("--dataroot", mnist, "--epochs", 6, "--run_dir", "run")
    assert run(4, *options, cwd=tmp_path).returncode == 0
    result = run(None, "run", cwd=tmp_path, module="dpcnn.report")
    assert (result.returncode, result.stdout) == (0, "run/report.html\n"), result.stderr
    page = tmp_path / "run/report.html"
    assert page.stat().st_size < SIZE
    browser.open(page, 390)
    assert (browser.complaints(), browser.requests()) == ([], [page.as_uri()])
    shown = browser.evaluate("document.querySelectorAll('figure svg, .mistakes .card').length")
    assert shown == len(CHARTS) + 25
    line = json.loads((tmp_path / "run/loggers.jsonl").read_text().splitlines()[-1])
    assert line["weights_sha256"] in page.read_text()


def test_the_report_of_an_augmented_run_shows_what_is_done(
    small: Path, tmp_path: Path, browser: Browser
) -> None:
    directory = tmp_path / "run"
    options = {"dataroot": small, "train_limit": 100, "n_filter": 2, "epochs": 1}
    dpcnn.train(run_dir=directory, augment="cutout:8,flip", progress="silent", **options)
    page = write([directory], tmp_path / "report.html", "html", None)
    browser.open(page, 390)
    assert browser.complaints() == []
    assert browser.evaluate("document.querySelectorAll('.augmented img').length") == 6
    assert browser.evaluate("document.documentElement.scrollWidth") <= 390
    assert "flip, cutout:8" in browser.text()
    assert (write([directory], tmp_path / "png", "png", None) / "augmented.png").exists()
