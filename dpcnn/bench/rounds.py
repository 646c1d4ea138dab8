"""Runs the measurements: each round starts every configuration once, in a new process."""

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

SECONDS = 1.0  # approximate time of training in one measurement
SLOWEST = 100e-6  # seconds per image, assumed when choosing the number of steps
DISTURBED = 0.05  # share of all cores used by other programs
PROC_STAT = Path("/proc/stat")

Figures = dict[str, Any]


class MeasurementError(DpcnnError):
    """A measurement failed."""


@dataclass(frozen=True)
class Configuration:
    """One thing to measure: its name in the table, minibatch, ranks, and the command to run."""

    name: str
    minibatch: int
    ranks: int
    command: tuple[str, ...]


def steps(minibatch: int, requested: int | None) -> int:
    """Return the steps of one measurement: those requested, else enough for about a second."""
    return requested or max(5, round(SECONDS / (minibatch * SLOWEST)))


def python(mpirun: str | None, ranks: int, module: str, *arguments: str) -> tuple[str, ...]:
    """Return the command that runs a module on this many ranks; on one, without mpirun."""
    start = () if ranks == 1 else (str(mpirun), "-n", str(ranks))
    return (*start, sys.executable, "-m", module, *arguments)


def measure(configurations: Sequence[Configuration], rounds: int) -> list[list[Figures]]:
    """Return the figures of every configuration, round by round."""
    bar = tqdm(total=rounds * len(configurations), disable=not sys.stderr.isatty(), leave=False)
    with bar:
        return [
            [_figures(configuration, bar) for configuration in configurations]
            for _ in range(rounds)
        ]


def _figures(configuration: Configuration, bar: Any) -> Figures:
    """Run one measurement; return the figures in its last line of output.

    Adds `others`: the share of all cores that other programs used meanwhile.
    """
    bar.set_description(f"{configuration.name}, minibatch {configuration.minibatch}")
    started = time.monotonic()
    others_before = _seconds_of_others()
    result = subprocess.run(
        configuration.command, capture_output=True, text=True, stdin=subprocess.DEVNULL
    )
    elapsed = time.monotonic() - started
    others = _seconds_of_others() - others_before
    bar.update()
    lines = result.stdout.strip().splitlines()
    if result.returncode != 0 or not lines:
        end = " ".join(result.stderr.split())[-300:]
        raise MeasurementError(
            f"{' '.join(configuration.command)} failed with exit code {result.returncode}: {end}"
        )
    figures: Figures = json.loads(lines[-1])
    return figures | {"others": max(0.0, others) / elapsed / (os.cpu_count() or 1)}


def _seconds_of_others() -> float:
    """Return the CPU seconds that other programs have used since the machine started."""
    return _busy_seconds() - _own_seconds()


def _busy_seconds() -> float:
    """Return the seconds, summed over all cores, that Linux counts as not idle."""
    user, nice, system, _idle, _waiting, *more = map(int, PROC_STAT.read_text().split()[1:9])
    return (user + nice + system + sum(more)) / os.sysconf("SC_CLK_TCK")


def _own_seconds() -> float:
    """Return the CPU seconds of this process and of all its children that have ended."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def quiet(rounds: list[list[Figures]]) -> list[list[Figures]]:
    """Return each configuration's least disturbed figures, regrouped as rounds.

    As many rounds as every configuration has figures with `others` below DISTURBED, at least one.
    """
    by_configuration = [
        sorted(measurements, key=itemgetter("others")) for measurements in zip(*rounds, strict=True)
    ]
    undisturbed = min(
        sum(figures["others"] < DISTURBED for figures in measurements)
        for measurements in by_configuration
    )
    return list(map(list, zip(*by_configuration, strict=True)))[: max(1, undisturbed)]


def medians_of(rounds: list[list[Figures]]) -> list[Figures]:
    """Return each configuration's figures as medians over the rounds, without texts."""
    return [
        {
            name: statistics.median(figures[name] for figures in measurements)
            for name, value in measurements[0].items()
            if not isinstance(value, str)
        }
        for measurements in zip(*rounds, strict=True)
    ]


def write_json(
    path: Path, configurations: Sequence[Configuration], rounds: list[list[Figures]]
) -> None:
    """Write all figures of every configuration to a JSON file."""
    report = [
        {"name": c.name, "minibatch": c.minibatch, "ranks": c.ranks, "rounds": measurements}
        for c, measurements in zip(configurations, zip(*rounds, strict=True), strict=True)
    ]
    path.write_text(json.dumps(report, indent=2) + "\n")
