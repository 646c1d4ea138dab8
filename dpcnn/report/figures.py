"""Figures in one style, as SVG that follows the page's colours, or as PNG.

A figure is drawn in the light colours below. In an SVG they are replaced by the page's variables
of the same names, so that one drawing is right on light and dark.
"""

from __future__ import annotations

import base64
import contextlib
import io
import re
import warnings
from collections.abc import Callable, Iterator
from html import escape
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import imsave
from numpy.typing import NDArray

Array = NDArray[Any]

WIDTH = 4.4  # inches: a column of the page, which shows it a little larger
PNG_DPI = 200
LONGEST = 20  # characters of a name in a chart

# Okabe and Ito, "Color Universal Design", 2008; and the colours of text and lines.
BLUE, ORANGE, GREEN, VERMILLION = "#0072b2", "#e69f00", "#009e73", "#d55e00"
PURPLE, SKY = "#cc79a7", "#56b4e9"
INK, MUTED, LINE, FAINT = "#1b1e23", "#5b626b", "#d9dde2", "#a5acb5"
COLORS = {
    "blue": BLUE, "orange": ORANGE, "green": GREEN, "vermillion": VERMILLION, "purple": PURPLE,
    "sky": SKY, "ink": INK, "muted": MUTED, "line": LINE, "faint": FAINT,
}  # fmt: skip
SERIES = (BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY, MUTED)

STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "dpcnn",
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
    "mathtext.default": "regular",
    "text.parse_math": False,  # a $ in the name of a run is a $
}


@contextlib.contextmanager
def _style() -> Iterator[None]:
    """Draw in this style, whatever the user's own settings are.

    Silently: a page shows names whose letters are not in the font, and numbers that are too large
    for a chart are the run's matter.
    """
    with matplotlib.rc_context(), warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(STYLE)
        yield


def short(name: str) -> str:
    """Return the end of a name that is too long for a chart."""
    return name if len(name) <= LONGEST else f"...{name[-LONGEST:]}"


def drawn(draw: Callable[[], Figure]) -> Figure:
    """Return the figure of `draw` in this style."""
    with _style():
        return draw()


def axes(height: float, title: str, xlabel: str = "", ylabel: str = "") -> tuple[Figure, Axes]:
    """Return a figure of one column with one chart; height in inches."""
    figure = Figure(figsize=(WIDTH, height))
    chart: Axes = figure.subplots()
    chart.set_title(title)
    chart.set_xlabel(xlabel)
    chart.set_ylabel(ylabel)
    return figure, chart


def svg(figure: Figure, name: str) -> str:
    """Return a figure as an SVG element for a page; `name` keeps its ids apart from others'."""
    with _style():
        out = io.StringIO()
        metadata = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(out, format="svg", transparent=True, metadata=metadata)
    text = out.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>\s*", "", text, flags=re.DOTALL)
    text = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{name}-", text)
    text = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", text, count=1)
    title = escape(figure.get_suptitle() or figure.axes[0].get_title(loc="left"))
    described = rf'\1 role="img" aria-label="{title}"'
    text = re.sub(r'(<svg[^>]*?) height="[^"]*"', described, text, count=1)
    text = text.replace("'DejaVu Sans'", "var(--font)")
    for variable, color in COLORS.items():
        text = text.replace(color, f"var(--{variable})")
    return text


def png(figure: Figure) -> bytes:
    """Return a figure as the bytes of a PNG file, on white."""
    with _style():
        out = io.BytesIO()
        figure.savefig(out, format="png", dpi=PNG_DPI, facecolor="white")
    return out.getvalue()


def data_url(pixels: Array) -> str:
    """Return an image (H, W), (H, W, 3) or (H, W, 4), uint8, as a data: URL."""
    out = io.BytesIO()
    gray = np.repeat(pixels[:, :, None], 3, axis=2) if pixels.ndim == 2 else pixels
    imsave(out, np.ascontiguousarray(gray), format="png")
    return "data:image/png;base64," + base64.b64encode(out.getvalue()).decode()
