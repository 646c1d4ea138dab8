"""Training on one rank and on more, with both reductions, and beside PyTorch: the table."""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Sequence

from dpcnn.bench.rounds import Configuration, Figures, medians_of, python, steps

# The columns of the table and their widths.
COLUMNS = {
    "img/s": 7, "us/img": 7, "step ms": 8, "effic": 6, "comp": 5, "comm": 5, "wait": 5,
    "GFLOP/s": 8, "gemm": 5, "exact": 6,
}  # fmt: skip


def configurations(options: argparse.Namespace, mpirun: str | None) -> list[Configuration]:
    """Return what one round measures, in its order."""
    worlds = range(1, options.ranks + 1)
    if mpirun is None and options.ranks > 1:
        print("no mpirun here: measuring one rank only", file=sys.stderr)
        worlds = range(1, 2)
    found = []
    for minibatch in options.minibatch:
        size = ("--minibatch", str(minibatch), "--steps", str(steps(minibatch, options.steps)))
        common = ("--dataroot", options.dataroot, *size)
        for ranks in worlds:
            for reduce in ("exact", "fast"):
                worker = python(mpirun, ranks, "dpcnn.bench.worker", *common)
                name = f"{ranks} rank{'s' * (ranks > 1)}, {reduce}"
                command = (*worker, "--reduce", reduce)
                found.append(Configuration(name, minibatch, ranks, command))
        if options.against:
            peer = python(mpirun, 1, "dpcnn.bench.torch_baseline", *common)
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


def table(
    configurations: Sequence[Configuration],
    rounds: list[list[Figures]],
    options: argparse.Namespace,
) -> list[str]:
    """Return the lines of the report, at most 80 columns wide.

    Efficiency is the speed of a rank against one rank's with the same reduction; then the shares
    of a step that rank 0 computes, communicates and waits for others; GFLOP/s are a rank's, beside
    the sgemm of the same process. The last column says how many times as fast as this row
    `n ranks, exact` is.
    """
    lines, medians = [], medians_of(rounds)
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


def _inference(configurations: Sequence[Configuration], medians: list[Figures]) -> list[str]:
    """Return a line for each that was measured on one rank or thread."""
    lines: dict[str, str] = {}
    for configuration, figures in zip(configurations, medians, strict=True):
        if configuration.ranks == 1 and not configuration.name.endswith("fast"):
            microseconds = figures["inference_seconds_per_image"] * 1e6
            name = configuration.name.replace(", exact", "")
            lines.setdefault(name, f"inference, {name}: {microseconds:.1f} us/image")
    return list(lines.values())
