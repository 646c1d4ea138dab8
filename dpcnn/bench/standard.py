"""--standard: four networks against the best of PyTorch in one run, as the README's table."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from dpcnn.bench import comparison
from dpcnn.bench.comparison import EXACT, THREAD, best_inference, best_variants, find
from dpcnn.bench.rounds import Configuration, Measurement
from dpcnn.bench.workload import Workload
from dpcnn.models.zoo import TUTORIAL


class Case(NamedTuple):
    """A network, by its name in the table, and on how many ranks it is measured."""

    name: str
    workload: Workload
    ranks: int


CASES = (
    Case("VGG", Workload("dpcnn.bench.networks:vgg", "3x32x32", 128), 2),
    Case("ResNet-20", Workload("resnet20", "3x32x32", 128), 1),
    Case("two 5x5 convolutions", Workload("dpcnn.bench.networks:lenet", "1x28x28", 64), 1),
    Case("the tutorial's", Workload(TUTORIAL, "1x28x28", 64), 2),
)


def configurations(options: argparse.Namespace, mpirun: str | None) -> list[Configuration]:
    """Return what one round measures, in order."""
    most_ranks = comparison.ranks_here(options.ranks, mpirun)
    chosen = []
    for case in CASES:
        ranks = min(case.ranks, most_ranks)
        for count in range(1, ranks + 1):
            chosen.append(comparison.ours(case.workload, options.steps, mpirun, count))
        chosen += comparison.torchs(case.workload, options.steps, ranks)
    return chosen


def table(measurements: Sequence[Measurement], options: argparse.Namespace) -> list[str]:
    """Return the tables of all networks, and a summary of them in Markdown."""
    lines = comparison.table(measurements, options)
    lines += [
        "",
        "| network, minibatch | dpcnn | PyTorch | | PyTorch is, and at its best with |",
        "| --- | --- | --- | --- | --- |",
    ]
    efficiencies = []
    for case in CASES:
        measured = [each for each in measurements if each.configuration.workload == case.workload]
        lines += _rows(case, measured)
        alone, *more = best_variants([each for each in measured if not each.configuration.variant])
        for each in more:
            ranks = each.configuration.ranks
            share = comparison.times_as_fast(each, alone) / ranks
            efficiencies.append(f"{case.name} {share:.2f} on {ranks} ranks")
    return [*lines, "", f"scaling efficiency: {', '.join(efficiencies)}"]


def _rows(case: Case, measured: Sequence[Measurement]) -> Iterator[str]:
    """Yield a row for each way to run PyTorch, and one for inference."""
    title = f"{case.name}, {case.workload.minibatch}"
    for best in best_variants(measured):
        configuration = best.configuration
        if configuration.variant:
            ranks = f"{configuration.ranks} rank{'s' * (configuration.ranks > 1)}"
            own = find(measured, f"{ranks}, {EXACT}")
            seconds = own.medians["step_seconds"], best.medians["step_seconds"]
            images = [f"{value / case.workload.minibatch * 1e6:,.0f}" for value in seconds]
            ratio = f"{comparison.times_as_fast(own, best):.2f} x"
            way = f"{configuration.name.split(maxsplit=1)[1]}; {configuration.variant}"
            yield f"| {title}, {ranks} | {' | '.join(images)} | {ratio} | {way} |"
    threads = [each for each in measured if each.configuration.name == THREAD]
    best, theirs = best_inference(threads)
    _, mine = best_inference([find(measured, f"1 rank, {EXACT}")])
    yield (
        f"| {case.name}, inference | {mine * 1e6:,.0f} | {theirs * 1e6:,.0f} |"
        f" {theirs / mine:.2f} x | 1 thread; {best.configuration.variant} |"
    )
