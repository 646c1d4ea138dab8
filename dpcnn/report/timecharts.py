"""The charts of where the time went: of every rank's epochs, and of the run's history."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from dpcnn.report.charts import time_unit
from dpcnn.report.facts import Run, number
from dpcnn.report.figures import (
    BLUE,
    FAINT,
    GREEN,
    INK,
    MUTED,
    ORANGE,
    PURPLE,
    SKY,
    VERMILLION,
    WIDTH,
    axes,
    short,
)
from dpcnn.report.history import Event, Session
from dpcnn.system.text import one_line

Array = NDArray[Any]

SHARES = {
    "compute_seconds": ("computing", BLUE),
    "communication_seconds": ("communication", ORANGE),
    "waiting_seconds": ("waiting", SKY),
    "evaluation_seconds": ("evaluation", GREEN),
    "saving_seconds": ("saving", PURPLE),
    "rest": ("rest", FAINT),
}
RANKS = 8  # that are drawn
BARS = 30  # epochs that are drawn as bars
SESSIONS = 12  # that are drawn

MARKS = {"death": ("X", VERMILLION), "kill": ("X", VERMILLION), "stop": ("s", ORANGE)}
MARKS |= {"divergence": ("X", VERMILLION), "end": ("o", GREEN)}


def ranks(run: Run) -> list[int]:
    """Return the ranks that the metrics tell of."""
    return sorted({member["rank"] for line in run.metrics for member in _members(line)})


def shares(run: Run) -> dict[int, tuple[str, Array]]:
    """Return the host of each rank that is drawn, and its seconds (6, epochs) as in SHARES."""
    found = {rank: ("", np.zeros((len(SHARES), len(run.metrics)))) for rank in ranks(run)[:RANKS]}
    for at, line in enumerate(run.metrics):
        for member in _members(line):
            if member["rank"] not in found:
                continue
            _, seconds = found[member["rank"]]
            spent = np.nan_to_num([number(member.get(key)) for key in [*SHARES][:-1]])
            rest = max(0.0, np.nan_to_num(number(member.get("seconds"))) - spent.sum())
            seconds[:, at] = np.clip([*spent, rest], 0, None)
            found[member["rank"]] = one_line(member.get("host")), seconds
    return found


def _members(line: dict[str, Any]) -> list[dict[str, Any]]:
    """Return what a line of metrics says of its ranks, as far as they have a number."""
    members = line.get("ranks")
    found = [each for each in members if isinstance(each, dict)] if type(members) is list else []
    return [each for each in found if type(each.get("rank")) is int and each["rank"] >= 0]


def spending(run: Run) -> Figure:
    """Draw the time of each epoch, split into what each rank spent it on."""
    found = shares(run).items()
    height = 1.25 + 0.85 * len(found)
    figure = Figure(figsize=(WIDTH, height))
    charts = figure.subplots(len(found), 1, sharex=True, sharey=True, squeeze=False)[:, 0]
    for chart, (rank, (host, seconds)) in zip(charts, found, strict=True):
        total = max(seconds.sum(), 1e-9)
        largest = np.argsort(-seconds.sum(axis=1))[:2]
        words = [f"{[*SHARES.values()][at][0]} {seconds[at].sum() / total:.0%}" for at in largest]
        chart.set_title(f"rank {rank} on {short(host)}", fontsize=8.5, pad=4)
        chart.set_title(", ".join(words), loc="right", fontsize=8, pad=4, fontweight="normal")
        colors = [color for _, color in SHARES.values()]
        if seconds.shape[1] > BARS:
            chart.stackplot(run.epochs, seconds, colors=colors, linewidth=0)
        else:
            floor = np.zeros(seconds.shape[1])
            for values, color in zip(seconds, colors, strict=True):
                if values.any():
                    chart.bar(run.epochs, values, 0.8, floor, color=color)
                floor = floor + values
        chart.grid(axis="y")
        chart.yaxis.set_major_locator(MaxNLocator(3))
    charts[-1].set_xlabel("epoch")
    charts[-1].xaxis.set_major_locator(MaxNLocator(10, integer=True))
    figure.supylabel("seconds an epoch", fontsize=8.5, color=MUTED)
    title = "What every rank spent its time on"
    figure.suptitle(title, x=0.01, ha="left", fontsize=9.5, fontweight="bold")
    handles = [Patch(color=color, label=name) for name, color in SHARES.values()]
    figure.legend(
        handles=handles, loc="outside lower left", ncols=3, frameon=False, handlelength=0.9,
        columnspacing=1.6, fontsize=8,
    )  # fmt: skip
    return figure


def moments(run: Run) -> list[list[Event]]:
    """Return what is worth a line of each session: all but its epochs, and how it broke off."""
    found = []
    for at, session in enumerate(run.sessions):
        shown = [event for event in session.events if event.kind != "epoch"]
        last = at == len(run.sessions) - 1
        if not session.ended and not (last and run.working):
            known = [event.step for event in session.events if event.step is not None]
            facts = {"step": max(known, default=0)}
            shown.append(Event("kill", session.seen, facts))
        found.append(shown)
    return found


def timeline(run: Run) -> Figure:
    """Draw the sessions one under the other, along the time that the run was at work."""
    first = max(0, len(run.sessions) - SESSIONS)
    shown = run.sessions[first:]
    numbers = np.cumsum([0, *map(len, moments(run))])
    lengths = [_length(session, run) for session in shown]
    unit, symbol = time_unit(sum(lengths))
    title = "Starts, ends and what came between"
    figure, chart = axes(1.15 + 0.42 * len(shown), title, f"time at work ({symbol})")
    start = 0.0
    for row, (session, length) in enumerate(zip(shown, lengths, strict=True)):
        chart.barh(row, length / unit, 0.36, start / unit, color=BLUE, alpha=0.3)
        _draw_session(chart, row, start, unit, session)
        number = int(numbers[first + row])
        for offset, event in enumerate(moments(run)[first + row]):
            at = (start + _seconds(session, event)) / unit
            marker, color = MARKS.get(event.kind, (">", BLUE))
            chart.plot([at], [row], marker, color=color, markersize=7, clip_on=False, zorder=4)
            raised = (0, 8 if offset % 2 == 0 else -15)
            chart.annotate(
                str(number + offset + 1), (at, row), raised, textcoords="offset points",
                ha="center", fontsize=7.5, color=INK, annotation_clip=False,
            )  # fmt: skip
        start += length
    chart.set_ylim(len(shown) - 0.3, -0.7)
    chart.set_yticks([])
    chart.spines["left"].set_visible(False)
    chart.margins(x=0.03)
    return figure


def _draw_session(chart: Any, row: int, start: float, unit: float, session: Session) -> None:
    """Mark the ends of its epochs."""
    ticks = [
        (start + _seconds(session, event)) / unit
        for event in session.events
        if event.kind == "epoch"
    ]
    chart.vlines(ticks, row - 0.18, row + 0.18, color=BLUE, linewidth=1.2, zorder=3)


def _length(session: Session, run: Run) -> float:
    """Return the seconds from the first to the last sign of a session."""
    if session.begun is None or session.seen is None:
        return 0.0
    alive = run.working and session is run.sessions[-1]
    return max(
        0.0, ((datetime.now(UTC) if alive else session.seen) - session.begun).total_seconds()
    )


def _seconds(session: Session, event: Event) -> float:
    """Return when an event came, in seconds since the session began."""
    if event.time is None or session.begun is None:
        return 0.0
    return max(0.0, (event.time - session.begun).total_seconds())
