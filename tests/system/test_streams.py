"""What is lost when nobody can read it: a line at most, never the work."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.launching import ROOT, Result

PRINT = """
import os, sys
from dpcnn.system import streams
streams.secure({going_on!r})
for _ in range(3):
    print("text")
os.write(1, b"by a library")
print("the end", end="", file=sys.stderr, flush=True)
sys.exit(3)
"""


def shell(redirections: str, code: str, **environment: str) -> Result:
    """Run Python code with its streams redirected."""
    command = f'"$@" {redirections}'
    done = subprocess.run(
        ["bash", "-c", command, "bash", sys.executable, "-c", code],
        cwd=ROOT,
        env={"PATH": "/bin:/usr/bin"} | environment,
        capture_output=True,
        text=True,
    )
    return Result(done.returncode, done.stdout, done.stderr)


@pytest.mark.parametrize(
    ("redirections", "going_on", "stderr"),
    [
        (
            "> /dev/full",
            "training goes on",
            "warning: standard output cannot be written any more (No space left on device):"
            " training goes on\nthe end",
        ),
        (">&-", "", "the end"),
        ("<&- >&- 2>&-", "", ""),
        ("> /dev/full 2> /dev/full", "training goes on", ""),
    ],
)
def test_work_goes_on_without_a_stream(redirections: str, going_on: str, stderr: str) -> None:
    done = shell(redirections, PRINT.format(going_on=going_on))
    assert (done.returncode, done.stdout, done.stderr) == (3, "", stderr)


def test_a_result_that_cannot_be_written_is_an_error() -> None:
    code = PRINT.format(going_on="")
    done = shell("> /dev/full", code)
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert last.endswith("standard output cannot be written any more (No space left on device)")


def test_who_has_read_enough_is_told_nothing() -> None:
    closed = "import os; r, w = os.pipe(); os.dup2(w, 1); os.close(r); os.close(w)"
    done = shell("", closed + PRINT.format(going_on=""))
    assert (done.returncode, done.stderr) == (3, "the end")


def test_a_file_does_not_get_the_number_of_a_closed_stream() -> None:
    code = "from dpcnn.system import streams; streams.secure(); import sys;"
    code += "sys.exit(open('/dev/null').fileno() < 3)"
    assert shell("<&- >&- 2>&-", code).returncode == 0


def test_letters_that_an_encoding_lacks_are_shown_escaped() -> None:
    code = "from dpcnn.system import streams; streams.secure(); print('\\u00e9')"
    assert shell("", code, PYTHONIOENCODING="ascii").stdout == "\\xe9\n"


def test_what_is_in_a_pipe_is_waited_for() -> None:
    """The reader takes what was written, then closes: only then does the writer go on."""
    code = (
        "import os, threading; from dpcnn.system import streams; read, write = os.pipe();"
        " os.dup2(write, 1); os.write(1, b'x' * 1000); assert streams._unread(1) == 1000;"
        " threading.Timer(0.05, os.read, (read, 1000)).start(); streams.wait_until_read();"
        " assert streams._unread(1) == 0"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
