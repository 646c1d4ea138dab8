"""What --resume_with changes of a run's learning rate, and what its options were before."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from dpcnn.errors import CheckpointError, OptionError
from dpcnn.options.contradictions import check_together
from dpcnn.options.option import Value
from dpcnn.options.resume import LENGTH, RATES, resumed
from dpcnn.options.table import ALIASES, OPTIONS, Options

# A change: the `step` after which it counts, and RATES as they were before.
Change = Mapping[str, Any]
Differences = Mapping[str, tuple[Value, Value]]  # name -> its value before and after


def resumed_with_changes(
    options: Options,
    named: frozenset[str],
    recorded: dict[str, Any],
    source: str = "the checkpoint",
) -> tuple[Options, Options]:
    """Return the options of a resumed run before and after the change that --resume_with asks for.

    They are the same where that has been made already: a job that is started again asks for it
    again. As `resumed` otherwise, which does not look at what the change names.
    """
    asked = _asked(options.resume_with) if "resume_with" in named else {}
    before = resumed(options, named - asked.keys(), recorded, source)
    after = replace(before, **asked)
    try:
        check_together(after)
    except OptionError as error:
        raise OptionError(f"--resume_with {options.resume_with}: {error}") from None
    if after.lookahead is not None and differences(before, after).keys() & LENGTH:
        raise OptionError(
            f"--resume_with {options.resume_with} changes the length of the run, expected it as it"
            " was: the averages of --lookahead depend on it"
        )
    return before, after


def differences(before: Options, after: Options) -> Differences:
    """Return those of RATES that are not the same."""
    pairs = {name: (getattr(before, name), getattr(after, name)) for name in RATES}
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


def change_from(before: Options, step: int) -> Change:
    """Return the change that is made after a step."""
    return {"step": step} | {name: getattr(before, name) for name in RATES}


def before_change(options: Options, change: Change) -> Options:
    """Return the options as they were before a change that a checkpoint has recorded.

    Raises CheckpointError if there can be no such options.
    """
    if change.keys() != {"step", *RATES}:
        raise CheckpointError(f"the checkpoint's changes have {', '.join(sorted(change))}")
    try:
        earlier = replace(options, **{name: change[name] for name in RATES})
        check_together(earlier)
    except OptionError as error:
        raise CheckpointError(f"the checkpoint's changes: {error}") from None
    return earlier


def check_order(changes: Sequence[Change], step: int) -> None:
    """Raise CheckpointError unless the changes were made one after the other, up to this step."""
    steps = [change["step"] for change in changes]
    if steps != sorted(steps) or any(each > step for each in steps):
        raise CheckpointError(f"the checkpoint's changes are of the steps {steps}, now is {step}")


def _asked(text: str | None) -> dict[str, Any]:
    """Return the values that a text such as lr=0.005,milestones=2ep,4ep gives; raises OptionError.

    A comma that no name follows belongs to the value.
    """
    values: dict[str, Any] = {}
    for item in re.split(r",(?=[a-z_-]+=)", text or ""):
        key, _, value = item.partition("=")
        name = key.replace("-", "_")
        name = ALIASES.get(name, name)
        if name not in RATES:
            names = ", ".join(RATES)
            raise OptionError(f"--resume_with has {key!r:.100}, expected some of {names}")
        values[name] = OPTIONS[name].parse(value)
    return values
