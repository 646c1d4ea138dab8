"""What the pages of one run and of several have in common."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from dpcnn.options import OPTIONS
from dpcnn.report import charts
from dpcnn.report.facts import Run, number
from dpcnn.report.figures import drawn, svg
from dpcnn.report.html import Content, Markup, tag
from dpcnn.system.text import one_line

# Nothing is loaded and nothing is run, whatever a file of the run may hold.
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def document(title: str, *content: Content) -> str:
    """Return a whole HTML file."""
    style = Markup(Path(__file__).with_name("page.css").read_text())
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", http_equiv="Content-Security-Policy", content=POLICY),
        tag("link", rel="icon", href="data:,"),
        tag("title", title),
        tag("style", style),
    )
    return "<!DOCTYPE html>\n" + tag("html", head, tag("body", *content), lang="en") + "\n"


def chart(draw: Callable[[], Figure], name: str, caption: Content) -> Markup:
    """Return a drawing with its caption."""
    return tag("figure", Markup(svg(drawn(draw), name)), tag("figcaption", caption), id=name)


def badge(run: Run) -> Markup:
    """Return how the run stands."""
    words = run.status()
    kind = {"done": "good", "at work": "busy"}.get(words, "bad")
    return tag("span", words, class_=f"badge {kind if not words.startswith('stopped') else ''}")


def table(rows: Iterable[tuple[Content, Content]]) -> Markup:
    """Return a table of facts: name and value."""
    body = [tag("tr", tag("th", name, scope="row"), tag("td", value)) for name, value in rows]
    return tag("table", tag("tbody", body))


def key_figures(run: Run) -> list[tuple[str, str]]:
    """Return the figures that matter most: name and value."""
    last = run.metrics[-1] if run.metrics else {}
    seconds = float(run.seconds[-1]) if run.metrics else math.nan
    asked = one_line(run.options.get("epochs", "?"))
    unit, symbol = charts.time_unit(0 if math.isnan(seconds) else seconds)
    return [
        ("test accuracy", formatted(number(last.get("test_accuracy")) * 100, "{:.2f} %")),
        ("test loss", formatted(number(last.get("test_loss")), "{:.4f}")),
        ("epochs", formatted(number(last.get("epoch")), "{:.0f}") + f" of {asked}"),
        ("ranks", formatted(number(last.get("world_size")), "{:.0f}")),
        ("time of training", formatted(seconds / unit, "{:.1f} " + symbol)),
        ("images a second", formatted(number(last.get("images_per_second")), "{:,.0f}")),
    ]


def missing(texts: list[str]) -> Markup | None:
    """Return what could not be shown, and why."""
    if not texts:
        return None
    items = [tag("li", each) for each in texts]
    return tag("div", tag("b", "Not everything could be read"), tag("ul", items), class_="note")


def flat(value: Any, name: str = "") -> dict[str, str]:
    """Return nested facts as words by dotted name."""
    if isinstance(value, dict):
        return {
            key: words
            for inner, each in value.items()
            for key, words in flat(each, f"{name}.{inner}".lstrip(".")).items()
        }
    if isinstance(value, list):
        return {name: one_line(", ".join(str(each) for each in value))}
    return {name: "-" if value is None else one_line(value)}


def option_word(name: str, value: Any) -> str:
    """Return an option's value as it is given on the command line."""
    nothing = OPTIONS[name].none_word if name in OPTIONS else ""
    return nothing if value is None and nothing else one_line(value)


def formatted(value: float, form: str) -> str:
    """Return a number in words, a dash for NaN."""
    return "-" if math.isnan(value) else form.format(value)


def extent(shape: Iterable[int]) -> str:
    """Return a shape in words that stay on one line."""
    return "\N{NO-BREAK SPACE}x\N{NO-BREAK SPACE}".join(map(str, shape))


def foot() -> Markup:
    """Return the last line of a page."""
    now = datetime.now(UTC)
    return tag("p", f"Made with dpcnn.report on {now:%d %B %Y, %H:%M} UTC.", class_="muted")
