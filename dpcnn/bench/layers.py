"""The time of each layer, forward and backward: the worker that measures it, and its table.

    python -m dpcnn.bench --layers --model resnet20

The worker makes steps of training on one rank, and prints a line of JSON. A layer made of others
counts with its own work only, such as the addition of a shortcut.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from dpcnn.bench import workload
from dpcnn.bench.rounds import Configuration, Figures, Measurement, python
from dpcnn.bench.workload import Workload
from dpcnn.cli.job import Job, run
from dpcnn.nn.layer import descendants
from dpcnn.nn.plan import Plan
from dpcnn.training.measure import silent_trainer, time_steps
from dpcnn.training.trainer import Trainer

WAYS = FORWARD, BACKWARD = "forward", "backward"
FLOP, REST = "flop:", "all else"
SMALL = 5e-4  # share of the step; layers made of others take a row of their own from here on
LEGEND = """\
Microseconds per training image, the speed of a layer's products, and its share
of the step. Layers made of others count with their own work only. All else:
loading images, the loss, the reduction and the update."""


class Stopwatch:
    """Adds up the seconds of each layer's own work, without that of the layers that it calls.

    seconds: "forward:NAME" or "backward:NAME" -> seconds of all calls; REST -> those of the steps
    that no layer took.
    """

    def __init__(self, trainer: Trainer) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self._inner = [0.0]  # seconds of the calls in each call that is going on
        setattr(trainer, *self._timed(REST, trainer, "step"))
        for name, layer in descendants(trainer.network.plan.root):
            for way in WAYS:
                setattr(layer, *self._timed(f"{way}:{name}", layer, way))

    def _timed(self, key: str, owner: Any, name: str) -> tuple[str, Callable[[Any], Any]]:
        """Return the name of a method, and what calls it and adds the seconds to the key's."""
        call = getattr(owner, name)

        def timed(argument: Any) -> Any:
            self._inner.append(0.0)
            started = time.perf_counter()
            result = call(argument)
            elapsed = time.perf_counter() - started
            self.seconds[key] += elapsed - self._inner.pop()
            self._inner[-1] += elapsed
            return result

        return name, timed


def main() -> int:
    """Run the command line; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m dpcnn.bench.layers")
    workload.add_arguments(parser)
    return run(parser.parse_args, _measure)


def _measure(job: Job, arguments: argparse.Namespace) -> int:
    """Time the layers over some steps; print the seconds and the operations of each in a step."""
    job.check_alone()
    measured = Workload.of(arguments)
    trainer = silent_trainer(measured.options(), measured.dataset(job.comm), job.comm)
    stopwatch = Stopwatch(trainer)
    time_steps(trainer, 1, warm_up=workload.warm_up(arguments.steps) - 1)
    stopwatch.seconds.clear()
    time_steps(trainer, arguments.steps, warm_up=0)
    names = [name for name, _ in descendants(trainer.network.plan.root)]
    keys = [REST, *(f"{way}:{name}" for name in names for way in WAYS)]
    figures = {key: stopwatch.seconds[key] / arguments.steps for key in keys}
    figures["step_seconds"] = sum(figures.values())
    print(json.dumps(figures | _operations(trainer.network.plan, arguments.minibatch)), flush=True)
    return 0


def _operations(plan: Plan, minibatch: int) -> dict[str, float]:
    """Return the floating-point operations of each layer in a step, as "flop:forward:NAME"."""
    operations: dict[str, float] = {}
    for name, layer in plan.leaves.items():
        forward = 2 * layer.multiply_adds() * minibatch
        operations[f"{FLOP}{FORWARD}:{name}"] = forward
        operations[f"{FLOP}{BACKWARD}:{name}"] = forward * (2 if layer.needs_dx else 1)
    return operations


def configurations(options: argparse.Namespace, mpirun: str | None) -> list[Configuration]:
    """Return what one round measures: one rank for each minibatch."""
    chosen = []
    for minibatch in options.minibatch:
        measured = Workload(options.model, options.dataroot, minibatch)
        command = python(mpirun, 1, "dpcnn.bench.layers", *measured.arguments(options.steps))
        chosen.append(Configuration("layers", measured, 1, command))
    return chosen


def table(measurements: Sequence[Measurement], options: argparse.Namespace) -> list[str]:
    """Return the lines of the report: a table for each minibatch, and what its columns are."""
    lines = [line for each in measurements for line in ["", *_table(each)]]
    return [*lines, "", *LEGEND.splitlines()]


def _table(measurement: Measurement) -> Iterator[str]:
    """Yield the lines of the table of one minibatch."""
    figures, measured = measurement.medians, measurement.configuration.workload
    step, images = figures["step_seconds"], measured.minibatch
    names = [key.partition(":")[2] for key in figures if key.startswith(f"{FORWARD}:")]
    width = max(len(REST), *map(len, names))
    headings = "".join(f"{way:>10}{'GFLOP/s':>9}" for way in WAYS)
    yield str(measured)
    yield f"{'us/image':<{width}}{headings}{'share':>7}"
    for name in names:
        keys = [f"{way}:{name}" for way in WAYS]
        share = sum(figures[key] for key in keys) / step
        if FLOP + keys[0] in figures or share >= SMALL:
            cells = "".join(_cells(figures, key, images) for key in keys)
            yield f"{name:<{width}}{cells}{share:>7.1%}"
    for name, seconds in ((REST, figures[REST]), ("step", step)):
        yield f"{name:<{width}}{seconds / images * 1e6:>10.1f}{'':>28}{seconds / step:>7.1%}"


def _cells(figures: Figures, key: str, images: int) -> str:
    """Return a layer's time forward or backward, and its speed if it makes products."""
    seconds, flop = figures[key], figures.get(FLOP + key, 0)
    speed = f"{flop / seconds / 1e9:.0f}" if flop and seconds else ""
    return f"{seconds / images * 1e6:>10.1f}{speed:>9}"


if __name__ == "__main__":
    sys.exit(main())
