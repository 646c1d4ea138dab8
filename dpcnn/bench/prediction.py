"""The time of a step predicted, beside what was measured: the tables of --predict.

Nothing that is predicted takes part in it: the model is told what a rank does alone, what it does
while the other cores compute something else, and how long vectors without training take to add.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator, Sequence
from dataclasses import replace

from dpcnn.bench import cost
from dpcnn.bench.calibration import FEW, LONG, MANY, SHORT
from dpcnn.bench.rounds import DISTURBED, Configuration, Figures, medians_of, python, quiet, steps
from dpcnn.errors import OptionError
from dpcnn.parallel.measure import UP, Link, measured_link

MICROBATCH = 16  # images; that of training, where the ranks are not too many for it
CALIBRATIONS = 2  # the first configurations of a round: one rank alone, then one on every core


def cores_here() -> int:
    """Return how many cores there are for this process and what it starts."""
    return len(os.sched_getaffinity(0))


def configurations(options: argparse.Namespace, mpirun: str | None) -> list[Configuration]:
    """Return what one round measures: what the model needs first, then what it predicts."""
    if mpirun is None:
        raise OptionError("--predict: found no mpirun, expected one to measure messages with")
    sizes = [MICROBATCH * each for each in (FEW, MANY)]
    counts = [str(steps(size, options.steps)) for size in sizes]
    calibration = ("dpcnn.bench.calibration", "--dataroot", options.dataroot, "--steps", *counts)
    found = [
        Configuration(name, sizes[-1], ranks, python(mpirun, ranks, *calibration))
        for name, ranks in (("alone", 1), ("busy", max(2, cores_here())))
    ]
    for ranks in _doubling(options.ranks):
        training = python(
            mpirun, ranks, "dpcnn.bench.worker", "--dataroot", options.dataroot,
            "--minibatch", str(options.predict), "--reduce", "exact",
            "--steps", str(steps(options.predict, options.steps)),
        )  # fmt: skip
        found.append(Configuration(f"{ranks} ranks", options.predict, ranks, training))
    return found


def table(
    configurations: Sequence[Configuration],
    rounds: list[list[Figures]],
    options: argparse.Namespace,
) -> list[str]:
    """Return the lines of the report, at most 80 columns wide."""
    used = quiet(rounds)
    alone, busy, *measured = medians_of(used)
    node = measured_node(alone, busy, configurations[1].ranks, cores_here())
    task = cost.Task(options.predict / MICROBATCH, int(alone["parameters"]))
    link = Link(
        node.memory.latency if options.latency is None else options.latency * 1e-6,
        node.memory.bandwidth if options.bandwidth is None else options.bandwidth * 1e9,
    )
    ranks = [each.ranks for each in configurations[CALIBRATIONS:]]
    pairs = list(zip(ranks, (each["step_seconds"] for each in measured), strict=True))
    return [
        f"minibatch {options.predict}: {task.most_ranks} micro-batches of {MICROBATCH} images",
        "",
        *_beside(task, node, pairs),
        *_disturbance(used),
        "",
        *_ahead(task, replace(node, cores=options.cores), link, options),
    ]


def measured_node(alone: Figures, busy: Figures, ranks: int, cores: int) -> cost.Node:
    """Return the node of which one rank and so many at once have measured these figures.

    Messages are read as the model would have predicted them, for that many ranks.
    """
    crowding = max(1.0, ranks / cores)
    pairs, gamma = (ranks - 1) / ranks, busy["adding_seconds"] / (LONG * UP)
    meeting = busy["shared_short_seconds"] / (cost.SHARED_MEETINGS * (ranks - 1))
    moving = (busy["shared_long_seconds"] - busy["shared_short_seconds"]) / (LONG - SHORT)
    sent = busy["sent_short_seconds"], busy["sent_long_seconds"]
    own = [_work(each) for each in (alone, busy)]
    return cost.Node(
        cores=cores,
        alone=own[0],
        busy=own[cores > 1],
        cast=alone["cast_seconds"],
        gamma=gamma,
        copy=max(0.0, moving / crowding - pairs * UP * gamma),
        meeting=meeting / crowding,
        memory=measured_link((SHORT, LONG), sent, ranks, gamma),
    )


def _work(figures: Figures) -> cost.Work:
    """Return what a step and a micro-batch take, of steps of few and of many micro-batches."""
    microbatch = (figures["many_seconds"] - figures["few_seconds"]) / (MANY - FEW)
    return cost.Work(figures["few_seconds"] - FEW * microbatch, microbatch)


def _doubling(most: int) -> Iterator[int]:
    """Yield 1, 2, 4 and so on, and the most."""
    ranks = 1
    while ranks < most:
        yield ranks
        ranks *= 2
    yield most


def _beside(task: cost.Task, node: cost.Node, measured: list[tuple[int, float]]) -> list[str]:
    """Return the table of what was measured here, with the prediction and its error."""
    lines = [
        f"on this machine, {node.cores} cores:",
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


def _disturbance(used: list[list[Figures]]) -> list[str]:
    """Return a line where no round was quiet: then the errors are not the model's alone."""
    others = max(figures["others"] for figures in used[0])
    if others < DISTURBED:
        return []
    return [f"other programs took up to {others:.0%} of all cores meanwhile: errors say little"]


def _ahead(task: cost.Task, node: cost.Node, link: Link, options: argparse.Namespace) -> list[str]:
    """Return the table of rank counts on nodes like this one, and the best of all."""
    given = [getattr(options, name) is not None for name in ("latency", "bandwidth")]
    source = ["as here", "given"]
    best = cost.best(task, node, link)
    counts = sorted({*_doubling(task.most_ranks), best.ranks})
    alone = cost.on_nodes(task, node, link, 1).step
    lines = [
        f"predicted on nodes of {node.cores} cores, a rank on each; between them a message takes",
        f"{link.latency * 1e6:.3g} us ({source[given[0]]}) and"
        f" {link.bandwidth / 1e9:.3g} GB/s ({source[given[1]]}):",
        f"{'ranks':>5}{'nodes':>7}{'compute ms':>12}{'step ms':>10}{'efficiency':>12}"
        f"{'speedup':>9}{'ring ms':>11}{'tree ms':>11}",
    ]
    for ranks in counts:
        each = cost.on_nodes(task, node, link, ranks)
        speedup = alone / each.step
        lines.append(
            f"{ranks:>5}{each.nodes:>7}{each.compute * 1e3:>12.2f}{each.step * 1e3:>10.2f}"
            f"{speedup / ranks:>12.2f}{speedup:>9.2f}{each.ring * 1e3:>11.2f}"
            f"{each.tree * 1e3:>11.2f}"
        )
    return [
        *lines,
        f"best: {best.ranks} rank{'s' * (best.ranks > 1)} on {best.nodes} node"
        f"{'s' * (best.nodes > 1)}, {best.step * 1e3:.2f} ms a step,"
        f" {alone / best.step:.2f} times one rank's speed",
    ]
