"""A running run, a broken one and a hostile one give a report too, which says what is missing."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from dpcnn.report import __main__ as command
from dpcnn.report.write import write
from tests.browser import Browser
from tests.launching import run, start, wait_for


def report(path: Path, dataroot: str | None = None) -> str:
    return write([path], None, "html", dataroot).read_text()


def no_checkpoints(run: Path) -> None:
    shutil.rmtree(run / "checkpoints")


def cut_checkpoints(run: Path) -> None:
    for path in run.glob("checkpoints/*.h5"):
        path.write_bytes(path.read_bytes()[:-1])


def cut_newest(run: Path) -> None:
    newest = max(run.glob("checkpoints/*.h5"))
    newest.write_bytes(newest.read_bytes()[:-1])


def broken_line(run: Path) -> None:
    lines = (run / "metrics.jsonl").read_text().splitlines(keepends=True)
    (run / "metrics.jsonl").write_text("".join([lines[0], lines[1][:40] + "\n", *lines[2:]]))


def fifo(run: Path) -> None:
    (run / "environment.json").unlink()
    os.mkfifo(run / "environment.json")


def moved_dataset(run: Path) -> None:
    options = json.loads((run / "options.json").read_text())
    (run / "options.json").write_text(json.dumps(options | {"dataroot": "gone.hdf5"}))
    no_checkpoints(run)


DEEP = '{"lr": ' + "[" * 500 + "]" * 500 + "}"
BROKEN: dict[Callable[[Path], None], tuple[str, ...]] = {
    no_checkpoints: (
        "There is no checkpoint",
        "may not be the one it was trained on",
        "Learning curves",
        "The first training images",
    ),
    cut_checkpoints: ("damaged or cut off", "None of the checkpoints can be read"),
    cut_newest: ("damaged or cut off", "by the network after step 32."),
    broken_line: (
        "metrics.jsonl: line 2 cannot be read",
        "3\N{NO-BREAK SPACE}of\N{NO-BREAK SPACE}3",
    ),
    lambda run: (run / "metrics.jsonl").write_bytes(b"\xff\x00" * 99): (
        "No epoch is finished: the curves are those of its steps",
    ),
    lambda run: (run / "options.json").write_text("[" * 100_000): ("options.json: ",),
    lambda run: (run / "options.json").write_text(DEEP): ("options.json: nested too deep",),
    lambda run: (run / "events.jsonl").unlink(): ("events.jsonl: no such file", "computing"),
    fifo: ("environment.json is not a regular file", "Learning curves"),
    moved_dataset: ("gone.hdf5", "name the dataset with --dataroot", "Learning curves"),
}


@pytest.mark.parametrize("how", BROKEN, ids=[getattr(how, "__name__", "") for how in BROKEN])
def test_what_is_missing_is_said_and_the_rest_is_shown(how, copy):
    how(copy)
    text = report(copy)
    assert "Missing from this report" in text
    for sentence in BROKEN[how]:
        assert sentence in text


def test_a_moved_dataset_can_be_named_and_another_one_is_none(copy, small):
    (copy / "options.json").write_text("{}")
    text = report(copy, dataroot="digits")
    assert "not the data of the checkpoint" in text
    assert "test images are classified" not in text
    assert "test images are classified" in report(copy, dataroot=str(small))


def test_a_streamed_run_shows_what_one_in_memory_does(small, tmp_path):
    for name, more in (("memory", ()), ("stream", ("--stream",))):
        options = ("--dataroot", small, "--epochs", 1, "--n_filter", 4, "--shuffle", "none", *more)
        assert run(None, *options, "--run_dir", name, cwd=tmp_path).returncode == 0
    memory, stream = (report(tmp_path / name) for name in ("memory", "stream"))
    pictures = re.findall('data:image/png;base64,[^"]*', memory)
    assert len(pictures) > 35
    assert re.findall('data:image/png;base64,[^"]*', stream) == pictures


def test_a_run_at_work_is_reported_as_such_and_not_disturbed(small, tmp_path):
    options = ("--dataroot", small, "--epochs", 4000, "--run_dir", "run")
    job = start(2, *options, cwd=tmp_path)
    wait_for(job, "Epoch 1,")
    result = run(None, "run", cwd=tmp_path, module="dpcnn.report")
    text = (tmp_path / "run/report.html").read_text()
    wait_for(job, "Epoch")
    os.kill(job.pid, signal.SIGTERM)
    job.communicate()
    assert (result.returncode, result.stdout) == (0, "run/report.html\n"), result.stderr
    assert ">running</span>" in text
    assert re.search(r"Step [\d,]+ of 64,000", text)
    assert "as of" in text
    assert "Interrupted" not in text
    assert ">stopped by SIGTERM</span>" in report(tmp_path / "run")


EVIL = "</style><script>document.title = 'evil'</script><img src=x onerror=\"throw 1\">&amp;\u202e"


def poison(run: Path) -> None:
    """Put markup, odd values and odd numbers wherever a text or number is shown."""
    options = json.loads((run / "options.json").read_text())
    poisoned = {EVIL: EVIL, "lr": [EVIL, {EVIL: None}], "epochs": -1, "seed": 10**400}
    (run / "options.json").write_text(json.dumps(options | poisoned))
    environment = {EVIL: {EVIL: [EVIL, 1]}, "hosts": [EVIL, None, 3], "cpu": "$\\frac$\0\x1b[31m"}
    (run / "environment.json").write_text(json.dumps(environment))
    (run / "errors").mkdir()
    (run / "errors/rank-0.txt").write_text(EVIL)
    line = json.loads((run / "metrics.jsonl").read_text().splitlines()[0])
    odd = [
        {"loss": float("inf"), "test_loss": 1e308, "ranks": [{"rank": -1}, None, {"rank": 0}]},
        {"epoch": 10**300, "loss": -1e308, "seconds": -5, "ranks": {}, "weights_sha256": EVIL},
        {"epoch": 3.5, "loss": EVIL, "test_accuracy": True, "ranks": [{"rank": 0, "host": EVIL}]},
        {"epoch": 4, "ranks": [{"rank": 1, "compute_seconds": -1, "seconds": 1e300, "host": []}]},
    ]
    broken = ["[]", "null", "9" * 5000, r'{"epoch": 9, "\ud800": 1}', "\0"]
    lines = [*(json.dumps(line | values) for values in odd), *broken]
    (run / "metrics.jsonl").write_text("\n".join(lines))
    events = [
        {"event": EVIL, "time": EVIL, "step": -1},
        {"event": "resume", "time": "0001-01-01T00:00:00+14:00", "restart": EVIL},
        {"event": "death", "ranks": [EVIL, {"rank": EVIL}], "time": "9999-12-31T23:59:59-14:00"},
        {"event": ["start"], "time": 5},
        {"event": "end", "exit_code": EVIL},
    ]
    (run / "events.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events))


def test_a_hostile_run_directory_runs_nothing(copy, whole, small, browser: Browser):
    poison(copy)
    evil = copy.rename(copy.with_name("<img src=y>&\udcff$x_1$"))
    page = write([evil], copy.with_name("page.html"), "html", str(small))
    other = write([evil, whole], copy.with_name("comparison.html"), "html", None)
    for path in (page, other):
        browser.open(path, 390)
        assert browser.complaints() == []
        assert browser.requests() == [path.as_uri()]
        assert browser.evaluate("document.title") != "evil"
        assert browser.evaluate("document.scripts.length") == 0
        assert browser.evaluate("document.documentElement.scrollWidth") <= 390
        assert EVIL.rstrip("\u202e") in browser.evaluate("document.body.textContent")
        assert re.findall(r"\b(?:None|nan|NaN)\b", browser.text()) == []
    assert write([evil], copy.with_name("png"), "png", str(small)).is_dir()


@pytest.mark.parametrize("name", ["empty", "file", "gone", "whole/checkpoints"])
def test_what_is_no_run_directory_is_refused_in_one_line(name, whole, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    path = whole.parent / name if name.startswith("whole") else tmp_path / name
    assert command.main([str(whole), str(path)]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line == f"dpcnn: error: {path}: not a run directory, expected one such as runs/NAME"


def test_a_place_that_cannot_be_written_to_is_refused_in_one_line(whole, tmp_path, capsys):
    assert command.main([str(whole), "--out", str(tmp_path / "no/page.html")]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith(f"dpcnn: error: --out {tmp_path}/no/page.html: No such file")


@pytest.mark.parametrize("package", ["matplotlib", "jinja2", "markupsafe"])
def test_a_missing_package_is_named_with_the_extra(package, whole):
    program = f"import sys; sys.modules['{package}'] = None; from dpcnn.report import __main__"
    program += f"; sys.exit(__main__.main(['{whole}']))"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    needs = f"writing a report needs the package {package}: pip install 'dpcnn[report]'"
    assert (result.returncode, result.stderr) == (2, f"dpcnn: error: {needs}\n")


def test_a_report_of_several_ranks_is_written_and_printed_once(whole, tmp_path):
    result = run(2, whole, "--out", "page.html", cwd=tmp_path, module="dpcnn.report")
    assert (result.returncode, result.stdout) == (0, "page.html\n"), result.stderr
