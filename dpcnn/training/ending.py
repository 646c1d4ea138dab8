"""What is told at the end of an epoch and of a run: what was done, in how long, the best epoch."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from datetime import timedelta
from importlib.util import find_spec
from pathlib import Path

from dpcnn.options import Options
from dpcnn.parallel.launcher import single_command
from dpcnn.run.best import best_epoch, epochs_since_best, measured
from dpcnn.run.directory import BEST
from dpcnn.run.loggers.logger import Metrics
from dpcnn.training.state import Progress

PRECISE = 60.0  # seconds: shorter times are told with a tenth


def account(first: int, progress: Progress, steps: int, seconds: float) -> str:
    """Return what was done since step `first`, in so many seconds; epochs have so many `steps`."""
    made = progress.step - first
    time = f"{seconds:.1f} s" if seconds < PRECISE else str(timedelta(seconds=round(seconds)))
    return f"Trained {made:,} step{'s' * (made != 1)} in {time}, to {place(progress, steps)}"


def place(progress: Progress, steps: int) -> str:
    """Return where a run is, whose epochs have so many steps."""
    if progress.epoch_step == 0:
        return f"the end of epoch {progress.epoch - 1}"
    within = f"step {progress.epoch_step:,} of {steps:,} in epoch {progress.epoch}"
    return f"{within}, which is not evaluated"


def nothing_left(options: Options, progress: Progress) -> str:
    """Return that a run which was resumed has made no step, and what lets it go on."""
    cure = ""
    if progress.epoch > options.epochs:
        cure = f"; --epochs {progress.epoch} or more goes on"
    elif options.max_steps is not None and progress.step >= options.max_steps:
        cure = "; a larger --max_steps goes on"
    epoch = progress.epoch - (progress.epoch_step == 0)
    where = f"after step {progress.step:,}, in epoch {epoch}"
    return f"Nothing left to train: the run had ended {where}{cure}"


def best(metrics: Sequence[Metrics]) -> str:
    """Return the line that names the best of these epochs."""
    found = best_epoch(metrics)
    assert found is not None, "there are epochs"
    name = measured(found)
    title = name.replace("_", " ").title()
    return f"Best epoch: {found['epoch']}, {title} = {found[name]:.4f}, in checkpoints/{BEST}"


def of_epoch(line: Metrics) -> str:
    """Return the line of an epoch, in the tutorial's form."""
    names = {"Training": "train", "Test": "test", "Validation": "validation"}
    accuracies = (
        f", {title} Accuracy = {line[f'{name}_accuracy']:.4f}"
        for title, name in names.items()
        if f"{name}_accuracy" in line
    )
    return f"Epoch {line['epoch']}, Loss = {line['loss']:.4f}{''.join(accuracies)}"


def so_far(metrics: Sequence[Metrics]) -> list[str]:
    """Return how the newest epoch stands beside the best so far; of the first there is no word."""
    found = best_epoch(metrics)
    if found is None or len(metrics) == 1:
        return []
    if found is metrics[-1]:
        return ["best so far"]
    return [f"best {found[measured(found)]:.4f} in epoch {found['epoch']}"]


def why_early(metrics: Sequence[Metrics]) -> str:
    """Return why the run stops after these epochs, and which of them was the best."""
    found = best_epoch(metrics)
    assert found is not None, "patience is exhausted after an epoch at least"
    name = measured(found).replace("_", " ")
    waited = epochs_since_best(metrics)
    return (
        f"no better {name} for {waited} epoch{'s' * (waited != 1)}; the best was"
        f" {found[measured(found)]:.4f} after epoch {found['epoch']}, step {found['step']:,}"
    )


def where_to_look(directory: Path) -> str:
    """Return where the run is, and the command that shows it."""
    drawn = find_spec("matplotlib") and find_spec("jinja2")  # the extra `report`
    command = single_command("report" if drawn else "evaluate")
    return f"Run directory: {directory}; show it with: {command} {shlex.quote(str(directory))}"
