"""The history of a run: its events, gathered into the sessions between a start and an end."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from dpcnn.system.text import one_line

BEGINNINGS = ("start", "resume")


@dataclass(frozen=True)
class Event:
    """What happened, when (None where the time cannot be read), and the other facts."""

    kind: str
    time: datetime | None
    facts: dict[str, Any]

    @property
    def step(self) -> int | None:
        """The step it happened after."""
        return _count(self.facts.get("step"))

    @property
    def ranks(self) -> int | None:
        """How many ranks there were then."""
        return _count(self.facts.get("world_size"))

    def words(self) -> str:
        """Say what happened."""
        at = f" after step {self.step:,}" if self.step else ""
        size = self.ranks
        ranks = "" if size is None else f" on {size} rank{'s' * (size != 1)}"
        restart = _count(self.facts.get("restart"))
        again = f", restart {restart} by the supervisor" if restart else ""
        replaced = self.facts.get("replaced")
        fresh = f", replaced by {_names(replaced)}" if replaced else ""
        code = self.facts.get("exit_code")
        words = {
            "start": f"Started{ranks}{again}",
            "resume": f"Resumed{at}{ranks}{again}",
            "epoch": f"Finished epoch {one_line(self.facts.get('epoch'))}",
            "stop": f"Stopped by {one_line(self.facts.get('signal'))}{at}, saved",
            "death": f"Lost {_names(self.facts.get('ranks'))}{at}, went on{ranks}{fresh}",
            "divergence": f"Diverged: {one_line(self.facts.get('error'))}",
            "kill": f"Broken off, last heard of{at}: no end is recorded",
            "end": "Ended" if code == 0 else f"Ended with exit code {one_line(code)}",
        }
        return words.get(self.kind, f"{one_line(self.kind).capitalize()}{at}{ranks}")


@dataclass
class Session:
    """What happened from one start to the next."""

    events: list[Event] = field(default_factory=list)

    @property
    def begun(self) -> datetime | None:
        """When it began, as far as is known."""
        return next((each.time for each in self.events if each.time), None)

    @property
    def seen(self) -> datetime | None:
        """When it was last heard of."""
        return max((each.time for each in self.events if each.time), default=None)

    @property
    def ended(self) -> bool:
        """Tell whether it ended by itself; else it was killed, or is at work."""
        return any(each.kind == "end" for each in self.events)


def sessions(lines: list[dict[str, Any]]) -> list[Session]:
    """Return the sessions of the lines of events.jsonl, in their order."""
    found: list[Session] = []
    for line in lines:
        event = Event(one_line(line["event"]), _time(line.get("time")), line)
        if event.kind in BEGINNINGS or not found:
            found.append(Session())
        found[-1].events.append(event)
    return found


def _time(text: Any) -> datetime | None:
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except (TypeError, ValueError, OverflowError):
        return None


def _count(value: Any) -> int | None:
    return value if type(value) is int and 0 <= value < 2**63 else None


def _names(ranks: Any) -> str:
    """Name lost ranks: rank 2 on vm."""
    known = [each for each in ranks if isinstance(each, dict)] if isinstance(ranks, list) else []
    names = [f"rank {one_line(each.get('rank'))} on {one_line(each.get('host'))}" for each in known]
    return ", ".join(names) or "a rank"
