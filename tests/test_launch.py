"""The launch scripts of one machine, wherever they are started: what a site sets is not theirs."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.launching import ROOT, TIMEOUT, Result

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


@pytest.mark.parametrize("script", ["local", "elastic"])
def test_what_a_site_sets_changes_nothing(script, small, alone, tmp_path):
    if Path(sys.prefix) != ROOT / ".venv" or "DPCNN_OPENMPI" not in os.environ:
        pytest.skip("not in the environment of the launch scripts: start with launch/test")
    libraries = tmp_path / "libraries"  # as a module system has them, for other programs
    libraries.mkdir()
    for name in ("libmpi.so.12", "libmpi.so.40", "libopen-pal.so.80"):
        (libraries / name).write_bytes(b"another version")
    site = SITE | {"LD_LIBRARY_PATH": str(libraries)}
    options = ("-n", 2, "--dataroot", small, "--max_steps", 2)
    result = launch(script, *options, cwd=tmp_path, **site)
    assert result.returncode == 0, result
    assert result.sha == alone("--max_steps", 2)[1]
    assert result.stderr == ""


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
def test_there_are_as_many_ranks_as_a_container_may_use_cores(files, cores, tmp_path):
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"{text}\n")
    code = f"source launch/lib/ranks.sh; env() {{ echo 4; }}; usable_cores {tmp_path}"
    done = subprocess.run(["bash", "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout == f"{cores}\n"


def test_a_current_directory_that_is_gone_is_named(tmp_path):
    code = f"mkdir gone && cd gone && rmdir ../gone && exec {ROOT}/launch/local -n 1"
    done = subprocess.run(["bash", "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2
    cause = "launch/local: error: the current directory is gone: change to one that exists"
    assert done.stderr.splitlines()[-1] == cause
