"""The history of a run: added to, never cut, and readable after whatever happened to a line."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from dpcnn.run import events


def test_events_follow_each_other_with_their_time(tmp_path: Path) -> None:
    before = datetime.now(UTC).replace(microsecond=0)
    events.append(tmp_path, "start", step=0, hosts=["a", "b"])
    events.append(tmp_path, "end", exit_code=0)
    first, second = map(json.loads, (tmp_path / events.NAME).read_text().splitlines())
    assert (first["event"], first["step"], first["hosts"]) == ("start", 0, ["a", "b"])
    assert (second["event"], second["exit_code"]) == ("end", 0)
    times = [datetime.fromisoformat(each["time"]) for each in (first, second)]
    assert before <= times[0] <= times[1] <= datetime.now(UTC)


def test_an_event_after_a_line_that_was_cut_is_whole(tmp_path: Path) -> None:
    events.append(tmp_path, "start")
    with (tmp_path / events.NAME).open("a") as file:
        file.write('{"time": "20')
    events.append(tmp_path, "end")
    lines = (tmp_path / events.NAME).read_text().splitlines()
    assert len(lines) == 3
    assert json.loads(lines[2])["event"] == "end"


def test_the_newest_beginning_is_found_again_behind_whatever_else_is_there(tmp_path: Path) -> None:
    assert events.beginning(tmp_path) is None
    events.append(tmp_path, "start", step=0)
    events.append(tmp_path, "resume", step=30)
    events.append(tmp_path, "epoch", step=60)
    with (tmp_path / events.NAME).open("a") as file:
        file.write('[]\n{"event": "start"}\n{"time": "20')
    found = events.beginning(tmp_path)
    assert found is not None
    step, seconds = found
    assert step == 30
    assert seconds >= 0


def test_an_event_that_cannot_be_kept_is_an_oserror(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        events.append(tmp_path / "gone", "start")
