"""Runs the measurements: each round starts every configuration once, in a new process."""

from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from operator import itemgetter
from pathlib import Path
from typing import Any

from tqdm import tqdm

from dpcnn.bench.workload import Workload
from dpcnn.errors import DpcnnError

DISTURBED = 0.05  # share of all cores used by other programs
LOOK = 0.5  # seconds for which other programs are looked at before the first measurement
SLOWER = 1.05  # times as long as the best variant: measured no more
PROC_STAT = Path("/proc/stat")

Figures = dict[str, Any]


class MeasurementError(DpcnnError):
    """A measurement failed."""


@dataclass(frozen=True)
class Configuration:
    """One thing to measure: its name in the table, the workload, ranks, and the command to run.

    variant: which of several ways to do the same this is; only the best of them counts.
    environment: variables of the process.
    """

    name: str
    workload: Workload
    ranks: int
    command: tuple[str, ...]
    variant: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def key(self) -> tuple[Workload, str]:
        """What the variants of the same thing share."""
        return self.workload, self.name

    def __str__(self) -> str:
        variant = f" ({self.variant})" if self.variant else ""
        return f"{self.workload}: {self.name}{variant}"


@dataclass
class Measurement:
    """A configuration and its figures of each round."""

    configuration: Configuration
    rounds: list[Figures] = field(default_factory=list)

    @property
    def medians(self) -> Figures:
        """The medians over the rounds."""
        return medians(self.rounds)


def python(mpirun: str | None, ranks: int, module: str, *arguments: str) -> tuple[str, ...]:
    """Return the command that runs a module on this many ranks; on one, without mpirun."""
    start = () if ranks == 1 else (str(mpirun), "-n", str(ranks))
    return (*start, sys.executable, "-m", module, *arguments)


class Progress:
    """Says on standard error what is measured, a bar on a terminal and lines elsewhere; warns once.

    total: measurements there are to make, as far as that is known, a_round: those of a round.
    """

    def __init__(self, total: int, a_round: int) -> None:
        self.total, self.a_round, self.count, self.warned = total, a_round, 0, False
        rounds = f"{total // a_round} round{'s' * (total > a_round)}"
        each = f"{a_round} measurement{'s' * (a_round > 1)}"
        self.line(f"{rounds} of {each}, each in a new process")
        self.bar = tqdm(total=total, disable=not sys.stderr.isatty(), leave=False)
        self.started = time.monotonic()

    def begin(self, configuration: Configuration) -> None:
        """Say what is measured now."""
        self.count += 1
        self.bar.total = self.total
        self.bar.set_description(str(configuration))
        if self.bar.disable:
            self.line(f"{self.count}/{self.total}{self._left()} {configuration}")

    def _left(self) -> str:
        """Return how long it will take, once a round has shown that."""
        done = self.count - 1
        if done < self.a_round:
            return ""
        seconds = (time.monotonic() - self.started) / done * (self.total - done)
        return f" ({seconds:.0f} s left)"

    def end(self, figures: Figures) -> None:
        """Count the measurement, which other programs may have disturbed."""
        self.bar.update()
        self.notice(figures["others"])

    def notice(self, others: float) -> None:
        """Warn if it is the first time that other programs use much of the machine."""
        if others >= DISTURBED and not self.warned:
            self.warned = True
            self.bar.clear()
            self.line(
                f"warning: other programs use {others:.0%} of all cores: the figures are not those"
                " of a quiet machine"
            )

    def line(self, text: str) -> None:
        """Print a line at once."""
        print(text, file=sys.stderr, flush=True)


def measure(
    configurations: Sequence[Configuration], rounds: int, environment: Mapping[str, str]
) -> list[Measurement]:
    """Return the measurements of all configurations, in their order.

    Of the variants of a thing only those go on that are not SLOWER times as slow as the best, by
    the medians so far. environment: variables of all processes.
    """
    measurements = [Measurement(configuration) for configuration in configurations]
    contenders = measurements
    progress = Progress(rounds * len(measurements), len(measurements))
    progress.notice(_others_now())
    for number in range(rounds):
        for measurement in contenders:
            progress.begin(measurement.configuration)
            measurement.rounds.append(_figures(measurement.configuration, environment))
            progress.end(measurement.rounds[-1])
        contenders = _contenders(contenders)
        progress.total = progress.count + (rounds - number - 1) * len(contenders)
    progress.bar.close()
    return measurements


def _contenders(measurements: Sequence[Measurement]) -> list[Measurement]:
    """Return the measurements without variants that are much slower than the best."""
    seconds = [
        each.medians["step_seconds"] if each.configuration.variant else 0.0 for each in measurements
    ]
    keys = [each.configuration.key for each in measurements]
    best: dict[tuple[Workload, str], float] = {}
    for key, value in zip(keys, seconds, strict=True):
        best[key] = min(value, best.get(key, value))
    return [
        each
        for each, key, value in zip(measurements, keys, seconds, strict=True)
        if value <= SLOWER * best[key]
    ]


def _figures(configuration: Configuration, environment: Mapping[str, str]) -> Figures:
    """Run one measurement; return the figures in its last line of output.

    Adds `others`: the share of all cores that other programs used meanwhile.
    """
    started = time.monotonic()
    others_before = _seconds_of_others()
    result = subprocess.run(
        configuration.command,
        env={**os.environ, **environment, **configuration.environment},
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
    )
    elapsed = time.monotonic() - started
    others = _seconds_of_others() - others_before
    lines = result.stdout.strip().splitlines()
    if result.returncode != 0 or not lines:
        end = " ".join(result.stderr.split())[-300:]
        raise MeasurementError(
            f"{' '.join(configuration.command)} failed with exit code {result.returncode}: {end}"
        )
    figures: Figures = json.loads(lines[-1])
    return figures | {"others": max(0.0, others) / elapsed / (os.cpu_count() or 1)}


def _others_now() -> float:
    """Return the share of all cores that other programs use, from a look at them."""
    before = _seconds_of_others()
    time.sleep(LOOK)
    return max(0.0, _seconds_of_others() - before) / LOOK / (os.cpu_count() or 1)


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


def quiet(measured: Sequence[Sequence[Figures]]) -> list[list[Figures]]:
    """Return each configuration's least disturbed figures, from those of all its rounds.

    As many as every configuration has figures with `others` below DISTURBED, at least one.
    """
    ordered = [sorted(rounds, key=itemgetter("others")) for rounds in measured]
    undisturbed = min(
        sum(figures["others"] < DISTURBED for figures in rounds) for rounds in ordered
    )
    return [rounds[: max(1, undisturbed)] for rounds in ordered]


def medians(rounds: Sequence[Figures]) -> Figures:
    """Return the figures of a configuration as medians over the rounds, without texts."""
    return {
        name: statistics.median(figures[name] for figures in rounds)
        for name, value in rounds[0].items()
        if not isinstance(value, str)
    }


def write_json(path: Path, measurements: Sequence[Measurement]) -> None:
    """Write all figures of every configuration to a JSON file."""
    report = []
    for configuration, rounds in ((each.configuration, each.rounds) for each in measurements):
        workload = asdict(configuration.workload)
        names = {"name": configuration.name, "variant": configuration.variant}
        report.append(names | workload | {"ranks": configuration.ranks, "rounds": rounds})
    path.write_text(json.dumps(report, indent=2) + "\n")
