"""What the options of a resumed run are: those of its checkpoint, and the changes it allows."""

from __future__ import annotations

from typing import Any

from dpcnn.errors import CheckpointError, OptionError
from dpcnn.options.contradictions import check_together, depends_on_length
from dpcnn.options.option import Value
from dpcnn.options.table import OF_DATASET, OPTIONS, Options

# How long the run is: its steps may depend on that, and then it may not change.
LENGTH = frozenset({"epochs", "max_steps"})
# What the learning rates follow from: what --resume_with may change.
RATES = ("lr", *(name for name in OPTIONS if OPTIONS[name].group == "schedule"), *sorted(LENGTH))
# What counts only where the user names it: a checkpoint from elsewhere might name any server, a
# change is made once, and a run that was debugged goes on as any other.
ONLY_NAMED = ("mirror", "resume_with", "debug", "dry_run")


def resumed(
    options: Options,
    named: frozenset[str],
    recorded: dict[str, Any],
    source: str = "the checkpoint",
) -> Options:
    """Return the options of a resumed run: the recorded ones, with the changes that are allowed.

    named: the options that the user named. recorded: all options, as `source` has them. Raises
    OptionError that names every contradiction, and CheckpointError if the recorded options are
    those of another version or out of range.
    """
    if recorded.keys() != OPTIONS.keys():
        names = ", ".join(sorted(recorded.keys() ^ OPTIONS.keys()))
        raise CheckpointError(f"{source} is from another version of dpcnn (options {names})")
    unknown = ", ".join(f"--{name}" for name in OF_DATASET if recorded[name] is None)
    if unknown:
        raise CheckpointError(f"{source}'s options: no {unknown}, expected those of its data")
    values = options.as_dict()
    changes = {name: OPTIONS[name].default for name in ONLY_NAMED}
    changes |= {name: values[name] for name in named if OPTIONS[name].may_change}
    try:
        changed = Options(**recorded | changes)
        check_together(changed)
    except OptionError as error:
        raise CheckpointError(f"{source}'s options: {error}") from None
    fixed = LENGTH if depends_on_length(changed) else frozenset()
    wrong = [
        name
        for name in sorted(named)
        if (not OPTIONS[name].may_change or name in fixed)
        and values[name] != recorded[name]
        and OPTIONS[name].text(values[name]) != "auto"  # which means: as recorded
    ]
    if wrong:
        raise OptionError(_contradiction({name: values[name] for name in wrong}, recorded, source))
    return changed


def _contradiction(named: dict[str, Value], recorded: dict[str, Any], source: str) -> str:
    """Return what to say of options that are not as recorded, and how to change those that can."""
    texts = {name: OPTIONS[name].text(value) for name, value in named.items()}
    wrong = (
        f"--{name} is {text}, expected {OPTIONS[name].text(recorded[name])}{_reason(name)}"
        for name, text in texts.items()
    )
    rates = ",".join(f"{name}={text}" for name, text in texts.items() if name in RATES)
    cure = f" (--resume_with {rates} changes it from here on)" if rates else ""
    return f"{'; '.join(wrong)}, as in {source} that is resumed{cure}"


def _reason(name: str) -> str:
    """Return why an option that may change otherwise may not in this run."""
    return ", on which its learning rates or averages depend" if name in LENGTH else ""
