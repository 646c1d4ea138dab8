"""verify: passes on what was recorded, names what is not."""

from __future__ import annotations

import json

import pytest

from dpcnn.run import checkpoint
from dpcnn.run.directory import RunDirectory
from dpcnn.verify import main
from tests.launching import run


@pytest.fixture(scope="module")
def trained(small, tmp_path_factory):
    """A run of 3 epochs with 4 ranks."""
    cwd = tmp_path_factory.mktemp("verify")
    options = ("--dataroot", small, "--epochs", 3, "--run_dir", "run", "--seed", 3)
    assert run(4, *options, cwd=cwd).returncode == 0
    return cwd / "run"


@pytest.fixture
def copied(trained, tmp_path):
    """A copy of the run that a test may spoil."""
    import shutil

    return shutil.copytree(trained, tmp_path / "run")


def verify(directory, *options, ranks=None):
    return run(ranks, directory, *options, cwd=directory.parent, module="dpcnn.verify")


@pytest.mark.parametrize("ranks", [None, 3])
def test_four_ranks_are_verified_by_any_number(trained, ranks):
    result = verify(trained, ranks=ranks)
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[-1] == "16 steps verified"


def test_all_epochs_are_verified_from_the_initial_weights(trained):
    result = verify(trained, "--all")
    assert result.returncode == 0, result.stderr
    hashes = [json.loads(line)["weights_sha256"] for line in (trained / "metrics.jsonl").open()]
    assert [line.split()[-1] for line in result.stdout.splitlines()[:3]] == hashes
    assert result.stdout.splitlines()[-1] == "48 steps verified"


def test_a_flipped_bit_of_a_recorded_weight_is_named(copied):
    path = newest_checkpoint(copied)
    changed = checkpoint.read(path)
    changed.model["dense1"]["W"].view("u4")[5, 3] ^= 1
    checkpoint.write(path, changed)
    result = verify(copied)
    assert result.returncode == 1
    assert "epoch 3: dense1/W[5, 3] is" in result.stderr


def test_a_flipped_bit_at_the_start_of_the_epoch_shows_at_its_end(copied):
    path = newest_checkpoint(copied, 1)
    changed = checkpoint.read(path)
    changed.model["convolution1"]["b"].view("u4")[0] ^= 1 << 20
    checkpoint.write(path, changed)
    assert verify(copied).returncode == 1


def test_a_damaged_checkpoint_fails(copied):
    path = newest_checkpoint(copied)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    result = verify(copied, "--epoch", 3)
    assert result.returncode == 1
    assert path.name in result.stderr


def test_what_cannot_be_verified_is_refused(trained, tmp_path, capsys):
    for arguments in ([tmp_path], [trained, "--epoch", 9], [trained, "--epoch", "x"], []):
        assert main(list(map(str, arguments))) == 2
        assert capsys.readouterr().err.count("\n") == 1


def newest_checkpoint(directory, number=0):
    run_directory = RunDirectory(directory)
    return run_directory.checkpoint_path(run_directory.checkpoint_steps()[number])
