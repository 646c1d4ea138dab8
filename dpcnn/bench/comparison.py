"""Compares one and more ranks, both reductions, and PyTorch: what to run, and the table."""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Sequence

from dpcnn.bench.rounds import Configuration, Measurement, python
from dpcnn.bench.variants import VARIANTS
from dpcnn.bench.workload import Workload, survey
from dpcnn.errors import OptionError
from dpcnn.nn.config import LAYERS

# The table's columns and their widths.
COLUMNS = {
    "img/s": 6, "us/img": 8, "step ms": 8, "effic": 6, "comp": 5, "comm": 5, "wait": 5,
    "GFLOP/s": 8, "gemm": 5, "exact": 6,
}  # fmt: skip
LEGEND = """\
img/s and us/img: training images a second, microseconds an image. step ms:
milliseconds a step. effic: speed per rank, relative to one rank with the same
reduction. comp, comm and wait: shares of a step in which rank 0 computes,
communicates, or waits for others. GFLOP/s: per rank; gemm: its share of the
speed of a large matrix product. exact: how many times as fast as the row the
exact reduction on as many ranks is."""
LEGEND_OF_TORCH = """\
PyTorch counts with its best variant, marked *; one that is slower by 5% is
measured no more. Images are NCHW or channels-last; tuned: glibc's allocator
keeps its memory (MALLOC_MMAP_THRESHOLD_, MALLOC_TRIM_THRESHOLD_)."""
EXACT, FAST = "exact", "fast"
THREAD = "torch, 1 thread"


def configurations(options: argparse.Namespace, mpirun: str | None) -> list[Configuration]:
    """Return what one round measures, in order."""
    most_ranks = ranks_here(options.ranks, mpirun)
    if options.against:
        check_equivalents(options.model, options.dataroot)
    chosen = []
    for minibatch in options.minibatch:
        workload = Workload(options.model, options.dataroot, minibatch)
        for ranks in range(1, most_ranks + 1):
            for reduce in (EXACT, FAST):
                chosen.append(ours(workload, options.steps, mpirun, ranks, reduce))
        if options.against:
            chosen += torchs(workload, options.steps, most_ranks)
    return chosen


def ranks_here(requested: int, mpirun: str | None) -> int:
    """Return how many ranks can be started; tell if these are fewer than asked for."""
    if mpirun is None and requested > 1:
        print("found no mpirun: measuring one rank only", file=sys.stderr)
        return 1
    return requested


def check_equivalents(model: str, images: str) -> None:
    """Raise OptionError that names the first layer of a network which PyTorch has none like."""
    _, plan = survey(model, images)
    for name, layer in plan.leaves.items():
        if type(layer) not in LAYERS.values():
            raise OptionError(
                f"--against torch: {name}, {layer!r}, has no equivalent in PyTorch, expected"
                f" layers of dpcnn.nn: measure {model} without --against torch"
            )


def ours(
    workload: Workload, steps: int | None, mpirun: str | None, ranks: int, reduce: str = EXACT
) -> Configuration:
    """Return dpcnn on that many ranks."""
    arguments = (*workload.arguments(steps), "--reduce", reduce)
    command = python(mpirun, ranks, "dpcnn.bench.worker", *arguments)
    return Configuration(f"{_ranks(ranks)}, {reduce}", workload, ranks, command)


def torchs(workload: Workload, steps: int | None, ranks: int) -> list[Configuration]:
    """Return all variants of PyTorch: one thread and, if ranks > 1, that many threads, and DDP."""
    command = python(None, 1, "dpcnn.bench.torch_baseline", *workload.arguments(steps))
    ways: list[tuple[str, int, tuple[str, ...]]] = [(THREAD, 1, ())]
    if ranks > 1:
        ways.append((f"torch, {ranks} threads", ranks, ("--threads", str(ranks))))
        ways.append((f"torch DDP, {_ranks(ranks)}", ranks, ("--ranks", str(ranks))))
    return [
        Configuration(
            name, workload, count, (*command, *arguments, *variant.arguments), variant.name,
            variant.environment,
        )
        for name, count, arguments in ways
        for variant in VARIANTS
    ]  # fmt: skip


def _ranks(ranks: int) -> str:
    return f"{ranks} rank{'s' * (ranks > 1)}"


def table(measurements: Sequence[Measurement], options: argparse.Namespace) -> list[str]:
    """Return the lines of the report, at most 80 columns wide: a table for each workload."""
    lines = []
    for workload in dict.fromkeys(each.configuration.workload for each in measurements):
        measured = [each for each in measurements if each.configuration.workload == workload]
        lines += ["", str(workload), _line("", list(COLUMNS))]
        lines += [_row(each, measured) for each in best_variants(measured)]
        lines += [*_variants(measured), *_inference(measured)]
    torch = any(each.configuration.variant for each in measurements)
    return [*lines, "", *LEGEND.splitlines(), *(LEGEND_OF_TORCH.splitlines() if torch else [])]


def best_variants(measurements: Sequence[Measurement]) -> list[Measurement]:
    """Return the measurements without the variants that are not the best of their kind."""
    most = max(len(each.rounds) for each in measurements)
    best: dict[tuple[Workload, str], Measurement] = {}
    for each in measurements:
        if len(each.rounds) == most:
            key = each.configuration.key
            best[key] = min(best.get(key, each), each, key=lambda one: one.medians["step_seconds"])
    return list(best.values())


def find(measurements: Sequence[Measurement], name: str) -> Measurement:
    """Return the measurement of that name."""
    return next(each for each in measurements if each.configuration.name == name)


def times_as_fast(faster: Measurement, slower: Measurement) -> float:
    """Return how many times as fast a step is: the median of the ratios within each round."""
    seconds = ([figures["step_seconds"] for figures in each.rounds] for each in (faster, slower))
    ratios: list[float] = [slow / fast for fast, slow in zip(*seconds, strict=True)]
    return statistics.median(ratios)


def best_inference(measurements: Sequence[Measurement]) -> tuple[Measurement, float]:
    """Return which variant evaluates fastest, and its seconds per image."""
    seconds = [each.medians["inference_seconds_per_image"] for each in measurements]
    fastest = min(range(len(seconds)), key=seconds.__getitem__)
    return measurements[fastest], seconds[fastest]


def _row(measurement: Measurement, measured: Sequence[Measurement]) -> str:
    """Return the line of one measurement among those of the same workload."""
    configuration, figures = measurement.configuration, measurement.medians
    ranks, minibatch = configuration.ranks, configuration.workload.minibatch
    step = figures["step_seconds"]
    image = step / minibatch
    cells = [f"{1 / image:.0f}", f"{image * 1e6:.1f}", f"{step * 1e3:.2f}"]
    if "flop_per_image" in figures:
        reduce = configuration.name.rpartition(" ")[2]
        speed = figures["flop_per_image"] / image / ranks
        efficiency = times_as_fast(measurement, find(measured, f"1 rank, {reduce}")) / ranks
        computing, waiting = figures["compute_share"], figures["waiting_share"]
        shares = (computing, 1 - computing - waiting, waiting)
        cells += [f"{efficiency:.2f}", *(f"{share:.0%}" for share in shares)]
        cells += [f"{speed / 1e9:.0f}", f"{speed / figures['sgemm_flops']:.0%}"]
    else:
        cells += [""] * 6
    ratio = times_as_fast(find(measured, f"{_ranks(ranks)}, {EXACT}"), measurement)
    return _line(configuration.name, [*cells, f"{ratio:.2f}x"])


def _line(name: str, cells: list[str]) -> str:
    """Return a line of the table: the name, then the cells, each as wide as its column."""
    widths = COLUMNS.values()
    return f"{name:<18}" + "".join(f"{c:>{width}}" for c, width in zip(cells, widths, strict=True))


def _variants(measured: Sequence[Measurement]) -> list[str]:
    """Return a table of the variants of PyTorch: microseconds per image, the best marked."""
    lines = []
    for best in best_variants(measured):
        if best.configuration.variant:
            others = [each for each in measured if each.configuration.key == best.configuration.key]
            times = (f"{_microseconds(each):.1f}{'*' * (each is best)}" for each in others)
            lines.append((best.configuration.name, *times))
    if lines:
        lines.insert(0, ("us/img", *(variant.name for variant in VARIANTS)))
    widths = [len(variant.name) + 2 for variant in VARIANTS]
    return [
        f"{name:<18}" + "".join(f"{c:>{width}}" for c, width in zip(cells, widths, strict=True))
        for name, *cells in lines
    ]


def _microseconds(measurement: Measurement) -> float:
    """Return the microseconds of a training image."""
    microseconds: float = measurement.medians["step_seconds"] * 1e6
    return microseconds / measurement.configuration.workload.minibatch


def _inference(measured: Sequence[Measurement]) -> list[str]:
    """Return a line for dpcnn on one rank, and for PyTorch on one thread if it was measured."""
    sides = {"1 rank": f"1 rank, {EXACT}", THREAD: THREAD}
    lines = []
    for side, name in sides.items():
        own = [each for each in measured if each.configuration.name == name]
        if own:
            _, seconds = best_inference(own)
            lines.append(f"inference, {side}: {seconds * 1e6:.1f} us/image")
    return lines
