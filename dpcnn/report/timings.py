"""Figures of time: what each rank spent an epoch on, and the sessions of a run."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count, cycle
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from dpcnn.report import style
from dpcnn.report.curves import time_unit
from dpcnn.report.files import as_line
from dpcnn.report.history import Event, Session
from dpcnn.report.run import Run, number
from dpcnn.report.style import WIDTH, axes

Array = NDArray[Any]

PARTS = {
    "compute_seconds": ("computing", style.BLUE),
    "communication_seconds": ("communication", style.ORANGE),
    "waiting_seconds": ("waiting", style.SKY),
    "evaluation_seconds": ("evaluation", style.GREEN),
    "saving_seconds": ("saving", style.PURPLE),
    "other": ("other", style.FAINT),
}
RANKS = 8  # that are drawn
HOST = 15  # characters of a host's name
BARS = 30  # epochs up to which each is a bar
SESSIONS = 12  # that are drawn, the newest
MARKERS = {
    "death": ("X", style.VERMILLION),
    "interruption": ("X", style.VERMILLION),
    "divergence": ("X", style.VERMILLION),
    "stop": ("s", style.ORANGE),
    "end": ("o", style.GREEN),
}


@dataclass
class RankTimings:
    """The seconds (parts, epochs) that a rank spent on each of PARTS, and its host."""

    seconds: Array
    host: str = ""


def rank_numbers(run: Run) -> list[int]:
    """Return the ranks that the metrics name."""
    return sorted({line["rank"] for epoch in run.metrics for line in _rank_lines(epoch)})


def rank_timings(run: Run) -> dict[int, RankTimings]:
    """Return the timings of the ranks that are drawn."""
    of_ranks = {
        rank: RankTimings(np.zeros((len(PARTS), len(run.metrics))))
        for rank in rank_numbers(run)[:RANKS]
    }
    *keys, _ = PARTS
    for column, epoch in enumerate(run.metrics):
        for line in _rank_lines(epoch):
            if line["rank"] in of_ranks:
                parts = np.nan_to_num([number(line.get(key)) for key in keys])
                other = np.nan_to_num(number(line.get("seconds"))) - parts.sum()
                timing = of_ranks[line["rank"]]
                timing.seconds[:, column] = np.clip([*parts, other], 0, None)
                timing.host = as_line(line.get("host"))
    return of_ranks


def _rank_lines(epoch: dict[str, Any]) -> list[dict[str, Any]]:
    """Return what a line of metrics says of each rank that it numbers."""
    lines = epoch.get("ranks")
    objects = [line for line in lines if isinstance(line, dict)] if isinstance(lines, list) else []
    return [line for line in objects if type(line.get("rank")) is int and line["rank"] >= 0]


def timings(run: Run) -> Figure:
    """Draw the time of each epoch, split into what each rank spent it on."""
    of_ranks = rank_timings(run)
    figure = Figure(figsize=(WIDTH, 1.25 + 0.85 * len(of_ranks)))
    charts = figure.subplots(len(of_ranks), 1, sharex=True, sharey=True, squeeze=False)[:, 0]
    for chart, (rank, timing) in zip(charts, of_ranks.items(), strict=True):
        more = "..." if len(timing.host) > HOST else ""
        chart.set_title(f"rank {rank} on {timing.host[:HOST]}{more}", fontsize=8.5, pad=4)
        chart.set_title(_largest_parts(timing), loc="right", fontsize=8, pad=4, fontweight="normal")
        _stack(chart, run.epochs, timing.seconds)
        chart.grid(axis="y")
        chart.yaxis.set_major_locator(MaxNLocator(3))
    charts[-1].set_xlabel("epoch")
    charts[-1].xaxis.set_major_locator(MaxNLocator(10, integer=True))
    figure.supylabel("seconds per epoch", fontsize=8.5, color=style.MUTED)
    ranks = len(rank_numbers(run))
    title = "Time per rank" + f": the first {RANKS} of {ranks} ranks" * (ranks > RANKS)
    figure.suptitle(title, x=0.01, ha="left", fontsize=9.5, fontweight="bold")
    figure.legend(
        handles=[Patch(color=color, label=name) for name, color in PARTS.values()],
        loc="outside lower left", ncols=3, frameon=False, handlelength=0.9, columnspacing=1.6,
        fontsize=8,
    )  # fmt: skip
    return figure


def _largest_parts(timing: RankTimings) -> str:
    """Name the two parts that took longest, with their shares of the whole."""
    sums = timing.seconds.sum(axis=1)
    names = [name for name, _ in PARTS.values()]
    largest = np.argsort(-sums)[:2]
    return ", ".join(f"{names[part]} {sums[part] / max(sums.sum(), 1e-9):.0%}" for part in largest)


def _stack(chart: Axes, epochs: Array, seconds: Array) -> None:
    """Draw seconds (parts, epochs) over each other: as bars, or as areas for many epochs."""
    colors = [color for _, color in PARTS.values()]
    if len(epochs) > BARS:
        chart.stackplot(epochs, seconds, colors=colors, linewidth=0)
        return
    floor = np.zeros(len(epochs))
    for heights, color in zip(seconds, colors, strict=True):
        if heights.any():
            chart.bar(epochs, heights, 0.8, floor, color=color)
        floor = floor + heights


def timeline(run: Run) -> Figure:
    """Draw the sessions one below the other, along the time that the run was running."""
    skipped = max(0, len(run.sessions) - SESSIONS)
    shown = run.sessions[skipped:]
    unit, symbol = time_unit(sum(session.seconds for session in shown))
    title = "Timeline" + f": the last {SESSIONS} starts of {len(run.sessions)}" * (skipped > 0)
    figure, chart = axes(1.15 + 0.42 * len(shown), title, f"running time ({symbol})")
    numbers = count(1 + sum(len(session.milestones) for session in run.sessions[:skipped]))
    start = 0.0
    for row, session in enumerate(shown):
        _draw_session(chart, row, session, start, unit, numbers)
        start += session.seconds
    chart.set_ylim(len(shown) - 0.3, -0.7)
    chart.set_yticks([])
    chart.spines["left"].set_visible(False)
    chart.margins(x=0.03)
    return figure


def _marker(event: Event) -> tuple[str, str]:
    """Return the form and the colour of a milestone's marker: an end is only good without error."""
    code = event.values.get("exit_code")
    kind = event.kind
    if kind == "end" and code != 0:
        kind = "stop" if number(code) > 128 else "death"
    return MARKERS.get(kind, (">", style.BLUE))


def _draw_session(
    chart: Axes, row: int, session: Session, start: float, unit: float, numbers: Iterator[int]
) -> None:
    """Draw a bar with a line at the end of each epoch and a numbered marker at each milestone."""
    chart.barh(row, session.seconds / unit, 0.36, start / unit, color=style.BLUE, alpha=0.3)
    ends = [start + session.seconds_until(event.time) for event in session.of_kind("epoch")]
    limits = row - 0.18, row + 0.18
    chart.vlines(np.divide(ends, unit), *limits, color=style.BLUE, linewidth=1.2, zorder=3)
    for offset, event in zip(cycle([8, -15]), session.milestones, strict=False):
        x = (start + session.seconds_until(event.time)) / unit
        marker, color = _marker(event)
        chart.plot(x, row, marker, color=color, markersize=7, clip_on=False, zorder=4)
        chart.annotate(
            f"{next(numbers)}", (x, row), (0, offset), textcoords="offset points", ha="center",
            fontsize=7.5, color=style.INK, annotation_clip=False,
        )  # fmt: skip
