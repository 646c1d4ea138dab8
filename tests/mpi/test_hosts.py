"""launch/hosts on two hosts: it trains to the bits of one, and refuses hosts that differ."""

from __future__ import annotations

import shutil
from pathlib import Path

import h5py
import pytest

import dpcnn
from tests.hosts import Network, launch, network
from tests.launching import ROOT, Result, end, wait_for

STEPS = ("--epochs", 3, "--run_dir", "run")
NAMES = ("alpha", "beta", "gamma")


@pytest.fixture(scope="module")
def sha(alone):
    """The SHA-256 of one process."""
    return alone("--epochs", 3)[1]


@pytest.fixture
def hosts(work, tmp_path):
    """Two hosts on a network, and a third to start from."""
    with network(tmp_path, NAMES, work) as made:
        yield made


@pytest.fixture(scope="module")
def unchanged(work, tmp_path_factory):
    """The same for tests that leave the hosts as they are."""
    with network(tmp_path_factory.mktemp("unchanged"), NAMES, work) as made:
        yield made


@pytest.fixture
def here(work, tmp_path):
    """A directory of one test in which all hosts see the same."""
    folder = work / tmp_path.name
    folder.mkdir()
    shutil.copy(work / "small.hdf5", folder)
    return folder


@pytest.fixture
def aside(work, tmp_path):
    """A directory beside it, for what one host is to see in place of something else."""
    folder = work / f"{tmp_path.name}-aside"
    folder.mkdir()
    return folder


def train(hosts: Network, hostfile: str, *options, cwd: Path, on: str = "alpha") -> Result:
    """Run launch/hosts to its end on one of the hosts."""
    options = ("--dataroot", "small.hdf5", *STEPS, *options)
    return end(launch(hosts[on], hostfile, *options, cwd=cwd))


def refusal(result: Result) -> str:
    """Return the only line of a start that was refused."""
    assert result.returncode == 2, result
    assert result.stdout == ""
    [line] = result.stderr.splitlines()
    return line


@pytest.mark.parametrize("how", ["--mpi=openmpi", "--mpi=mpich", "--elastic"])
def test_two_hosts_give_the_bits_of_one(how, unchanged, here, sha):
    result = train(unchanged, "alpha slots=2\nbeta:1 # one core less", how, cwd=here)
    assert result.sha == sha
    assert "3 (2 on alpha, 1 on beta)" in result.stdout
    assert result.returncode == 0


@pytest.mark.parametrize("how", ["--mpi=mpich", "--elastic"])
def test_a_run_is_started_and_stopped_from_a_host_that_takes_no_part(how, hosts, here):
    options = ("--dataroot", "small.hdf5", "--epochs", 4000, "--run_dir", "run", how)
    job = launch(hosts["gamma"], "alpha slots=1\nbeta slots=1", *options, cwd=here)
    wait_for(job, "Epoch 2,")
    [supervisor] = hosts["gamma"].processes("supervise.py")
    hosts["gamma"].run("kill", "-USR1", supervisor)
    result = end(job)
    assert result.returncode == 138, result
    assert "Stopped by SIGUSR1" in result.stdout
    assert all(not host.processes("dpcnn") for host in hosts.hosts.values())
    assert all("dpcnn-" not in host.run("ls", "/tmp") for host in hosts.hosts.values())


def test_without_a_shared_file_system_the_run_directory_is_on_the_first_host(
    hosts, here, aside, sha
):
    for name in ("alpha", "beta"):
        hosts[name].mount(Path(shutil.copytree(here, aside / name)), here)
    result = train(hosts, "beta:1\nalpha:1", "--elastic", cwd=here)
    assert result.sha == sha
    assert result.returncode == 0
    assert (aside / "beta/run/outcome.json").exists()
    assert not (aside / "alpha/run").exists()


@pytest.fixture
def copy(aside):
    """A copy of the package, to be changed."""
    return Path(shutil.copytree(ROOT / "dpcnn", aside / "dpcnn"))


def test_a_host_with_another_version_is_named_and_refused(hosts, here, copy):
    own = f'__version__ = "{dpcnn.__version__}"'
    text = (copy / "version.py").read_text()
    assert own in text
    (copy / "version.py").write_text(text.replace(own, '__version__ = "0.0.9"'))
    hosts["beta"].mount(copy, ROOT / "dpcnn")
    line = refusal(train(hosts, "alpha\nbeta", cwd=here))
    assert f"error: beta has dpcnn 0.0.9, expected {dpcnn.__version__} as here: copy " in line
    assert not (here / "run").exists()


def test_a_host_with_another_source_of_the_same_version_is_named_and_refused(hosts, here, copy):
    with (copy / "nn/layers.py").open("a") as file:
        file.write("# a change\n")
    hosts["beta"].mount(copy, ROOT / "dpcnn")
    line = refusal(train(hosts, "alpha\nbeta", cwd=here))
    assert line.startswith("launch/hosts: error: beta has different source files of dpcnn ")
    assert not (here / "run").exists()


@pytest.mark.parametrize("how", ["other", "missing"])
def test_a_host_with_another_dataset_is_named_and_refused(how, hosts, here, aside):
    if how == "other":
        shutil.copy(here / "small.hdf5", aside)
        with h5py.File(aside / "small.hdf5", "r+") as file:
            file["y_test"][0] = (file["y_test"][0] + 1) % 10
    hosts["beta"].mount(aside, here)
    line = refusal(train(hosts, "alpha:1\nbeta:2", "--mpi=mpich", cwd=here))
    assert ("on beta: fingerprint " if how == "other" else "beta: small.hdf5: no such file") in line
    assert not (here / "run").exists()


def test_hosts_that_do_not_answer_are_named(hosts, here):
    hosts.cut(hosts["beta"])
    line = refusal(train(hosts, "alpha\nbeta\ndelta", cwd=here))
    assert "beta: ssh: connect to host beta " in line
    assert "delta: ssh: Could not resolve hostname delta" in line
    assert "expected `ssh delta` to work without a password" in line


def test_what_a_host_lacks_is_named(hosts, here, aside):
    hosts["gamma"].mount(aside, ROOT / "launch")
    hosts["beta"].mount(aside, here.parent)
    line = refusal(train(hosts, "alpha\nbeta", cwd=here))
    assert f"error: beta has no directory {here}: create it there" in line
    line = refusal(train(hosts, "alpha\ngamma", cwd=here))
    assert f"error: gamma: no {ROOT}, expected a copy of the project" in line


@pytest.fixture
def bare(hosts, here, aside):
    """What beta has: of the project only its environment, and no directory to train in."""
    if shutil.which("rsync") is None:
        pytest.skip("no rsync here: apt-get install rsync")
    beta, project, environment = hosts["beta"], aside / "project", ROOT / ".venv-openmpi"
    for place in (project / environment.name, aside / "work"):
        place.mkdir(parents=True)
    beta.run("mkdir", "/mnt/environment")
    beta.mount(environment, Path("/mnt/environment"))
    beta.mount(project, ROOT)
    beta.mount(Path("/mnt/environment"), environment)
    beta.mount(aside / "work", here.parent)
    return aside


def test_what_a_host_lacks_is_copied_there(hosts, here, bare, alone):
    options = ("--copy", "--dataroot", "small.hdf5", "--max_steps", 2)
    result = end(launch(hosts["alpha"], "alpha slots=1\nbeta slots=1", *options, cwd=here))
    assert result.sha == alone("--max_steps", 2)[1]
    assert "2 (1 on alpha, 1 on beta)" in result.stdout
    assert (bare / "project/dpcnn/train.py").exists()
    assert not (bare / "project/tests").exists()
    assert [path.name for path in (bare / "work" / here.name).iterdir()] == ["small.hdf5"]


def test_a_host_without_rsync_is_named(hosts, here, bare):
    hosts["beta"].mount(Path("/dev/null"), Path(shutil.which("rsync")))
    line = refusal(train(hosts, "alpha\nbeta", "--copy", cwd=here))
    assert line.startswith("launch/hosts: error: beta: found no rsync there, which --copy needs: ")


def test_hosts_of_one_name_are_refused(hosts, here):
    hosts["beta"].run("hostname", "alpha")
    assert "alpha and beta are both named alpha" in refusal(train(hosts, "alpha\nbeta", cwd=here))


BAD = {
    "": "no host",
    "# alpha": "no host",
    "alpha slots=0": "HOSTFILE:1: found 'alpha slots=0', expected HOST, HOST:N or HOST slots=N",
    "alpha\nbeta:x": "HOSTFILE:2: found 'beta:x'",
    "alpha beta": "HOSTFILE:1: found 'alpha beta'",
    "alpha slot=2": "HOSTFILE:1: found 'alpha slot=2'",
    "-oProxyCommand=x": "HOSTFILE:1: found '-oProxyCommand=x'",
}


@pytest.mark.parametrize("text", BAD)
def test_a_bad_hostfile_is_one_line(text, unchanged, here):
    assert BAD[text] in refusal(train(unchanged, text, cwd=here))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["-n", 4], "found 4 after -n, expected at most the 3 slots of HOSTFILE"),
        (["-n", 0], "found 0 after -n"),
        (["--mpi", "lam"], "found lam after --mpi, expected openmpi or mpich"),
        (["--elastic", "--mpi=mpich"], "found --mpi mpich with --elastic, expected --mpi openmpi"),
    ],
)
def test_bad_options_of_the_launcher_are_one_line(options, words, unchanged, here):
    assert words in refusal(train(unchanged, "alpha\nalpha\nalpha", *options, cwd=here))


def test_lines_of_a_host_add_up_and_no_more_ranks_start_than_asked_for(unchanged, here, sha):
    text = "alpha\nalpha\nbeta:2 max_slots=4"
    result = train(unchanged, text, "-n", 3, "--mpi=mpich", cwd=here)
    assert "3 (2 on alpha, 1 on beta)" in result.stdout
    assert result.sha == sha
