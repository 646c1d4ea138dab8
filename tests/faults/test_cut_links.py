"""Three hosts on a network: ranks are killed on others, links are cut, and one writer is left."""

from __future__ import annotations

import json
import time
from pathlib import Path
from subprocess import Popen

import pytest

from tests.hosts import Host, launch, network
from tests.launching import TIMEOUT, end, metrics, told, wait_for

OPTIONS = ("--dataroot", "small.hdf5", "--epochs", 12, "--checkpoint_every", "4st")
OPTIONS += ("--microbatch_size", 12)  # whatever the number of ranks
RUN = (*OPTIONS, "--run_dir", "run")
TRAINING = "-m dpcnn.train"

# Notes who puts a file into its place: every file of a run directory but those that grow by lines.
NOTING = """
import os, socket, time
replace = os.replace
def noting(source, target):
    replace(source, target)
    with open(os.environ["PYTHONPATH"] + "/writers", "a") as file:
        print(time.monotonic(), socket.gethostname(), target, file=file)
os.replace = noting
"""


@pytest.fixture(scope="module")
def undisturbed(alone):
    """The run directory and SHA-256 of one process."""
    return alone("--epochs", 12, "--microbatch_size", 12)


@pytest.fixture
def hosts(work, tmp_path):
    with network(tmp_path, ("alpha", "beta", "gamma"), work) as made:
        yield made


@pytest.fixture
def here(work, tmp_path):
    """A directory of one test in which all hosts see the same."""
    folder = work / tmp_path.name
    folder.mkdir()
    (folder / "small.hdf5").symlink_to(work / "small.hdf5")
    (folder / "sitecustomize.py").write_text(NOTING)
    return folder


def train(host: Host, hostfile: str, *options, cwd: Path) -> Popen[str]:
    """Start an elastic run and return once it has made some epochs."""
    options = (*RUN, "--elastic", *options)
    job = launch(host, hostfile, *options, cwd=cwd, PYTHONPATH=str(cwd), PYTHONUNBUFFERED="1")
    wait_for(job, "Epoch 2,")
    return job


def writers(folder: Path) -> list[str]:
    """Return which host wrote to the run directory, then which next, in the order of time."""
    lines = (line.split() for line in (folder / "writers").read_text().splitlines())
    order = [host for _, host, _ in sorted(lines, key=lambda line: float(line[0]))]
    return [host for host, before in zip(order, ["", *order], strict=False) if host != before]


def deaths(folder: Path) -> set[tuple[int, str]]:
    lines = map(json.loads, (folder / "run/metrics.jsonl").read_text().splitlines())
    return {(death["rank"], death["host"]) for line in lines for death in line["deaths"]}


def check_end(host: Host) -> None:
    """Fail unless all training on the host ends by itself."""
    limit = time.monotonic() + TIMEOUT
    while host.processes(TRAINING):
        assert time.monotonic() < limit, f"{host.name} trains on"
        time.sleep(0.1)


def check_bits(job: Popen[str], undisturbed: tuple[Path, str], here: Path) -> str:
    """Fail unless the job ends as if nothing had happened; return what it said on the way."""
    result = end(job)
    assert result.returncode == 0, result
    assert result.sha == undisturbed[1], result
    assert metrics(here / "run") == metrics(undisturbed[0])
    assert told(here / "run/outcome.json") == {"exit_code": 0}
    return result.stderr


@pytest.mark.parametrize("rank", [0, 1])
def test_a_rank_killed_on_another_host_changes_no_bit(rank, hosts, here, undisturbed):
    job = train(hosts["alpha"], "beta:2\ngamma:1\nalpha:1", cwd=here)
    ranks = hosts["beta"].processes(TRAINING)
    hosts["beta"].run("kill", "-KILL", ranks[rank])
    stderr = check_bits(job, undisturbed, here)
    assert " on beta; 3 ranks go on from step " in stderr
    assert "restart" not in stderr


def test_at_a_cut_link_only_the_majority_goes_on(hosts, here, undisturbed):
    job = train(hosts["alpha"], "alpha:1\nbeta:1\ngamma:1", cwd=here)
    hosts.cut(hosts["gamma"])
    stderr = check_bits(job, undisturbed, here)
    assert "lost rank 2 on gamma; 2 ranks go on from step " in stderr
    assert "restart" not in stderr
    check_end(hosts["gamma"])
    assert writers(here) == ["alpha"]
    assert deaths(here) == {(2, "gamma")}


def test_the_majority_takes_over_the_run_directory_of_a_host_that_is_cut_off(
    hosts, here, undisturbed
):
    job = train(hosts["alpha"], "gamma:2\nalpha:2\nbeta:1", cwd=here)
    hosts.cut(hosts["gamma"])
    check_bits(job, undisturbed, here)
    check_end(hosts["gamma"])
    assert writers(here) == ["gamma", "alpha"]
    assert deaths(here) == {(0, "gamma"), (1, "gamma")}


@pytest.mark.long
def test_half_of_the_ranks_do_not_go_on(hosts, here, undisturbed):
    job = train(hosts["alpha"], "alpha:1\nbeta:1", "--max_restarts", 0, cwd=here)
    hosts.cut(hosts["beta"])
    result = end(job)
    assert result.returncode == 1, result
    assert "lost rank 1 on beta: 1 of 2 ranks are left, expected more than half" in result.stderr
    check_end(hosts["beta"])
    before = metrics(here / "run")
    assert 2 <= len(before) < 12
    hosts.mend(hosts["beta"])
    again = launch(hosts["alpha"], "alpha:1\nbeta:1", *RUN, "--resume", "auto", cwd=here)
    check_bits(again, undisturbed, here)


@pytest.mark.long
def test_without_the_host_it_was_started_on_nothing_is_called_done_that_is_not(
    hosts, here, undisturbed
):
    """The others may get to the end alone; whether that is known depends on when it is."""
    options = ("--max_restarts", 1, "--timeout", 5)
    job = train(hosts["alpha"], "alpha:1\nbeta:1\ngamma:1", *options, cwd=here)
    hosts.cut(hosts["alpha"])
    result = end(job)
    for host in hosts.hosts.values():
        check_end(host)
    done = told(here / "run/outcome.json") == {"exit_code": 0}
    assert writers(here) == (["alpha", "beta"] if done else ["alpha"])
    assert not done or metrics(here / "run") == metrics(undisturbed[0])
    assert result.returncode in ((0, 1) if done else (1,)), result
