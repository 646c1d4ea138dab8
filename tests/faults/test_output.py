"""What the supervisor hands on: all of it, in whole lines, however slowly it is read."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.launching import ROOT, TIMEOUT, end, supervised

sys.path.insert(0, str(ROOT / "launch/lib"))
from output import Output

RANK = """
import os, sys
from dpcnn.system import streams
streams.secure()
"""


def supervise(tmp_path: Path, script: str) -> subprocess.Popen[str]:
    """Start a supervisor whose mpirun is a shell script that may run the Python code in $RANK."""
    return subprocess.Popen(
        [*supervised(0), "sh", "-c", script],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT), "PYTHON": sys.executable, "RANK": RANK},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def test_the_last_words_are_read_however_slowly(tmp_path: Path) -> None:
    """More than the pipes hold, and the job ends while nobody reads."""
    over = """echo '{"exit_code": 0}' > $DPCNN_OUTCOME"""
    code = "$RANK\nfor _ in range(5000): print('x' * 99)"
    script = f'"$PYTHON" -c "{code}"; touch over; {over}'
    job = supervise(tmp_path, script)
    while not (tmp_path / "over").exists():  # although nobody has read a word
        assert job.poll() is None
    result = end(job)
    assert (result.returncode, result.stdout) == (0, f"{'x' * 99}\n" * 5000)


def test_a_line_of_mpirun_does_not_continue_one_of_a_rank_or_its_bar(
    tmp_path: Path,
) -> None:
    read, write = os.pipe()
    before = os.dup(2)
    os.dup2(write, 2)
    try:
        output = Output(tmp_path)
    finally:
        os.dup2(before, 2)
        os.close(write)
    rank = os.open(tmp_path / "stderr", os.O_WRONLY)
    for shown, between in ((b"\repoch 1/4\r", b"\x1b[J"), (b"Epoch 1", b"\n"), (b"\r\x1b[J", b"")):
        os.write(rank, shown)
        assert os.read(read, 99) == shown
        os.write(output.stderr, b"mpirun: a word\n")
        assert os.read(read, 99) == between + b"mpirun: a word\n"
    output.close()
    output.finish(lambda: False)
    os.close(rank)
    assert os.read(read, 99) == b""
    os.close(read)


@pytest.mark.parametrize("pipes", [(), ("stdout",), ("stdout", "stderr")])
def test_a_rank_elsewhere_has_the_streams_that_mpirun_gave_it(pipes, tmp_path: Path) -> None:
    """The named pipes are not there, or nobody on this host reads them."""
    for name in pipes:
        os.mkfifo(tmp_path / name)
    code = f"{RANK}\nprint('out'); print('err', file=sys.stderr); print(os.environ)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONPATH": str(ROOT), "DPCNN_OUTPUT": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
    )
    assert done.stdout.startswith("out\n")
    assert done.stderr == "err\n"
    assert "DPCNN_OUTPUT" not in done.stdout
