"""The history of a run: its events, grouped into sessions, each from a start to the next."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from dpcnn.options import OPTIONS
from dpcnn.report.files import as_line

STARTS = ("start", "resume")


@dataclass(frozen=True)
class Event:
    """What happened, when (None if that cannot be read), and the other values of its line."""

    kind: str
    time: datetime | None
    values: dict[str, Any]

    @property
    def step(self) -> int | None:
        """The step it happened after."""
        return _count(self.values.get("step"))

    @property
    def sentence(self) -> str:
        """What happened, in a sentence."""
        value = self.values.get
        after = f" after step {self.step:,}" if self.step else ""
        size = _count(value("world_size"))
        ranks = "" if size is None else f" on {size} rank{'s' * (size != 1)}"
        restart = _count(value("restart"))
        again = f" (automatic restart {restart})" if restart else ""
        replacement = f", replaced by {_names(value('replaced'))}" if value("replaced") else ""
        code = as_line(value("exit_code"))
        texts = {
            "start": f"Started{ranks}{again}",
            "resume": f"Resumed{after}{ranks}{again}",
            "change": f"Changed{after}: {_changes(value('before'), value('after'))}",
            "death": f"Lost {_names(value('ranks'))}{after}, continued{ranks}{replacement}",
            "stop": f"Stopped by {as_line(value('signal'))}{after}, state saved",
            "early_stop": f"Stopped early{after}: {as_line(value('reason'))}",
            "divergence": f"Diverged{after}: {as_line(value('error'))}",
            "interruption": f"Interrupted{' some time' * bool(after)}{after}: no end is recorded",
            "end": "Finished" if code == "0" else f"Ended with exit code {code}",
        }
        return texts.get(self.kind, f"{self.kind.capitalize()}{after}{ranks}")


@dataclass(frozen=True)
class Session:
    """What happened from one start to the next; `running` if it goes on."""

    events: list[Event]
    running: bool = False

    def of_kind(self, kind: str) -> list[Event]:
        """Return the events of a kind."""
        return [event for event in self.events if event.kind == kind]

    @property
    def milestones(self) -> list[Event]:
        """The events but for the ends of epochs."""
        return [event for event in self.events if event.kind != "epoch"]

    @property
    def begin(self) -> datetime | None:
        """The time of its first event."""
        return next((event.time for event in self.events if event.time), None)

    @property
    def seconds(self) -> float:
        """How long it ran: until its last event, or until now."""
        return self.seconds_until(datetime.now(UTC) if self.running else _last_time(self.events))

    def seconds_until(self, time: datetime | None) -> float:
        """Return how long it had run at a time, 0 if that or its begin is not known."""
        if time is None or self.begin is None:
            return 0.0
        return max(0.0, (time - self.begin).total_seconds())


def sessions(lines: list[dict[str, Any]], running: bool = False) -> list[Session]:
    """Return the sessions of the lines of events.jsonl, in order.

    running: whether the last one goes on. Any other without an end gets an `interruption` at the
    time of its last event.
    """
    groups: list[list[Event]] = []
    for line in lines:
        event = Event(as_line(line["event"]), as_time(line.get("time")), line)
        if event.kind in STARTS or not groups:
            groups.append([])
        groups[-1].append(event)
    for events in groups[: len(groups) - running]:
        if not any(event.kind == "end" for event in events):
            step = max((event.step for event in events if event.step is not None), default=0)
            events.append(Event("interruption", _last_time(events), {"step": step}))
    return [Session(events, running and events is groups[-1]) for events in groups]


def _last_time(events: list[Event]) -> datetime | None:
    return max((event.time for event in events if event.time), default=None)


def as_time(text: Any) -> datetime | None:
    """Return the time of a text such as 2026-11-26T07:51:13+00:00, None if it is none."""
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except (TypeError, ValueError, OverflowError):
        return None


def _count(value: Any) -> int | None:
    return value if type(value) is int and 0 <= value < 2**63 else None


def _changes(before: Any, after: Any) -> str:
    """Name options with their values: lr from 0.01 to 0.005."""
    if not (isinstance(before, dict) and isinstance(after, dict)):
        return "options"
    pairs = ((name, _typed(name, before.get(name)), _typed(name, after[name])) for name in after)
    return ", ".join(f"{as_line(name)} from {old} to {new}" for name, old, new in pairs)


def _typed(name: str, value: Any) -> str:
    """Return an option's value as it would be typed."""
    is_none = value is None and name in OPTIONS
    return OPTIONS[name].none_word if is_none else as_line(value)


def _names(ranks: Any) -> str:
    """Name ranks: rank 2 on vm."""
    objects = [rank for rank in ranks if isinstance(rank, dict)] if isinstance(ranks, list) else []
    names = [f"rank {as_line(rank.get('rank'))} on {as_line(rank.get('host'))}" for rank in objects]
    return ", ".join(names) or "a rank"
