"""A run that cannot begin, or whose mpirun does not end, is ended and tried again."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from typing import Any

import pytest

from tests.launching import ROOT, end, launcher, run, session_of, start, supervised

sys.path.insert(0, str(ROOT / "launch/lib"))
from patience import LOST, NEVER, OVER, Patience, View

STEPS = ("--max_steps", 4, "--run_dir", "run", "--progress", "none")
TWO, ONE = View(frozenset({7, 8})), View(frozenset({7}))
NONE = View(frozenset())


def waits(*views: View, hosts: bool = False) -> float:
    """Return how many seconds the last of these views is waited for, up to 1,000."""
    patience = Patience(hosts)
    for view in views[:-1]:
        assert not patience.is_over(view, 1)
    return next((s for s in range(1, 1000) if patience.is_over(views[-1], 1)), 1000)


@pytest.mark.parametrize(
    ("views", "limit"),
    [
        ((NONE,), NEVER),
        ((TWO, NONE), OVER),
        ((TWO, ONE), LOST),
        ((ONE._replace(expected=2),), LOST),
        ((TWO._replace(expected=2),), 1000),
        ((TWO, TWO._replace(stopped=frozenset({8}))), LOST),
        ((TWO, TWO._replace(asked=True)), LOST),
        ((NONE._replace(asked=True),), OVER),
        ((NONE._replace(ended=True, told=True),), OVER),
        ((TWO._replace(ended=True, told=True),), OVER),
        ((NONE._replace(told=True),), OVER),
        ((TWO,), 1000),
        ((TWO._replace(told=True), ONE._replace(told=True)), 1000),
        ((TWO, TWO._replace(told=True, asked=True)), 1000),
    ],
)
def test_what_is_waited_for_and_how_long(views, limit):
    assert waits(*views) == limit


def test_on_other_hosts_a_run_may_have_begun_that_this_one_knows_nothing_of():
    assert waits(TWO, ONE, hosts=True) == 1000
    assert waits(NONE._replace(elsewhere=True), NONE, hosts=True) == OVER


def test_an_mpirun_that_hangs_after_a_short_run_is_ended(tmp_path):
    """Without a word of the run's end there is one more start, and no third one.

    What is told: the end, the beginning, nothing. They are waited for at the same time.
    """
    starts = {'{"exit_code": 0}': 1, '{"run_dir": "run"}': 2, "": 2}
    began, jobs = time.monotonic(), []
    for told in starts:
        run = f"echo '{told}' > $DPCNN_OUTCOME; " if told else "PMI_RANK=0 sleep 0.5; "
        mpirun = ("sh", "-c", f"echo start; sleep 0.1; {run} sleep 300; true")
        jobs.append(
            subprocess.Popen(
                [*supervised(1), *mpirun],
                cwd=tmp_path,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                start_new_session=True,
            )
        )
    results = [end(job) for job in jobs]
    assert time.monotonic() - began < 200
    for result, count in zip(results, starts.values(), strict=True):
        assert result.returncode == count - 1
        assert result.stdout.count("start") == count


@pytest.mark.parametrize(
    "losses",
    [
        [("elastic", "kill"), ("mpich", "stop")],
        pytest.param([("elastic", "stop")], marks=pytest.mark.long),
    ],
)
def test_a_rank_lost_before_all_have_met_is_a_restart(losses, small, tmp_path):
    """The jobs of a list are waited for at the same time."""
    jobs = []
    for mpi, action in losses:
        dying = {"DYING": f"starting 1 1 {action}", "DYING_ONCE": "1"}
        more: dict[str, Any] = {"mpi": mpi, "module": "tests.faults.dying", **dying}
        (cwd := tmp_path / mpi).mkdir()
        jobs.append(start(2, "--dataroot", small, *STEPS, cwd=cwd, under=supervised(1), **more))
    for result in [end(job) for job in jobs]:
        assert result.returncode == 0, result
        # Open MPI may add a page of its own: that the rank which is left cannot reach the other.
        [line] = [line for line in result.stderr.splitlines() if line.startswith("dpcnn: ")]
        assert line.endswith("restart 1 of 1"), result.stderr


@pytest.mark.parametrize("mpi", ["mpich", "openmpi"])
def test_ranks_that_do_not_meet_end_with_one_line(mpi, tmp_path):
    meet = (
        "import os, signal; from dpcnn.parallel import connect, launcher; me = launcher.detect();"
        " me.rank or os.kill(os.getpid(), signal.SIGSTOP); connect.connect(me, 2.0)"
    )
    more = {"cwd": tmp_path, "stderr": subprocess.PIPE, "text": True, "timeout": 60}
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    result = subprocess.run([*launcher(3, mpi), "-c", meet], env=environment, **more)
    assert result.returncode != 0
    line = "dpcnn: error: waited 2 s for all 3 ranks to start: one of them has died, or hangs"
    assert result.stderr.count("dpcnn: ") == 1, result.stderr
    assert line in result.stderr


@pytest.mark.parametrize("moment", ["loading 1 0", "exchange 4 1"])
def test_a_rank_that_hangs_before_training_is_named_after_the_timeout(moment, small, tmp_path):
    plan = {"DYING": f"{moment} hang", "DYING_SETTING_UP": "2"}
    options = ("--dataroot", small, *STEPS, "--timeout", 1)
    result = run(2, *options, cwd=tmp_path, module="tests.faults.dying", **plan)
    assert result.returncode == 1
    assert f"waited 2 s (--timeout) for rank {moment[-1]} on " in result.stderr
    assert result.stderr.count("dpcnn: error: ") == 1


def test_a_machine_with_no_network_but_its_own_is_enough(small, tmp_path):
    alone = (
        "unshare",
        "--net",
        "--map-root-user",
        "sh",
        "-c",
        'ip link set lo up && exec "$@"',
        "",
    )
    if subprocess.run([*alone, "true"], capture_output=True).returncode:
        pytest.skip("unshare --net is not allowed here")
    under = (*alone, *supervised(0))
    result = run(2, "--dataroot", small, *STEPS, cwd=tmp_path, mpi="elastic", under=under)
    assert result.returncode == 0, result
    assert result.stderr == ""


def test_a_test_that_gives_up_leaves_no_process_behind(monkeypatch, tmp_path):
    monkeypatch.setattr("tests.launching.TIMEOUT", 1)
    own_group = "import os, time; os.setpgid(0, 0); time.sleep(100)"
    job = start(
        None, under=["sh", "-c", f"'{sys.executable}' -c '{own_group}' & wait"], cwd=tmp_path
    )
    with pytest.raises(pytest.fail.Exception, match="still running after 1 s"):
        end(job)
    left = [int(name) for name in os.listdir("/proc") if name.isdecimal()]
    assert not [pid for pid in left if session_of(pid) == job.pid]
