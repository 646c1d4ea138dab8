"""The look of all figures, and how they are written: as SVG in the page's colours, or as PNG.

Figures are drawn in the colours of the light page. In an SVG each of them becomes the page's CSS
variable of the same name, so that one drawing suits a light and a dark page.
"""

from __future__ import annotations

import contextlib
import io
import re
import warnings
from collections.abc import Iterator
from typing import Any
from xml.etree import ElementTree

import matplotlib
import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure

WIDTH = 4.4  # inches of a figure; a column of the page is slightly wider
DPI = 200  # of a PNG
LONGEST = 20  # characters of a name in a figure

# Okabe and Ito, "Color Universal Design", 2008; then the colours of text and lines.
BLUE = "#0072b2"
ORANGE = "#e69f00"
GREEN = "#009e73"
VERMILLION = "#d55e00"
PURPLE = "#cc79a7"
SKY = "#56b4e9"
INK = "#1b1e23"
MUTED = "#5b626b"
DEEP = "#0b4f8f"  # of the cells of a matrix: white numbers are legible on it
LINE = "#d9dde2"
FAINT = "#a5acb5"
VARIABLES = {
    BLUE: "blue", ORANGE: "orange", GREEN: "green", VERMILLION: "vermillion", PURPLE: "purple",
    SKY: "sky", INK: "ink", MUTED: "muted", LINE: "line", FAINT: "faint", DEEP: "deep",
}  # fmt: skip
SERIES = (BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY, MUTED)

RC: dict[Any, Any] = {
    "svg.fonttype": "none",  # text stays text: it can be selected and searched
    "text.parse_math": False,  # a $ in the name of a run is a $
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 9.0,
    "axes.labelcolor": MUTED,
    "axes.edgecolor": FAINT,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "text.color": INK,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "xtick.major.size": 3,
    "ytick.major.size": 0,
    "grid.color": LINE,
    "grid.linewidth": 0.7,
    "lines.linewidth": 1.8,
    "lines.markersize": 4,
    "lines.solid_capstyle": "round",
    "figure.constrained_layout.use": True,
}

SVG = "http://www.w3.org/2000/svg"
ElementTree.register_namespace("", SVG)
ElementTree.register_namespace("xlink", "http://www.w3.org/1999/xlink")


@contextlib.contextmanager
def applied() -> Iterator[None]:
    """Draw and write figures in this style inside the block, whatever the user's settings.

    Warnings are off: a name may have letters that the font lacks, and a diverged run has numbers
    that no axis can show. Neither is a reason to print anything.
    """
    with matplotlib.rc_context(), warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(RC)
        yield


def axes(height: float, title: str, xlabel: str = "", ylabel: str = "") -> tuple[Figure, Axes]:
    """Return a figure of one column and its only axes; height in inches."""
    figure = Figure(figsize=(WIDTH, height))
    chart: Axes = figure.subplots()
    chart.set_title(title)
    chart.set_xlabel(xlabel)
    chart.set_ylabel(ylabel)
    return figure, chart


def shortened(name: str, longest: int = LONGEST) -> str:
    """Return the end of a name that is too long for a figure."""
    return name if len(name) <= longest else f"...{name[-longest:]}"


def svg(figure: Figure, name: str) -> Markup:
    """Return a figure as an SVG element to place in a page.

    It has a label for screen readers and takes its colours from the page. `name`, unique in the
    page, makes its ids unique: matplotlib hashes it into those that are referred to, and the ids
    of groups, which nothing refers to, are dropped.
    """
    buffer = io.BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": name}):
        no_metadata = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(buffer, format="svg", transparent=True, metadata=no_metadata)
    root = ElementTree.fromstring(buffer.getvalue())
    root.set("role", "img")
    root.set("aria-label", figure.get_suptitle() or figure.axes[0].get_title(loc="left"))
    for element in root.iter():
        if element.tag == f"{{{SVG}}}g":
            element.attrib.pop("id", None)
        if "style" in element.attrib:
            element.set("style", re.sub("#[0-9a-f]{6}", _variable, element.attrib["style"]))
    return Markup(ElementTree.tostring(root, encoding="unicode"))


def variable(color: str) -> str:
    """Return the page's CSS variable for a colour of the light page; other colours as they are."""
    name = VARIABLES.get(color)
    return f"var(--{name})" if name else color


def _variable(color: re.Match[str]) -> str:
    return variable(color[0])


def png(figure: Figure) -> bytes:
    """Return a figure as the bytes of a PNG file, on white."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI, facecolor="white")
    return buffer.getvalue()
