"""How a run stands: its newest numbers, why it has failed, or where it is and when it may end."""

from __future__ import annotations

import contextlib
import math
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np

from dpcnn.report.curves import time_unit
from dpcnn.report.files import as_line
from dpcnn.report.history import as_time
from dpcnn.report.html import formatted
from dpcnn.report.run import Run, number

MOMENT = "%d %B %Y, %H:%M:%S UTC"
LONGEST = 600  # characters of a reason


def newest(run: Run) -> dict[str, str]:
    """Return the numbers of a run's newest epoch as text, by name; a dash for what is not known."""
    last = run.metrics[-1] if run.metrics else {}
    seconds = float(run.seconds[-1]) if run.metrics else math.nan
    unit, symbol = time_unit(seconds)
    epochs = as_line(run.options.get("epochs"))
    return {
        "test accuracy": formatted(100 * number(last.get("test_accuracy")), "{:.2f}%"),
        "test loss": formatted(number(last.get("test_loss")), "{:.4f}"),
        "epochs": formatted(number(last.get("epoch")), "{:.0f}") + f" of {epochs}",
        "ranks": formatted(number(last.get("world_size")), "{:.0f}"),
        "training time": formatted(seconds / unit, "{:.1f} " + symbol),
        "images/s": formatted(number(last.get("images_per_second")), "{:,.0f}"),
    }


@dataclass(frozen=True)
class Whereabouts:
    """Where a run at work is: in words, the share of it that is done, and the end expected."""

    words: str
    share: float
    outlook: str


def why_failed(run: Run) -> list[str]:
    """Return why a run has failed, in sentences; empty unless it has."""
    if run.status.kind != "bad":
        return []
    last = run.sessions[-1].of_kind("divergence") if run.sessions else []
    reasons = [f"Diverged: {as_line(event.values.get('error'))}" for event in last]
    if not reasons and run.exit_code is not None:
        reasons = [f"{name}: {text}" for name, text in _last_lines(run).items() if text]
    if not reasons and run.exit_code is None:
        reasons = ["No end is recorded: its processes were killed, or their machine went down."]
    if not reasons:
        reasons = ["The run directory does not say why: see what the run has printed."]
    return [reason[:LONGEST] for reason in reasons]


def _last_lines(run: Run) -> dict[str, str]:
    """Return the last line of each traceback, which names the error, by what left it."""
    lines: dict[str, str] = {}
    for name, text in run.errors.items():
        rank = name.removeprefix("errors/").removesuffix(".txt").replace("-", " ")
        written = [line for line in text.splitlines() if line.strip()]
        if written and written[-1] not in lines.values():
            lines[rank] = written[-1]
    return lines


def whereabouts(run: Run) -> Whereabouts | None:
    """Return where a run at work is, None of a run that is not."""
    if not run.running:
        return None
    step, total = run.last_step, _total(run)
    epochs_done = [number(line.get("epoch")) for line in (*run.metrics[-1:], *run.steps[-1:])]
    epoch = float(np.nanmax([0.0, *epochs_done]))
    epochs = as_line(run.options.get("epochs"))
    time = _newest_time(run)
    words = f"Step {step:,}" + (f" of {total:,.0f}" if math.isfinite(total) else "")
    words += f", {epoch:.{2 if epoch % 1 else 0}f} of {epochs} epochs"
    words += f", as of {time:{MOMENT}}" if time else ""
    share = min(step / total, 1.0) if math.isfinite(total) and total > 0 else 0.0
    return Whereabouts(words, share, _outlook(run, step, total, time))


def _total(run: Run) -> float:
    """Return how many steps the run is to have, NaN if that is not known."""
    if run.steps:
        return number(run.steps[-1].get("of"))
    if not run.metrics:
        return math.nan
    last = run.metrics[-1]
    steps = number(last.get("step")) / max(number(last.get("epoch")), 1.0)
    most = number(run.options.get("max_steps"))
    return float(np.nanmin([number(run.options.get("epochs")) * steps, most]))


def _newest_time(run: Run) -> datetime | None:
    """Return when something was recorded last."""
    points = [as_time(point.get("time")) for point in run.steps[-1:]]
    events = [event.time for event in (run.sessions[-1].events if run.sessions else [])]
    return max((time for time in points + events if time), default=None)


def _outlook(run: Run, step: float, total: float, time: datetime | None) -> str:
    """Return how long the rest takes at the pace so far, "" if that is not known."""
    pace = _seconds_a_step(run)
    left = pace * (total - step)
    if not math.isfinite(left) or left < 0 or left > 1e8:
        return ""
    end = ""
    with contextlib.suppress(OverflowError):  # a time of the year 9999
        end = f", until about {time + timedelta(seconds=left):%H:%M UTC}" if time else ""
    return f"About {duration(left)} left then{end}."


def _seconds_a_step(run: Run) -> float:
    """Return the seconds of a step with its share of evaluations, NaN if that is not known."""
    if run.metrics:
        return float(run.seconds[-1]) / max(number(run.metrics[-1].get("step")), 1.0)
    if len(run.steps) < 2:
        return math.nan
    first, last = run.steps[0], run.steps[-1]
    times = [as_time(point.get("time")) for point in (first, last)]
    made = number(last.get("step")) - number(first.get("step"))
    if times[0] is None or times[1] is None or not made > 0:
        return math.nan
    return (times[1] - times[0]).total_seconds() / made


def duration(seconds: float) -> str:
    """Return a time as a person would say it."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes / 60:.1f} h"
