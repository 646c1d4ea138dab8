"""The launch scripts of one machine, wherever they are started: what a site sets is not theirs."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.launching import ROOT, TIMEOUT, Result

sys.path.insert(0, str(ROOT / "launch/lib"))
import copying
import facts

# Of another MPI, another network, a job around this one; each has kept a start from working.
SITE = {
    "OMPI_MCA_pml": "nothing",
    "OMPI_MCA_btl": "openib",
    "PRTE_MCA_plm": "slurm",
    "PMIX_MCA_gds": "nothing",
    "UCX_TLS": "nothing",
    "FI_PROVIDER": "nothing",
    "HYDRA_LAUNCHER": "slurm",
    "HYDRA_HOST_FILE": "/no/hosts",
    "MPIR_CVAR_CH4_NETMOD": "nothing",
    "SLURM_JOB_ID": "1",
    "SLURM_JOBID": "1",
    "SLURM_NODELIST": "node[1-4]",
    "SLURM_NNODES": "4",
    "SLURM_PROCID": "0",
    "SLURM_STEP_NUM_TASKS": "4",
    "PBS_JOBID": "1",
    "PBS_NODEFILE": "/no/nodes",
    "PYTHONHOME": "/no/python",
    "PYTHONWARNINGS": "error",
    "PYTHONHASHSEED": "nothing",
    "PYTHONPLATLIBDIR": "/no/python",
    "PIP_TARGET": "/no/packages",
    "OMP_NUM_THREADS": "7",
}


def launch(
    script: str, *arguments: object, cwd: Path, under: Sequence[str] = (), **environment: str
) -> Result:
    """Run a launch script, `under` a command."""
    done = subprocess.run(
        [*under, str(ROOT / "launch" / script), *map(str, arguments)],
        cwd=cwd,
        env=os.environ | environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
    )
    return Result(done.returncode, done.stdout, done.stderr)


# Of these, what launch/hosts leaves to its user.
OF_NETWORKS = ("OMPI_", "PRTE_", "UCX_", "FI_", "MPIR_")


@pytest.mark.parametrize("script", ["local", "elastic", "hosts"])
def test_what_a_site_sets_changes_nothing(script, small, alone, tmp_path):
    if Path(sys.prefix) != ROOT / ".venv" or "DPCNN_OPENMPI" not in os.environ:
        pytest.skip("not in the environment of the launch scripts: start with launch/test")
    libraries = tmp_path / "libraries"  # as a module system has them, for other programs
    libraries.mkdir()
    for name in ("libmpi.so.12", "libmpi.so.40", "libopen-pal.so.80"):
        (libraries / name).write_bytes(b"another version")
    site = SITE | {"LD_LIBRARY_PATH": str(libraries)}
    options = ("-n", 2, "--dataroot", small, "--max_steps", 2)
    if script == "hosts":
        (tmp_path / "HOSTFILE").write_text("localhost slots=2\n")
        options = ("HOSTFILE", *options)
        site = {name: site[name] for name in site if not name.startswith(OF_NETWORKS)}
    result = launch(script, *options, cwd=tmp_path, **site)
    assert result.returncode == 0, result
    assert result.sha == alone("--max_steps", 2)[1]
    assert result.stderr == ""


def sourced(code: str, cwd: Path, **environment: str) -> str:
    """Return what shell code prints that uses the launch scripts' functions."""
    code = f"source {ROOT}/launch/lib/environment.sh; source {ROOT}/launch/lib/ranks.sh; {code}"
    command = ["bash", "-eu", "-c", code, "launch/local"]
    return subprocess.check_output(command, cwd=cwd, env=os.environ | environment, text=True)


def test_what_several_hosts_are_given_of_it_is_named(tmp_path):
    told = sourced("name_site 2>&1", tmp_path, UCX_TLS="tcp", HYDRA_IFACE="eth0")
    assert told.startswith("launch/local: the ranks are given ")
    assert "HYDRA_IFACE" in told
    assert "UCX_TLS" in told


def test_pip_is_told_no_more_than_where_packages_come_from(tmp_path):
    """It is in force in files as well as in variables, and lists what it has found in both."""
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    (tmp_path / "pip.conf").write_text(
        "[global]\nindex-url = https://one\nextra-index-url = https://two\n    https://three\n"
        "find-links = /site/wheels\n"
        "[install]\ntarget = /no/packages\nuser = yes\nrequire-hashes = yes\nno-deps = yes\n"
    )
    unusual = {"PIP_USER": "1", "PIP_PREFIX": "/no", "PIP_DRY_RUN": "1", "PIP_REQUIREMENT": "/no"}
    files = {"PIP_CONFIG_FILE": str(tmp_path / "pip.conf"), "PIP_REQUIRE_VIRTUALENV": "1"}
    unusual["PIP_FIND_LINKS"] = "/own/wheels"
    code = "unset PIP_INDEX_URL PIP_EXTRA_INDEX_URL; plain_pip ./python; env | grep ^PIP_"
    told = dict(
        line.split("=", 1)
        for line in sourced(code, tmp_path, **unusual, **files, PIP_RETRIES="3").splitlines()
    )
    assert told["PIP_INDEX_URL"] == "https://one"
    assert told["PIP_EXTRA_INDEX_URL"] == "https://two https://three"
    assert told["PIP_FIND_LINKS"] == "/own/wheels", "a variable wins over a file"
    assert (told["PIP_RETRIES"], told["PIP_CONFIG_FILE"]) == ("3", "/dev/null")
    refused = ("TARGET", "USER", "PREFIX", "DRY_RUN", "REQUIREMENT", "REQUIRE_HASHES", "NO_DEPS")
    assert not told.keys() & {f"PIP_{name}" for name in refused}


def test_other_packages_than_the_environments_are_named(tmp_path):
    (tmp_path / "numpy").mkdir()
    (tmp_path / "numpy/__init__.py").touch()
    check = f"check_python_path {sys.executable}"
    assert sourced(check, ROOT, PYTHONPATH=str(ROOT)) == ""
    told = sourced(f"({check}) 2>&1 || true", ROOT, PYTHONPATH=str(tmp_path))
    cause = f"PYTHONPATH leads to {tmp_path}/numpy/__init__.py, expected the packages of "
    assert told.startswith(f"launch/local: error: {cause}")


def test_the_slurm_script_is_not_run_by_hand(tmp_path):
    outside = {name: os.environ[name] for name in os.environ if not name.startswith("SLURM_")}
    command = ["bash", str(ROOT / "launch/slurm.sbatch")]
    done = subprocess.run(command, cwd=tmp_path, env=outside, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    [line] = done.stderr.splitlines()
    assert line.startswith("dpcnn: error: found no Slurm job, ")
    assert f"submit it with sbatch {command[1]} " in line


def test_the_probe_of_the_slurm_script_counts_ranks():
    script = (ROOT / "launch/slurm.sbatch").read_text()
    [probe] = re.findall(r"probe='(.*?)'", script, re.DOTALL)
    assert subprocess.check_output([sys.executable, "-c", probe], cwd=ROOT, text=True) == "1\n"


def test_a_small_dev_shm_is_enough(small, alone, tmp_path):
    if Path(sys.prefix) != ROOT / ".venv":
        pytest.skip("not in the environment of the launch scripts: start with launch/test")
    mount = 'mount -t tmpfs -o size=16m none /dev/shm && exec "$@"'
    under = ["unshare", "--mount", "sh", "-c", mount, "sh"]
    if shutil.which("unshare") is None or subprocess.run([*under, "true"]).returncode:
        pytest.skip("no namespaces here")
    options = ("-n", 3, "--dataroot", small, "--max_steps", 2)
    result = launch("local", *options, cwd=tmp_path, under=under)
    assert result.returncode == 0, result
    assert result.sha == alone("--max_steps", 2)[1]


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({}, "4"),
        ({"cpu.max": "max 100000"}, "4"),
        ({"cpu.max": "250000 100000"}, "2"),
        ({"cpu.max": "50000 100000"}, "1"),
        ({"cpu.max": "900000 100000"}, "4"),
        ({"cpu/cpu.cfs_quota_us": "300000", "cpu/cpu.cfs_period_us": "100000"}, "3"),
        ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, "4"),
    ],
)
def test_there_are_as_many_ranks_as_a_container_may_use_cores(files, cores, tmp_path, monkeypatch):
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"{text}\n")
    code = f"source launch/lib/ranks.sh; env() {{ echo 4; }}; usable_cores {tmp_path}"
    done = subprocess.run(["bash", "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout == f"{cores}\n"
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: range(4))
    assert facts.usable_cores(tmp_path) == int(cores)  # as launch/hosts asks each host


def test_copying_without_rsync_is_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    (tmp_path / "HOSTFILE").write_text("localhost\nelsewhere.invalid\n")
    assert copying.main(tmp_path / "HOSTFILE", []) == 2
    cause = f"found no rsync here, which --copy needs: install it, or copy {ROOT} and the dataset "
    assert capsys.readouterr().err == f"launch/hosts: error: {cause}yourself\n"


def test_the_dataset_that_is_copied_is_the_one_that_training_reads(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DPCNN_CACHE", str(tmp_path))
    cached = tmp_path / "cifar10.hdf5"
    cached.touch()
    assert copying.dataset(["--recipe", "cifar10"]) == cached
    assert copying.dataset(["--dataroot=data.npz", "--epochs", "2"]) == tmp_path / "data.npz"
    assert copying.dataset(["--dataroot", "digits"]) is None
    assert copying.dataset(["--resume", "auto"]) is None


def test_a_current_directory_that_is_gone_is_named(tmp_path):
    code = f"mkdir gone && cd gone && rmdir ../gone && exec {ROOT}/launch/local -n 1"
    done = subprocess.run(["bash", "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2
    cause = "error: the current directory is gone: change to one that exists"
    assert done.stderr.splitlines()[-1] == f"launch/local: {cause}"
    code = f"cd gone && rmdir ../gone && exec {sys.executable} -m dpcnn.evaluate run"
    code = f"mkdir gone && {code}"
    python = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        ["bash", "-c", code], cwd=tmp_path, env=python, capture_output=True, text=True
    )
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == f"dpcnn: {cause}"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--mpi", "lam"], "found lam after --mpi, expected openmpi or mpich"),
        (["--mpi"], "found nothing after --mpi (see --help)"),
        (["-n", "4"], "found -n, expected --mpi, --dataroot or --mirror (see --help)"),
    ],
)
def test_a_wrong_option_of_setup_is_one_line(options, message, tmp_path):
    result = launch("setup", *options, cwd=tmp_path)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr == f"launch/setup: error: {message}\n"


def test_setup_makes_the_environment_and_fetches_a_dataset(tmp_path):
    if Path(sys.prefix) != ROOT / ".venv":
        pytest.skip("not in the environment of the launch scripts: start with launch/test")
    (tmp_path / "cifar10.hdf5").touch()
    result = launch("setup", "--dataroot=cifar10", cwd=tmp_path, DPCNN_CACHE=str(tmp_path))
    assert (result.returncode, result.stderr) == (0, "")
    there = f"cifar10 is in {tmp_path}/cifar10.hdf5"
    assert result.stdout == f"{ROOT}/.venv is ready\n{there}\n"
