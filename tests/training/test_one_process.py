"""One process: it learns, it keeps what it should, it says what it does, and it is right."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess

import numpy as np
import pytest

from dpcnn.data import sampler
from dpcnn.data.formats import registry
from dpcnn.data.formats.raw import Wanted
from dpcnn.models.zoo import tutorial
from dpcnn.nn.network import Network
from dpcnn.nn.plan import Plan
from dpcnn.run import checkpoint
from dpcnn.system.terminal import ERASE
from tests.launching import ROOT, TIMEOUT, launcher, run
from tests.reference_training import train_in_float64

KEYS = [
    *("epoch", "step", "loss", "train_accuracy", "test_accuracy", "test_loss", "learning_rate"),
    *("seconds", "images_per_second", "compute_seconds", "communication_seconds"),
    "waiting_seconds",
    *("evaluation_seconds", "world_size", "deaths", "ranks", "weights_sha256"),
]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Two epochs on the built-in digits: the result and the run directory."""
    cwd = tmp_path_factory.mktemp("digits")
    result = run(None, "--dataroot", "digits", "--epochs", 2, "--run_dir", "run", cwd=cwd)
    assert result.returncode == 0, result.stderr
    return result, cwd / "run"


def test_the_digits_are_learnt_and_leave_something_to_learn(trained):
    lines = [json.loads(line) for line in (trained[1] / "metrics.jsonl").open()]
    assert 0.8 < lines[0]["test_accuracy"] < 0.97
    assert lines[1]["test_accuracy"] > 0.9
    assert lines[1]["loss"] < lines[0]["loss"]


def test_the_run_directory_holds_what_was_promised(trained):
    result, directory = trained
    names = {str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file()}
    assert names == {
        "options.json",
        "network.json",
        "environment.json",
        "metrics.jsonl",
        "metrics.csv",
        "steps.jsonl",
        "events.jsonl",
        "outcome.json",
        ".lock",
        "checkpoints/best.h5",
        "checkpoints/step-00000188.h5",
        "checkpoints/step-00000376.h5",
    }
    lines = [json.loads(line) for line in (directory / "metrics.jsonl").open()]
    assert [list(line) for line in lines] == [KEYS, KEYS]
    assert lines[-1]["weights_sha256"] == result.sha
    assert json.loads((directory / "options.json").read_text())["microbatch_size"] == 16


def test_the_account_has_a_header_epoch_lines_and_the_hash_last(trained):
    result, _ = trained
    # A busy machine may print progress too, every ten seconds.
    lines = [line for line in result.stdout.splitlines() if not line.startswith("epoch ")]
    for words in ("built-in digits", "12,000 to train on", "185,930", "188 steps an epoch"):
        assert words in result.stdout
    number = r"\d\.\d{4}"
    form = rf"Epoch \d, Loss = {number}, Training Accuracy = {number}, Test Accuracy = {number}"
    pace = r"(, best so far)?, [\d.]+ s, [\d,]+ images/s"
    matches = [bool(re.fullmatch(form + pace, line)) for line in lines[-6:]]
    assert matches == [True, True, False, False, False, False]
    assert ", best so far, " in lines[-5]
    assert re.fullmatch(r"Trained 376 steps in .*, to the end of epoch 2", lines[-4])
    assert lines[-3].startswith("Best epoch: 2, Test Accuracy = 0.9")
    assert lines[-2].startswith("Run directory: run; show it with: ")
    assert lines[-1].startswith("Weights SHA-256: ")
    assert not re.search("MPI|rank|reduc", result.stdout)
    assert not set(result.stdout + result.stderr) & {"\r", "\x1b"}


def test_a_terminal_gets_a_bar_of_its_width_that_goes_away(tmp_path):
    primary, replica = pty.openpty()
    os.set_inheritable(replica, True)
    command = [*launcher(None), "-m", "dpcnn.train", "--dataroot", "digits", "--epochs", "1"]
    process = subprocess.Popen(
        command,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT), "TERM": "xterm", "COLUMNS": "70"},
        stdout=replica,
        stderr=replica,
        stdin=subprocess.DEVNULL,
    )
    os.close(replica)
    written = b""
    try:
        while chunk := os.read(primary, 4096):
            written += chunk
    except OSError:
        pass  # Linux says so when the other end is closed
    assert process.wait(TIMEOUT) == 0
    bars = re.findall(r"epoch 1/1 \|.*?(?=\x1b)", written.decode())
    assert {len(bar) for bar in bars} == {69}
    assert any(re.search(r"\d+/188, loss \d\.\d+, .* left", bar) for bar in bars)
    assert any("| evaluated 0/2000" in bar for bar in bars)
    assert f"\r{ERASE}Epoch 1, Loss" in written.decode()


def test_200_steps_are_those_of_an_independent_float64_implementation(request, tmp_path):
    """Same initial weights, same order, plain NumPy: no weight differs by 1e-5."""
    try:
        path = request.getfixturevalue("mnist")
    except pytest.skip.Exception:
        path = request.getfixturevalue("small")
    options = ("--dataroot", path, "--train_limit", 450, "--test_limit", 10, "--run_dir", "run")
    options += ("--minibatch_size", 32, "--epochs", 20, "--max_steps", 200)
    assert run(None, *options, cwd=tmp_path).returncode == 0
    found = checkpoint.read(tmp_path / "run/checkpoints/step-00000200.h5").model
    images = registry.read(path, Wanted((1, 28, 28), 10)).train.first(450)
    network = Network(Plan(tutorial(), (1, 28, 28)))
    network.initialize(0)
    order = [
        sampler.minibatch(sampler.epoch_order(450, 0, 1 + step // 15), step % 15, 32)
        for step in range(200)
    ]
    expected = train_in_float64(network.named_values(), images.images, images.labels, order)
    for layer, parameters in expected.items():
        for name, values in parameters.items():
            np.testing.assert_allclose(found[layer][name], values, rtol=0, atol=1e-5)
