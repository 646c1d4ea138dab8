"""The benchmark: its table and its JSON agree, and an error is one line."""

from __future__ import annotations

import importlib.util
import json

import pytest

from dpcnn.bench.__main__ import main
from dpcnn.bench.worker import flop_per_image
from dpcnn.models.zoo import tutorial
from dpcnn.nn.network import Network
from dpcnn.nn.plan import Plan
from tests.launching import launcher, run

QUICK = ("--rounds", 2, "--steps", 3, "--minibatch", 32)


def bench(*options, cwd):
    return run(None, *options, cwd=cwd, module="dpcnn.bench")


def test_one_and_two_ranks_are_measured_with_both_reductions(small, tmp_path):
    launcher(2)
    file = tmp_path / "bench.json"
    result = bench(*QUICK, "--ranks", 2, "--dataroot", small, "--json", file, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    report = json.loads(file.read_text())
    names = ["1 rank, exact", "1 rank, fast", "2 ranks, exact", "2 ranks, fast"]
    assert [configuration["name"] for configuration in report] == names
    lines = result.stdout.splitlines()
    assert max(map(len, lines)) <= 80
    for configuration in report:
        name = configuration["name"]
        assert len(configuration["rounds"]) == 2
        steps = [figures["step_seconds"] for figures in configuration["rounds"]]
        [row] = [line for line in lines if line.startswith(f"{name} ")]
        speed, _, step = map(float, row.removeprefix(name).split()[:3])
        assert step == pytest.approx(sum(steps) / 2 * 1e3, abs=0.01)
        assert speed == pytest.approx(32 / (sum(steps) / 2), abs=1)
        for figures in configuration["rounds"]:
            assert figures["waiting_share"] >= (0 if configuration["ranks"] == 1 else 1e-6)
            assert figures["compute_share"] + figures["waiting_share"] <= 1
    assert "inference, 1 rank: " in result.stdout
    assert not (tmp_path / "runs").exists()


@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="PyTorch is not installed")
def test_pytorch_is_measured_too(small, tmp_path):
    options = (*QUICK, "--rounds", 1, "--ranks", 2, "--dataroot", small, "--against", "torch")
    result = bench(*options, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    for name in ("torch, 1 thread", "torch, 2 threads", "torch DDP, 2 ranks"):
        assert f"\n{name} " in result.stdout


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--rounds", "0"], "--rounds is 0, expected an integer from 1"),
        (["--ranks", "9", "--minibatch", "8"], "--minibatch is 8, expected 9 or more"),
        (["--against", "tensorflow"], "invalid choice"),
        (["--dataroot", "/no/such/file"], "/no/such/file: no such file"),
    ],
)
def test_an_error_is_one_line(options, message, tmp_path):
    result = bench(*options, cwd=tmp_path)
    assert result.returncode != 0
    assert result.stderr.count("\n") == 1
    assert result.stderr.startswith("dpcnn: error: ")
    assert message in result.stderr


def test_a_comparison_without_pytorch_is_refused(monkeypatch, capsys):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert main(["--against", "torch"]) == 2
    assert "--against torch needs the package torch: pip install" in capsys.readouterr().err


def test_the_operations_of_the_tutorials_network_are_counted_by_hand():
    network = Network(Plan(tutorial(), (1, 28, 28)))
    convolution, dense = 32 * 49 * 24 * 24, 18432 * 10
    assert flop_per_image(network) == 2 * (2 * convolution + 3 * dense)
