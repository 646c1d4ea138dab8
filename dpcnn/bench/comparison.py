"""Compares one and more ranks, both reductions, and PyTorch: what to run, and the table."""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Sequence

from dpcnn.bench.rounds import Configuration, Figures, medians_of, python, steps

# The table's columns and their widths.
COLUMNS = {
    "img/s": 7, "us/img": 7, "step ms": 8, "effic": 6, "comp": 5, "comm": 5, "wait": 5,
    "GFLOP/s": 8, "gemm": 5, "exact": 6,
}  # fmt: skip


def configurations(options: argparse.Namespace, mpirun: str | None) -> list[Configuration]:
    """Return what one round measures, in order."""
    most_ranks = options.ranks
    if mpirun is None and most_ranks > 1:
        print("found no mpirun: measuring one rank only", file=sys.stderr)
        most_ranks = 1
    chosen = []
    for minibatch in options.minibatch:
        size = ("--minibatch", str(minibatch), "--steps", str(steps(minibatch, options.steps)))
        common = ("--dataroot", options.dataroot, *size)
        for ranks in range(1, most_ranks + 1):
            for reduce in ("exact", "fast"):
                worker = python(mpirun, ranks, "dpcnn.bench.worker", *common)
                name = f"{ranks} rank{'s' * (ranks > 1)}, {reduce}"
                command = (*worker, "--reduce", reduce)
                chosen.append(Configuration(name, minibatch, ranks, command))
        if options.against:
            command = python(mpirun, 1, "dpcnn.bench.torch_baseline", *common)
            chosen += _torch_configurations(command, minibatch, most_ranks)
    return chosen


def _torch_configurations(
    command: tuple[str, ...], minibatch: int, ranks: int
) -> list[Configuration]:
    """Return PyTorch in one process, with one thread and with `ranks`, and DDP on `ranks` ranks."""
    chosen = [Configuration("torch, 1 thread", minibatch, 1, command)]
    if ranks > 1:
        threads = (*command, "--threads", str(ranks))
        processes = (*command, "--ranks", str(ranks))
        chosen.append(Configuration(f"torch, {ranks} threads", minibatch, ranks, threads))
        chosen.append(Configuration(f"torch DDP, {ranks} ranks", minibatch, ranks, processes))
    return chosen


def table(
    configurations: Sequence[Configuration],
    rounds: list[list[Figures]],
    options: argparse.Namespace,
) -> list[str]:
    """Return the lines of the report, at most 80 columns wide.

    Efficiency is the speed per rank relative to one rank with the same reduction. comp, comm and
    wait are the shares of a step in which rank 0 computes, communicates and waits for the others.
    GFLOP/s are per rank; gemm compares them with a large sgemm in the same process. The last column
    says how many times as fast as this row the exact reduction on as many ranks is.
    """
    lines = []
    medians = medians_of(rounds)
    for minibatch in dict.fromkeys(chosen.minibatch for chosen in configurations):
        rows = [i for i, chosen in enumerate(configurations) if chosen.minibatch == minibatch]
        lines += ["", _line(f"minibatch {minibatch}", list(COLUMNS))]
        for row in rows:
            exact = next(
                i
                for i in rows
                if configurations[i].ranks == configurations[row].ranks
                and configurations[i].name.endswith("exact")
            )
            ratio = statistics.median(
                figures[row]["step_seconds"] / figures[exact]["step_seconds"] for figures in rounds
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
        computing = figures["compute_share"]
        waiting = figures["waiting_share"]
        shares = (computing, 1 - computing - waiting, waiting)
        cells += [f"{efficiency:.2f}", *(f"{share:.0%}" for share in shares)]
        cells += [f"{speed / 1e9:.0f}", f"{speed / figures['sgemm_flops']:.0%}"]
    else:
        cells += [""] * 6
    return _line(configuration.name, [*cells, f"{ratio:.2f}x"])


def _line(name: str, cells: list[str]) -> str:
    """Return a line of the table: the name, then the cells, each as wide as its column."""
    widths = COLUMNS.values()
    return f"{name:<18}" + "".join(f"{c:>{width}}" for c, width in zip(cells, widths, strict=True))


def _inference(configurations: Sequence[Configuration], medians: list[Figures]) -> list[str]:
    """Return a line for dpcnn on one rank, and for PyTorch on one thread if it was measured."""
    lines: dict[str, str] = {}
    for configuration, figures in zip(configurations, medians, strict=True):
        if configuration.ranks == 1 and not configuration.name.endswith("fast"):
            microseconds = figures["inference_seconds_per_image"] * 1e6
            name = configuration.name.replace(", exact", "")
            lines.setdefault(name, f"inference, {name}: {microseconds:.1f} us/image")
    return list(lines.values())
