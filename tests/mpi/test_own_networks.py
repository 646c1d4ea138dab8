"""A network of one's own is trained as the tutorial's is, to the same bits on any ranks.

By the command and from a script, stopped and resumed, with layers of dpcnn and of the user.
"""

from __future__ import annotations

import json
import shutil

import pytest

from tests.launching import ROOT, metrics, run

NETWORKS = ["two_convolutions", "with_swish"]
EPOCHS = ("--epochs", 2, "--run_dir", "run")

SCRIPT = """
import sys
import numpy  # before dpcnn, as many scripts do
import dpcnn
from tests import networks

_, network, dataroot, run_dir = sys.argv
options = dict(dataroot=dataroot, run_dir=run_dir, progress="silent")
layers = getattr(networks, network)()
first = dpcnn.train(layers, epochs=2, max_steps=21, **options)
*train, x_test, y_test = dpcnn.read(options.pop("dataroot")).arrays()
options |= dict(x_test=x_test, y_test=y_test, epochs=2, max_steps=None, resume="auto")
run = dpcnn.train(layers, *train, **options)
assert first.exit_code == run.exit_code == 0
assert first.weights_sha256 != run.weights_sha256
sys.stdout.write(f"{run.weights_sha256}\\n")
"""


@pytest.fixture(scope="module", params=NETWORKS)
def trained(request, small, tmp_path_factory):
    """Two epochs of a network in one process: its name, the run directory, the SHA-256."""
    cwd = tmp_path_factory.mktemp("own")
    options = ("--model", f"tests.networks:{request.param}", "--dataroot", small, *EPOCHS)
    result = run(None, *options, cwd=cwd)
    assert result.returncode == 0, result.stderr
    return request.param, cwd / "run", result.sha


@pytest.fixture(scope="module")
def stopped(trained, small, tmp_path_factory):
    """The directory of a run of the same network on three ranks, which has made 20 steps of 32."""
    cwd = tmp_path_factory.mktemp("stopped")
    options = ("--model", f"tests.networks:{trained[0]}", "--dataroot", small, *EPOCHS)
    assert run(3, *options, "--max_steps", 20, cwd=cwd).returncode == 0
    return cwd / "run"


def test_the_command_gives_the_same_bits_on_ranks(trained, small, tmp_path):
    network, directory, sha = trained
    options = ("--model", f"tests.networks:{network}", "--dataroot", small, *EPOCHS)
    result = run(3, *options, cwd=tmp_path)
    assert result.sha == sha
    assert metrics(tmp_path / "run") == metrics(directory)


@pytest.mark.parametrize("ranks", [None, 1, 3])
def test_a_script_that_stops_and_resumes_gives_the_bits_of_the_command(
    ranks, trained, small, tmp_path
):
    network, directory, sha = trained
    (tmp_path / "script.py").write_text(SCRIPT)
    result = run(ranks, network, small, "run", cwd=tmp_path, module="script")
    assert result.returncode == 0, result.stderr
    assert result.stdout.split() == [sha] * (ranks or 1)
    assert result.stderr == ""
    assert metrics(tmp_path / "run") == metrics(directory)
    names = [
        {path.relative_to(at).as_posix() for path in at.rglob("*") if path.is_file()}
        for at in (directory, tmp_path / "run")
    ]
    assert names[0] <= names[1]
    assert json.loads((tmp_path / "run/outcome.json").read_text()) == {"exit_code": 0}


@pytest.mark.parametrize("ranks", [None, 2])
def test_a_resumed_run_needs_the_function_for_layers_of_its_own_alone(
    ranks, trained, stopped, small, tmp_path
):
    network, _, sha = trained
    shutil.copytree(stopped, tmp_path / "run")
    model = ("--model", f"tests.networks:{network}")
    rest = ("--dataroot", small, *EPOCHS, "--resume", "auto", "--max_steps", "none")
    if network == "with_swish":
        refused = run(ranks, *rest, cwd=tmp_path)
        assert refused.returncode == 2
        assert "layers that are not dpcnn's (Swish), expected --model" in refused.stderr
        assert len(refused.stderr.splitlines()) == 1
        assert run(ranks, *model, *rest, cwd=tmp_path).sha == sha
        return
    # The module that the checkpoint names is not imported: another one of its name ends a run.
    (tmp_path / "trap/tests").mkdir(parents=True)
    (tmp_path / "trap/tests/__init__.py").touch()
    (tmp_path / "trap/tests/networks.py").write_text("raise ValueError('imported')\n")
    trap = {"PYTHONPATH": f"{tmp_path / 'trap'}:{ROOT}"}
    refused = run(ranks, *model, *rest, cwd=tmp_path, **trap)
    assert refused.returncode == 2
    assert "ValueError: imported" in refused.stderr
    assert run(ranks, *rest, cwd=tmp_path, **trap).sha == sha


@pytest.mark.parametrize("ranks", [None, 2])
@pytest.mark.parametrize("module", ["dpcnn.verify", "dpcnn.evaluate"])
def test_such_a_run_is_verified_and_evaluated(module, ranks, trained, tmp_path):
    network, directory, _ = trained
    copied = shutil.copytree(directory, tmp_path / "run")
    model = ("--model", f"tests.networks:{network}")
    result = run(ranks, copied, *model, cwd=tmp_path, module=module)
    assert result.returncode == 0, result.stderr
    without = run(ranks, copied, cwd=tmp_path, module=module)
    assert without.returncode == (2 if network == "with_swish" else 0)
    other = run(ranks, copied, "--model", "tests.networks:Swish", cwd=tmp_path, module=module)
    assert other.returncode == 2
    assert len(other.stderr.splitlines()) == 1


BROKEN = """
import os, sys
import dpcnn
from dpcnn.parallel.launcher import detect
options = dict(dataroot=sys.argv[1], max_steps=2, progress="silent")
dpcnn.train(**options)
if detect().rank == 1:
    raise ValueError("a bug of the script")
dpcnn.train(**options)
"""


@pytest.mark.parametrize("mpi", ["mpich", "openmpi"])
def test_an_exception_on_one_rank_between_two_runs_ends_the_others(mpi, small, tmp_path):
    (tmp_path / "script.py").write_text(BROKEN)
    result = run(3, small, cwd=tmp_path, mpi=mpi, module="script")
    assert result.returncode != 0
    assert result.stderr.count("Traceback") == 1
    assert "a bug of the script" in result.stderr


INSIDE = """
import sys
import dpcnn
from dpcnn.parallel.launcher import detect
from tests.networks import Swish, two_convolutions

class Broken(Swish):
    def forward(self, x):
        if detect().rank == 1 and self.context.step:  # once the run has begun
            raise ValueError("a bug of the layer")
        return super().forward(x)

try:
    layers = [Broken(), *two_convolutions()]
    dpcnn.train(layers, dataroot=sys.argv[1], run_dir="run", progress="silent")
except ValueError:
    print("caught: the other ranks would wait")
"""


def test_an_exception_of_one_ranks_layer_ends_the_others(small, tmp_path):
    (tmp_path / "script.py").write_text(INSIDE)
    result = run(3, small, cwd=tmp_path, module="script")
    assert result.returncode != 0
    assert result.stdout == ""
    assert result.stderr.count("Traceback") == 1
    assert "a bug of the layer" in (tmp_path / "run/errors/rank-1.txt").read_text()


OTHERS = """
import sys
import dpcnn
from dpcnn.nn import Dense, Flatten
from dpcnn.parallel.launcher import detect
rank = detect().rank
try:
    dpcnn.train([Flatten(), Dense(20 + rank), Dense(10)], dataroot=sys.argv[1])
except dpcnn.DpcnnError as error:
    sys.stdout.write(f"{rank}: {error}\\n")
run = dpcnn.train([Flatten(), Dense(10)], lr=1 + rank, dataroot=sys.argv[1], max_steps=3,
                  run_dir=f"run{rank}", progress="silent")
sys.stdout.write(f"{run.weights_sha256} {run.directory} {run.model.options.lr}\\n")
"""


def test_ranks_that_disagree_about_the_network_all_hear_of_it(small, tmp_path):
    (tmp_path / "script.py").write_text(OTHERS)
    result = run(3, small, cwd=tmp_path, module="script")
    assert result.returncode == 0, result.stderr
    lines = sorted(result.stdout.splitlines())
    told = [line for line in lines if ": " in line]
    assert [line[0] for line in told] == ["0", "1", "2"]
    assert all(
        "rank 1 has the network" in line and "expected that of rank 0" in line for line in told
    )
    # Options are rank 0's on all ranks.
    [line] = {line for line in lines if ": " not in line}
    assert line.endswith("run0 1")
