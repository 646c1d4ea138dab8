"""The tables of --predict: the time of a step, predicted and measured.

No training on several ranks goes into a prediction: the cost model gets the times of a rank alone,
of a rank while the other cores compute independently, and of allreduces without training.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator, Sequence
from dataclasses import replace

from dpcnn.bench import cost
from dpcnn.bench.calibration import FEW, LONG, MANY, SHORT
from dpcnn.bench.rounds import (
    DISTURBED,
    Configuration,
    Figures,
    Measurement,
    medians,
    python,
    quiet,
)
from dpcnn.bench.workload import Workload
from dpcnn.errors import OptionError
from dpcnn.models.zoo import TUTORIAL
from dpcnn.parallel.measure import UP, Link, measured_link

MICROBATCH = 16  # images; the same as in training, unless that has too many ranks for it
LEGEND = """\
predicted ms: of a step, by a model that knows the times of one rank, of
independent ranks on all cores, and of allreduces alone; error: that of the
prediction. efficiency: speed per rank, relative to one rank; speedup: of all
ranks. compute ms: the part of a step in which the slowest rank computes. step
ms: with dpcnn's allreduce; ring ms and tree ms: with one of these instead."""
CALIBRATIONS = 2  # first configurations of a round: one rank alone, then a rank on every core


def cores_here() -> int:
    """Return how many cores this process and its children may use."""
    return len(os.sched_getaffinity(0))


def configurations(options: argparse.Namespace, mpirun: str | None) -> list[Configuration]:
    """Return what one round measures: what the model needs, then the steps that it predicts."""
    if mpirun is None:
        raise OptionError("--predict needs mpirun to measure messages: pip install 'dpcnn[mpich]'")
    few, many = (Workload(TUTORIAL, options.dataroot, MICROBATCH * count) for count in (FEW, MANY))
    counts = [workload.arguments(options.steps)[-1] for workload in (few, many)]
    calibration = ("dpcnn.bench.calibration", "--dataroot", options.dataroot, "--steps", *counts)
    chosen = [
        Configuration(name, many, ranks, python(mpirun, ranks, *calibration))
        for name, ranks in (("alone", 1), ("busy", max(2, cores_here())))
    ]
    predicted = Workload(TUTORIAL, options.dataroot, options.predict)
    arguments = (*predicted.arguments(options.steps), "--microbatch", str(MICROBATCH))
    for ranks in _doubling(options.ranks):
        training = python(mpirun, ranks, "dpcnn.bench.worker", *arguments)
        chosen.append(Configuration(f"{ranks} ranks", predicted, ranks, training))
    return chosen


def table(measurements: Sequence[Measurement], options: argparse.Namespace) -> list[str]:
    """Return the lines of the report, at most 80 columns wide."""
    quiet_rounds = quiet([measurement.rounds for measurement in measurements])
    alone, busy, *measured = map(medians, quiet_rounds)
    configurations = [measurement.configuration for measurement in measurements]
    node = measured_node(alone, busy, configurations[1].ranks, cores_here())
    task = cost.Task(options.predict / MICROBATCH, int(alone["parameters"]))
    link = Link(
        node.memory.latency if options.latency is None else options.latency * 1e-6,
        node.memory.bandwidth if options.bandwidth is None else options.bandwidth * 1e9,
    )
    rank_counts = [configuration.ranks for configuration in configurations[CALIBRATIONS:]]
    step_seconds = [figures["step_seconds"] for figures in measured]
    return [
        f"minibatch {options.predict}: {task.most_ranks} micro-batches of {MICROBATCH} images",
        "",
        *_measured_table(task, node, list(zip(rank_counts, step_seconds, strict=True))),
        *_disturbance(quiet_rounds),
        "",
        *_predicted_table(task, replace(node, cores=options.cores), link, options),
        "",
        *LEGEND.splitlines(),
    ]


def measured_node(alone: Figures, busy: Figures, ranks: int, cores: int) -> cost.Node:
    """Return the node on which one rank measured `alone`, and `ranks` at once measured `busy`.

    Inverts what the model predicts for the allreduces of that many ranks.
    """
    crowding = max(1.0, ranks / cores)
    gamma = busy["adding_seconds"] / (LONG * UP)
    adding = (ranks - 1) / ranks * UP * gamma
    meeting = busy["shared_short_seconds"] / (cost.SHARED_MEETINGS * (ranks - 1))
    moving = (busy["shared_long_seconds"] - busy["shared_short_seconds"]) / (LONG - SHORT)
    sent = busy["sent_short_seconds"], busy["sent_long_seconds"]
    return cost.Node(
        cores=cores,
        alone=_work(alone),
        busy=_work(busy if cores > 1 else alone),
        cast=alone["cast_seconds"],
        gamma=gamma,
        copy=max(0.0, moving / crowding - adding),
        meeting=meeting / crowding,
        memory=measured_link((SHORT, LONG), sent, ranks, gamma),
    )


def _work(figures: Figures) -> cost.Work:
    """Return the seconds per step and per micro-batch, from steps of FEW and MANY of them."""
    microbatch = (figures["many_seconds"] - figures["few_seconds"]) / (MANY - FEW)
    return cost.Work(figures["few_seconds"] - FEW * microbatch, microbatch)


def _doubling(most: int) -> Iterator[int]:
    """Yield 1, 2, 4 and so on, then `most` itself."""
    ranks = 1
    while ranks < most:
        yield ranks
        ranks *= 2
    yield most


def _measured_table(
    task: cost.Task, node: cost.Node, measured: list[tuple[int, float]]
) -> list[str]:
    """Return the table of (ranks, seconds) measured here, with the prediction and its error."""
    lines = [
        f"on this machine with {node.cores} core{'s' * (node.cores > 1)}:",
        f"{'ranks':>5}{'predicted ms':>14}{'measured ms':>13}{'error':>8}{'efficiency':>12}",
    ]
    for ranks, seconds in measured:
        predicted = cost.on_node(task, node, ranks)
        efficiency = measured[0][1] / seconds / ranks
        lines.append(
            f"{ranks:>5}{predicted * 1e3:>14.2f}{seconds * 1e3:>13.2f}"
            f"{predicted / seconds - 1:>+8.1%}{efficiency:>12.2f}"
        )
    return lines


def _disturbance(quietest: list[list[Figures]]) -> list[str]:
    """Return a warning if no round was quiet: the errors are then not the model's alone.

    quietest: the figures of each configuration, the least disturbed first.
    """
    others = max(figures["others"] for figures, *_ in quietest)
    if others < DISTURBED:
        return []
    return [f"other programs used up to {others:.0%} of all cores: the errors mean little"]


def _predicted_table(
    task: cost.Task, node: cost.Node, link: Link, options: argparse.Namespace
) -> list[str]:
    """Return the table of numbers of ranks on nodes like this one, and the best of all."""
    latency_source = "measured here" if options.latency is None else "--latency"
    bandwidth_source = "measured here" if options.bandwidth is None else "--bandwidth"
    best = cost.best(task, node, link)
    rank_counts = sorted({*_doubling(task.most_ranks), best.ranks})
    alone = cost.on_nodes(task, node, link, 1).step
    lines = [
        f"predicted on nodes with {node.cores} core{'s' * (node.cores > 1)}, one rank per core;"
        " messages between nodes:",
        f"{link.latency * 1e6:.3g} us latency ({latency_source}),"
        f" {link.bandwidth / 1e9:.3g} GB/s ({bandwidth_source})",
        f"{'ranks':>5}{'nodes':>7}{'compute ms':>12}{'step ms':>10}{'efficiency':>12}"
        f"{'speedup':>9}{'ring ms':>11}{'tree ms':>11}",
    ]
    for ranks in rank_counts:
        row = cost.on_nodes(task, node, link, ranks)
        speedup = alone / row.step
        lines.append(
            f"{ranks:>5}{row.nodes:>7}{row.compute * 1e3:>12.2f}{row.step * 1e3:>10.2f}"
            f"{speedup / ranks:>12.2f}{speedup:>9.2f}{row.ring * 1e3:>11.2f}"
            f"{row.tree * 1e3:>11.2f}"
        )
    return [
        *lines,
        f"best: {best.ranks} rank{'s' * (best.ranks > 1)} on {best.nodes} node"
        f"{'s' * (best.nodes > 1)}, {best.step * 1e3:.2f} ms per step,"
        f" {alone / best.step:.2f} times as fast as one rank",
    ]
