"""Which options say nothing, or the opposite, beside others: found before anything starts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from dpcnn.errors import OptionError
from dpcnn.options.table import Options

Values = Mapping[str, Any]  # name of an option -> value, None or False where it is not set

# The optimizers, and the schedules, that use an option.
OPTIMIZERS = {
    "momentum": ("sgd", "rmsprop", "lars"),
    "nesterov": ("sgd",),
    "beta1": ("adam", "adamw"),
    "beta2": ("adam", "adamw", "rmsprop"),
    "eps": ("adam", "adamw", "rmsprop"),
}
SCHEDULES = {
    "milestones": ("step",),
    "gamma": ("step", "plateau"),
    "plateau_patience": ("plateau",),
    "first_lr": ("triangle",),
    "final_lr": ("cosine", "linear", "onecycle", "triangle", "plateau"),
    "pct_start": ("onecycle", "triangle"),
    "warmup": ("constant", "step", "cosine", "linear", "plateau"),
}
# Schedules that depend on the number of steps of the whole run.
WHOLE_RUN = ("cosine", "linear", "onecycle", "triangle")


def check_together(options: Options) -> None:
    """Raise OptionError that names options that do not go together, the first if there are more."""
    for message in _contradictions(options.as_dict()):
        raise OptionError(message)


def depends_on_length(options: Options) -> bool:
    """Tell whether the steps depend on how long the whole run is."""
    spans = f"{options.warmup or ''},{options.milestones or ''}".split(",")
    parts = any(is_part(span) for span in spans)
    return options.schedule in WHOLE_RUN or parts or options.lookahead is not None


def is_part(span: str) -> bool:
    """Tell whether a length of time is a part of the run, and not epochs or steps."""
    return span != "" and not span.endswith(("ep", "st"))


def _contradictions(values: Values) -> Iterator[str]:
    yield from _unused(values, "optimizer", OPTIMIZERS)
    yield from _unused(values, "schedule", SCHEDULES)
    if values["nesterov"] and not values["momentum"]:
        yield "--nesterov is true without --momentum, expected one such as --momentum 0.9"
    if values["decay_all"] and not values["weight_decay"] and not _decays(values):
        yield "--decay_all is true without --weight_decay, expected one such as 0.0001"
    if values["schedule"] == "step" and values["milestones"] is None:
        yield "--schedule is step without --milestones, expected some such as 0.5,0.75"
    if values["ema"] is not None and values["lookahead"] is not None:
        yield "--ema and --lookahead are set, expected one: each is an average that is evaluated"
    for name in ("first_lr", "final_lr"):
        if (values[name] or 0) > values["lr"]:
            yield f"--{name} is {values[name]}, expected at most --lr, {values['lr']}"


def _decays(values: Values) -> bool:
    """Tell whether the optimizer decays the weights without being asked."""
    return values["optimizer"] == "adamw" and values["weight_decay"] is None


def _unused(values: Values, chooser: str, users: Mapping[str, tuple[str, ...]]) -> Iterator[str]:
    """Yield what to say of options that are set and that the choice makes no use of."""
    choice = values[chooser]
    for name, choices in users.items():
        if values[name] not in (None, False) and choice not in choices:
            *others, last = choices
            expected = f"{', '.join(others)} or {last}" if others else last
            yield (
                f"--{name} is {str(values[name]).lower()} with --{chooser} {choice}, expected"
                f" --{chooser} {expected}"
            )
