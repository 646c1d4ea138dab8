"""The doctor under real launchers: it names what is wrong, and leaves nothing behind."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from itertools import takewhile
from pathlib import Path

import pytest

from tests.launching import ROOT, Result, end, launcher, refusals, run

NAMES = (
    "MPI", "ranks", "packages", "CPU", "cores", "NUMA", "BLAS", "shared memory", "limits",
    "clocks", "run directory", "allreduce", "step",
)  # fmt: skip
NAMESPACES = ("unshare", "--uts", "--mount")
RANK = "${PMI_RANK:-$OMPI_COMM_WORLD_RANK}"


def findings(result: Result) -> list[tuple[str, str, str]]:
    """Return state, name and text with the cure of each finding."""
    text = re.sub(r"\n {9,}", " ", result.stdout)
    pattern = re.compile(r"^(ok|warning|failure) {2,}(.{14}) (.*)$", re.MULTILINE)
    return [(state, name.strip(), rest) for state, name, rest in pattern.findall(text)]


def failures(result: Result) -> list[tuple[str, str]]:
    """Return name and text of the failures, after checking that they decide the exit code."""
    failed = [(name, text) for state, name, text in findings(result) if state == "failure"]
    assert result.returncode == (1 if failed else 0), result
    assert all("cure: " in text for _, text in failed), result
    assert "Traceback" not in result.stderr
    return failed


def examine(ranks, *options, cwd, **more):
    return run(ranks, *options, cwd=cwd, module="dpcnn.doctor", **more)


def start_wrapped(
    tmp_path: Path, script: str, ranks: int, mpi: str, *options: str
) -> subprocess.Popen[str]:
    """Begin to examine ranks whose Python a script starts: "$@" is the command."""
    wrapper = tmp_path / "wrapper"
    wrapper.write_text(f"#!/bin/sh\n{script}\n")
    wrapper.chmod(0o755)
    *mpirun, python = launcher(ranks, mpi)
    command = [*mpirun, str(wrapper), python, "-m", "dpcnn.doctor", *options]
    return subprocess.Popen(
        command,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def wrapped(tmp_path: Path, script: str, ranks: int, mpi: str, *options: str) -> Result:
    """Examine ranks whose Python a script starts, to the end."""
    return end(start_wrapped(tmp_path, script, ranks, mpi, *options))


@pytest.fixture
def namespaces():
    """Skip where no host name or mount can be made up: that needs root, or a kernel that lets."""
    test = [*NAMESPACES, "sh", "-c", "hostname other && mount -t tmpfs none /mnt"]
    if shutil.which("unshare") is None:
        pytest.skip("no unshare here: install util-linux")
    tried = subprocess.run(test, capture_output=True, text=True, check=False)
    if tried.returncode:
        pytest.skip(f"no namespaces here: {tried.stderr.strip()}")


@pytest.mark.parametrize("ranks", [None, 2])
@pytest.mark.parametrize("mpi", ["mpich", "openmpi"])
def test_sound_ranks_have_no_failure(ranks, mpi, tmp_path):
    result = examine(ranks, cwd=tmp_path, mpi=mpi)
    assert failures(result) == []
    assert [name for name in NAMES if name not in {shown for _, shown, _ in findings(result)}] == []
    assert result.stdout.splitlines()[-1].startswith("0 failures, ")
    assert max(map(len, result.stdout.splitlines())) <= 80
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("mpirun", ["mpich", "openmpi"])
def test_the_mpirun_of_another_mpi_is_named(mpirun, tmp_path):
    python = launcher(1, "openmpi" if mpirun == "mpich" else "mpich")[-1]
    result = wrapped(tmp_path, f'shift\nexec {python} "$@"', 2, mpirun)
    [(name, text)] = failures(result)
    assert name == "MPI"
    for part in ("started 2 ranks", "Open MPI", "MPICH", "cure: start with the mpirun of that"):
        assert part in text


@pytest.mark.parametrize("on_path", ["mpich", "openmpi"])
def test_one_process_is_told_whether_the_mpirun_on_the_path_would_do(on_path, tmp_path):
    mpirun = Path(launcher(1, on_path)[0])
    path = {"PATH": f"{mpirun.parent}:{os.environ['PATH']}"}
    result = examine(None, cwd=tmp_path, **path)
    assert failures(result) == []
    [(state, text)] = [(state, text) for state, name, text in findings(result) if name == "MPI"]
    assert state == ("ok" if mpirun.parent == Path(sys.executable).parent else "warning")
    assert str(mpirun) in text
    assert "mpi4py uses MPICH" in text


@pytest.mark.parametrize("mpi", ["mpich", "openmpi"])
def test_threads_over_bound_cores_are_named(mpi, tmp_path):
    if shutil.which("taskset") is None:
        pytest.skip("no taskset here: install util-linux")
    core = min(os.sched_getaffinity(0))
    script = f'[ {RANK} = 0 ] || exec taskset -c {core} "$@"\nexec "$@"'
    job = start_wrapped(tmp_path, script, 2, mpi, "--threads", str(2))
    assert job.stdout is not None
    # Not to the end: the steps that it times would take long like this.
    shown = "".join(takewhile(lambda line: not re.match(r"\w+ +BLAS ", line), job.stdout))
    job.terminate()
    end(job)
    found = findings(Result(0, shown, ""))
    named = [text for state, name, text in found if (state, name) == ("failure", "cores")]
    assert any(re.match(r"rank 1 on \S+: 2 BLAS threads on 1 core ", text) for text in named)


def test_a_file_in_place_of_the_run_directory_is_named(tmp_path):
    (tmp_path / "runs").touch()
    result = examine(2, "--run_dir", "runs/first", cwd=tmp_path)
    [(name, text)] = failures(result)
    assert name == "run directory"
    assert "runs/first: " in text
    assert "cure: name another directory with --run_dir" in text


@pytest.mark.usefixtures("namespaces")
def test_a_read_only_file_system_is_named(tmp_path):
    place = tmp_path / "place"
    place.mkdir()
    script = f'mount -t tmpfs -o ro none {place} && exec "$@"'
    under = (*NAMESPACES, "sh", "-c", script, "sh")
    result = examine(2, "--run_dir", place / "run", cwd=tmp_path, under=under)
    [(name, text)] = failures(result)
    assert name == "run directory"
    assert f"Read-only file system in {place}" in text


@pytest.mark.usefixtures("namespaces")
def test_memory_as_a_run_directory_is_a_warning(tmp_path):
    place = tmp_path / "place"
    place.mkdir()
    under = (*NAMESPACES, "sh", "-c", f'mount -t tmpfs none {place} && exec "$@"', "sh")
    result = examine(None, "--run_dir", place / "run", cwd=tmp_path, under=under)
    assert failures(result) == []
    [warning] = [text for state, name, text in findings(result) if name == "run directory"]
    assert "on tmpfs (none)" in warning
    assert "lost with the machine" in warning


def on_another_host(commands: str) -> str:
    """Return a script that runs rank 1 on a host named other, after these commands."""
    inside = f'hostname other && {commands} && exec "$@"'
    return f'[ {RANK} = 0 ] && exec "$@"\nexec {" ".join(NAMESPACES)} sh -c \'{inside}\' sh "$@"'


@pytest.mark.usefixtures("namespaces")
@pytest.mark.parametrize("mpi", ["mpich", "openmpi"])
def test_another_version_on_another_host_is_named(mpi, tmp_path):
    copy = tmp_path / "copy/dpcnn"
    shutil.copytree(ROOT / "dpcnn", copy, ignore=shutil.ignore_patterns("__pycache__"))
    version = copy / "version.py"
    version.write_text(re.sub(r'__version__ = ".*"', '__version__ = "9.9"', version.read_text()))
    script = on_another_host(f"export PYTHONPATH={copy.parent}")
    result = wrapped(tmp_path, script, 2, mpi)
    named = failures(result)
    assert {name for name, _ in named} == {"packages"}
    assert re.search(r"dpcnn \S+ on \S+; dpcnn 9\.9 on other cure: install the same", named[0][1])
    assert re.search(r"dpcnn's files \w+ on \S+; dpcnn's files \w+ on other", named[1][1])


@pytest.mark.usefixtures("namespaces")
def test_another_kind_of_cpu_and_a_directory_not_shared_are_warnings(tmp_path):
    (tmp_path / "cpuinfo").write_text("model name\t: Z80\n")
    runs = tmp_path / "runs"
    runs.mkdir()
    script = f"mount --bind {tmp_path}/cpuinfo /proc/cpuinfo && mount -t tmpfs none {runs}"
    result = wrapped(tmp_path, on_another_host(script), 2, "mpich", "--run_dir", str(runs / "x"))
    assert failures(result) == []
    warnings = {name: text for state, name, text in findings(result) if state == "warning"}
    assert "Z80" in warnings["CPU"]
    assert "on other: the kinds of CPU differ, so the bits" in warnings["CPU"]
    assert f"{runs}/x: not visible on other" in warnings["run directory"]


def test_a_rank_that_hangs_is_named(tmp_path):
    (tmp_path / "sitecustomize.py").write_text(
        "import os, signal\n"
        "if os.environ.get('PMI_RANK') == '1':\n"
        "    from dpcnn.doctor import directory\n"
        "    directory._view = lambda folder: os.kill(os.getpid(), signal.SIGSTOP)\n"
    )
    path = {"PYTHONPATH": f"{tmp_path}:{ROOT}"}
    result = examine(2, "--timeout", 1, cwd=tmp_path, **path)
    assert result.returncode == 1
    assert re.search(r"waited 1 s \(--timeout\) for rank 1 on ", result.stderr)


def test_a_wrong_option_is_one_line(tmp_path):
    wrong = {
        ("--threads", "0"): "--threads is 0, expected an integer from 1",
        ("--timeout", "-1"): "--timeout is -1, expected",
        ("--run_dirr", "x"): "--run_dirr",
    }
    lines = refusals(2, "dpcnn.doctor.__main__", list(wrong), tmp_path)
    for line, message in zip(lines, wrong.values(), strict=True):
        assert message in line
