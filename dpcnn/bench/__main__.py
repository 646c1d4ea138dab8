"""Measure this machine:

    python -m dpcnn.bench                    1 to n ranks, exact and fast reduction
    python -m dpcnn.bench --against torch    and PyTorch on the same cores

Every round measures every configuration once, in turn and in a process of its own, so that a
machine that changes its speed changes it for all. Figures are medians over the rounds; ratios are
medians of the ratios within a round. It starts mpirun itself.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import shutil
import statistics
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dpcnn.commandline import CommandLine
from dpcnn.errors import DpcnnError, OptionError

SECONDS = 1.0  # of training in one measurement, about
SLOWEST = 100e-6  # seconds an image that this many steps are reckoned with

# The columns of the table and their widths.
COLUMNS = {
    "img/s": 7, "us/img": 7, "step ms": 8, "effic": 6, "comp": 5, "comm": 5, "wait": 5,
    "GFLOP/s": 8, "gemm": 5, "exact": 6,
}  # fmt: skip

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


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    try:
        options = _parse(arguments)
        configurations = _configurations(options)
        rounds = _measure(configurations, options.rounds)
    except DpcnnError as error:
        print(f"dpcnn: error: {error}", file=sys.stderr)
        return error.exit_code
    medians = [_medians([each[index] for each in rounds]) for index in range(len(configurations))]
    for line in table(configurations, medians, rounds):
        print(line)
    if options.json:
        report = [
            {"name": c.name, "minibatch": c.minibatch, "ranks": c.ranks, "rounds": list(each)}
            for c, each in zip(configurations, zip(*rounds, strict=True), strict=True)
        ]
        options.json.write_text(json.dumps(report, indent=2) + "\n")
    return 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = CommandLine(
        prog="python -m dpcnn.bench", description="Measure how fast dpcnn trains on this machine."
    )
    cores = len(os.sched_getaffinity(0))
    parser.add_argument("--ranks", type=int, default=cores, help=f"at most (default: {cores})")
    parser.add_argument("--minibatch", type=int, nargs="+", default=[64, 256], metavar="N")
    parser.add_argument("--rounds", type=int, default=7, help="(default: 7)")
    parser.add_argument("--steps", type=int, help="in a measurement (default: about a second)")
    parser.add_argument("--against", choices=["torch"], help="measure PyTorch too")
    parser.add_argument("--dataroot", default="digits", help="HDF5 file or digits (the default)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every measurement")
    options = parser.parse_args(arguments)
    for name in ("ranks", "rounds", "steps"):
        if (value := getattr(options, name)) is not None and value < 1:
            raise OptionError(f"--{name} is {value}, expected an integer from 1")
    if min(options.minibatch) < options.ranks:
        raise OptionError(
            f"--minibatch is {min(options.minibatch)}, expected {options.ranks} or more, one image"
            " a rank"
        )
    if options.against and importlib.util.find_spec("torch") is None:
        raise OptionError("--against torch: found no PyTorch in this environment, expected one")
    return options


def _configurations(options: argparse.Namespace) -> list[Configuration]:
    """Return what one round measures, in its order."""
    beside = Path(sys.executable).with_name("mpirun")
    mpirun = str(beside) if beside.exists() else shutil.which("mpirun")
    worlds = range(1, options.ranks + 1)
    if mpirun is None and options.ranks > 1:
        print("no mpirun here: measuring one rank only", file=sys.stderr)
        worlds = range(1, 2)
    found = []
    for minibatch in options.minibatch:
        steps = options.steps or max(5, round(SECONDS / (minibatch * SLOWEST)))
        size = ("--minibatch", str(minibatch), "--steps", str(steps))
        common = ("--dataroot", options.dataroot, *size)
        for ranks in worlds:
            start = () if ranks == 1 else (str(mpirun), "-n", str(ranks))
            for reduce in ("exact", "fast"):
                worker = (*start, sys.executable, "-m", "dpcnn.bench.worker", *common)
                name = f"{ranks} rank{'s' * (ranks > 1)}, {reduce}"
                command = (*worker, "--reduce", reduce)
                found.append(Configuration(name, minibatch, ranks, command))
        if options.against:
            peer = (sys.executable, "-m", "dpcnn.bench.peer", *common)
            found += _peers(peer, minibatch, worlds[-1])
    return found


def _peers(peer: tuple[str, ...], minibatch: int, ranks: int) -> list[Configuration]:
    """Return PyTorch in one process with one and with all threads, and DDP with all ranks."""
    found = [Configuration("torch, 1 thread", minibatch, 1, peer)]
    if ranks > 1:
        threads = (*peer, "--threads", str(ranks))
        processes = (*peer, "--ranks", str(ranks))
        found.append(Configuration(f"torch, {ranks} threads", minibatch, ranks, threads))
        found.append(Configuration(f"torch DDP, {ranks} ranks", minibatch, ranks, processes))
    return found


def _measure(configurations: list[Configuration], rounds: int) -> list[list[Figures]]:
    """Return the figures of every configuration, round by round."""
    from tqdm import tqdm

    bar = tqdm(total=rounds * len(configurations), disable=not sys.stderr.isatty(), leave=False)
    with bar:
        return [[_figures(each, bar) for each in configurations] for _ in range(rounds)]


def _figures(configuration: Configuration, bar: Any) -> Figures:
    """Run one measurement; return the JSON of its last line."""
    bar.set_description(f"{configuration.name}, minibatch {configuration.minibatch}")
    result = subprocess.run(
        configuration.command, capture_output=True, text=True, stdin=subprocess.DEVNULL
    )
    bar.update()
    lines = result.stdout.strip().splitlines()
    if result.returncode != 0 or not lines:
        said = " ".join(result.stderr.split())[-300:]
        raise MeasurementError(f"{' '.join(configuration.command)} ended badly: {said}")
    figures: Figures = json.loads(lines[-1])
    return figures


def _medians(figures: list[Figures]) -> Figures:
    """Return the median over the rounds of each number."""
    numbers = [name for name, value in figures[0].items() if not isinstance(value, str)]
    return {name: statistics.median(each[name] for each in figures) for name in numbers}


def table(
    configurations: list[Configuration], medians: list[Figures], rounds: list[list[Figures]]
) -> list[str]:
    """Return the lines of the report, at most 80 columns wide.

    Efficiency is the speed of a rank against one rank's with the same reduction; then the shares
    of a step that rank 0 computes, communicates and waits for others; GFLOP/s are a rank's, beside
    the sgemm of the same process. The last column says how many times as fast as this row
    `n ranks, exact` is.
    """
    lines = []
    for minibatch in dict.fromkeys(each.minibatch for each in configurations):
        rows = [i for i, each in enumerate(configurations) if each.minibatch == minibatch]
        lines += ["", _line(f"minibatch {minibatch}", list(COLUMNS))]
        for row in rows:
            exact = next(
                i
                for i in rows
                if configurations[i].ranks == configurations[row].ranks
                and configurations[i].name.endswith("exact")
            )
            ratio = statistics.median(
                each[row]["step_seconds"] / each[exact]["step_seconds"] for each in rounds
            )
            alone = medians[rows[configurations[row].name.endswith("fast")]]
            lines.append(_row(configurations[row], medians[row], alone, ratio))
    lines += ["", *_inference(configurations, medians)]
    return lines


def _row(configuration: Configuration, figures: Figures, alone: Figures, ratio: float) -> str:
    step = figures["step_seconds"]
    image = step / configuration.minibatch
    cells = [f"{1 / image:.0f}", f"{image * 1e6:.1f}", f"{step * 1e3:.2f}"]
    if "flop_per_image" in figures:
        speed = figures["flop_per_image"] * configuration.minibatch / step / configuration.ranks
        efficiency = alone["step_seconds"] / step / configuration.ranks
        computing, waiting = figures["compute_share"], figures["waiting_share"]
        shares = (computing, 1 - computing - waiting, waiting)
        cells += [f"{efficiency:.2f}", *(f"{share:.0%}" for share in shares)]
        cells += [f"{speed / 1e9:.0f}", f"{speed / figures['sgemm_flops']:.0%}"]
    else:
        cells += [""] * 6
    return _line(configuration.name, [*cells, f"{ratio:.2f}x"])


def _line(name: str, cells: list[str]) -> str:
    """Return a line of the table: a name, then cells in the widths of their columns."""
    pairs = zip(cells, COLUMNS.values(), strict=True)
    return f"{name:<18}" + "".join(f"{cell:>{width}}" for cell, width in pairs)


def _inference(configurations: list[Configuration], medians: list[Figures]) -> list[str]:
    """Return a line for each that was measured on one rank or thread."""
    lines: dict[str, str] = {}
    for configuration, figures in zip(configurations, medians, strict=True):
        if configuration.ranks == 1 and not configuration.name.endswith("fast"):
            microseconds = figures["inference_seconds_per_image"] * 1e6
            name = configuration.name.replace(", exact", "")
            lines.setdefault(name, f"inference, {name}: {microseconds:.1f} us/image")
    return list(lines.values())


if __name__ == "__main__":
    sys.exit(main())
