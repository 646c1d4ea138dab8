"""What is measured, round by round: every configuration once a round, in a process of its own."""

from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from typing import Any

from tqdm import tqdm

from dpcnn.errors import DpcnnError

SECONDS = 1.0  # of training in one measurement, about
SLOWEST = 100e-6  # seconds an image that this many steps are reckoned with
DISTURBED = 0.05  # of all cores, taken by other programs
PROC_STAT = Path("/proc/stat")

Figures = dict[str, Any]


class MeasurementError(DpcnnError):
    """A measurement that did not end as it should."""


@dataclass(frozen=True)
class Configuration:
    """What is measured: its name in the table, minibatch, and how it is started."""

    name: str
    minibatch: int
    ranks: int
    command: tuple[str, ...]


def steps(minibatch: int, asked: int | None) -> int:
    """Return how many steps a measurement makes: as many as asked, else about a second of them."""
    return asked or max(5, round(SECONDS / (minibatch * SLOWEST)))


def python(mpirun: str | None, ranks: int, module: str, *arguments: str) -> tuple[str, ...]:
    """Return the command that runs a module on so many ranks, without mpirun on one."""
    start = () if ranks == 1 else (str(mpirun), "-n", str(ranks))
    return (*start, sys.executable, "-m", module, *arguments)


def measure(configurations: Sequence[Configuration], rounds: int) -> list[list[Figures]]:
    """Return the figures of every configuration, round by round."""
    bar = tqdm(total=rounds * len(configurations), disable=not sys.stderr.isatty(), leave=False)
    with bar:
        return [[_figures(each, bar) for each in configurations] for _ in range(rounds)]


def _figures(configuration: Configuration, bar: Any) -> Figures:
    """Run one measurement; return the JSON of its last line, and the share of `others`."""
    bar.set_description(f"{configuration.name}, minibatch {configuration.minibatch}")
    before = time.monotonic(), _busy_seconds(), _own_seconds()
    result = subprocess.run(
        configuration.command, capture_output=True, text=True, stdin=subprocess.DEVNULL
    )
    elapsed, busy, own = (
        now - then
        for now, then in zip(
            (time.monotonic(), _busy_seconds(), _own_seconds()), before, strict=True
        )
    )
    bar.update()
    lines = result.stdout.strip().splitlines()
    if result.returncode != 0 or not lines:
        said = " ".join(result.stderr.split())[-300:]
        raise MeasurementError(f"{' '.join(configuration.command)} ended badly: {said}")
    figures: Figures = json.loads(lines[-1])
    return figures | {"others": max(0.0, busy - own) / elapsed / (os.cpu_count() or 1)}


def _busy_seconds() -> float:
    """Return the seconds that all processors together have not been idle, by Linux's count."""
    user, nice, system, _idle, _waiting, *more = map(int, PROC_STAT.read_text().split()[1:9])
    return (user + nice + system + sum(more)) / os.sysconf("SC_CLK_TCK")


def _own_seconds() -> float:
    """Return the seconds of processors that this process and all it has started took."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


def quiet(rounds: list[list[Figures]]) -> list[list[Figures]]:
    """Return for each configuration the figures that other programs disturbed least.

    In other words rounds, as many as every configuration has with others below DISTURBED, at
    least one.
    """
    by_configuration = [
        sorted(each, key=itemgetter("others")) for each in zip(*rounds, strict=True)
    ]
    undisturbed = min(
        sum(figures["others"] < DISTURBED for figures in each) for each in by_configuration
    )
    return [list(each) for each in zip(*by_configuration, strict=True)][: max(1, undisturbed)]


def medians_of(rounds: list[list[Figures]]) -> list[Figures]:
    """Return the median over the rounds of each number of each configuration."""
    return [
        {
            name: statistics.median(each[name] for each in figures)
            for name, value in figures[0].items()
            if not isinstance(value, str)
        }
        for figures in zip(*rounds, strict=True)
    ]


def write_json(
    path: Path, configurations: Sequence[Configuration], rounds: list[list[Figures]]
) -> None:
    """Write every measurement."""
    report = [
        {"name": c.name, "minibatch": c.minibatch, "ranks": c.ranks, "rounds": list(each)}
        for c, each in zip(configurations, zip(*rounds, strict=True), strict=True)
    ]
    path.write_text(json.dumps(report, indent=2) + "\n")
