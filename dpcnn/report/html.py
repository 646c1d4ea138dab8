"""How values become HTML: the templates, and the text that a value is shown as."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from dpcnn.options import OPTIONS
from dpcnn.report.figures import Figures
from dpcnn.report.files import as_line
from dpcnn.report.style import svg

# Control characters, which HTML does not allow, but for the line break and the tab.
CONTROLS = {*range(32), *range(127, 160)} - {ord("\n"), ord("\t")}
OPTION = re.compile(r"--\w{1,20}\b")


def render(template: str, figures: Figures, **values: Any) -> str:
    """Return the page that a template makes of figures and other values."""
    return TEMPLATES.get_template(template).render(
        figures={name: svg(figure, name) for name, figure in figures.items()},
        now=f"{datetime.now(UTC):%d %B %Y, %H:%M} UTC",
        **values,
    )


def printable(value: object) -> object:
    """Return a value that a template is about to show as text that is valid in HTML and UTF-8."""
    if isinstance(value, Markup):
        return value
    encodable = str(value).encode(errors="replace").decode()
    return encodable.translate(dict.fromkeys(CONTROLS, "\N{REPLACEMENT CHARACTER}"))


def formatted(value: float, form: str) -> str:
    """Return a number as text, NaN as a dash."""
    return "-" if math.isnan(value) else form.format(value)


def unbroken(text: str) -> Markup:
    """Return text as HTML in which the name of an option is not broken after its hyphens."""
    escaped = str(escape(printable(text)))  # a Markup would escape what takes an option's place
    return Markup(OPTION.sub(r'<span class="unbroken">\g<0></span>', escaped))


def extent(shape: Iterable[int]) -> str:
    """Return a shape as text that stays on one line."""
    return "\N{NO-BREAK SPACE}x\N{NO-BREAK SPACE}".join(map(str, shape))


def option_texts(options: dict[str, Any]) -> dict[str, str]:
    """Return options as they would be given on the command line: value by --name."""
    texts = {}
    for name, value in options.items():
        none_word = OPTIONS[name].none_word if name in OPTIONS else "none"
        texts[f"--{name}"] = none_word if value is None else as_line(value)
    return texts


def flattened(value: Any, name: str = "") -> dict[str, str]:
    """Return nested objects as one: text by dotted name."""
    if not isinstance(value, dict):
        return {name: as_line(value)}
    parts = (flattened(value[key], f"{name}.{key}".lstrip(".")) for key in value)
    return {key: line for part in parts for key, line in part.items()}


# Whatever a template shows is escaped, unless it is Markup.
TEMPLATES = Environment(
    loader=PackageLoader("dpcnn.report"),
    autoescape=True,
    finalize=printable,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
TEMPLATES.filters |= {"extent": extent, "unbroken": unbroken}
TEMPLATES.filters |= {"thousands": "{:,}".format, "percent": "{:.1%}".format}
