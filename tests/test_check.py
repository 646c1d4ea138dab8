"""check: the gradients of a user's layers, a line for each, and the exit code."""

from __future__ import annotations

import pytest

from tests.launching import ROOT, run

LAYERS = """
from dpcnn.nn import Convolution, Dense, Flatten, Layer
from tests.networks import Swish

class Doubled(Swish):
    def backward(self, dy):
        return 2 * super().backward(dy)

def right():
    return [Convolution(2, 3), Swish(), Flatten(), Dense(3)]

def wrong():
    return [Convolution(2, 3), Doubled(), Flatten(), Dense(3)]

def broken():
    return [Convolution(2, 3), Dense(3)]

class Failing(Swish):
    def forward(self, x):
        return x.no_such_thing

class Lost(Dense):
    def backward(self, dy):
        dx = super().backward(dy)
        self.db = dy.sum(axis=1)
        return dx

def lost():
    return [Flatten(), Lost(3)]

def failing():
    return [Failing()]
"""
SMALL = ("--num_channel", 2, "--img-height", 7, "--img_width", 6)


@pytest.fixture
def check(tmp_path):
    (tmp_path / "layers.py").write_text(LAYERS)

    def command(*arguments, ranks=None):
        return run(ranks, *arguments, cwd=tmp_path, module="dpcnn.check", PYTHONPATH=str(ROOT))

    return command


def test_sound_layers_pass(check):
    result = check("layers:right", *SMALL)
    assert result.returncode == 0, result.stderr
    lines = result.stdout.splitlines()
    assert lines[0].split() == ["gradient", "of", "analytic", "numeric", "difference"]
    assert [line.split()[0] for line in lines[1:9]] == [
        *("convolution1/W", "convolution1/b", "convolution1/input", "swish1/input"),
        *("flatten1/input", "dense1/W", "dense1/b", "dense1/input"),
    ]
    assert lines[-1] == "10 gradients agree with central differences"


def test_a_wrong_gradient_stands_out_in_the_table_and_is_named_at_the_end(check):
    result = check("layers:wrong", *SMALL, "--microbatch_size", 2)
    assert result.returncode == 1
    wrong = [line.split() for line in result.stdout.splitlines() if line.endswith("WRONG")]
    assert [line[0] for line in wrong] == ["doubled1/input", "all", "all"]
    _, analytic, numeric, difference, _ = wrong[0]
    assert float(analytic) == pytest.approx(2 * float(numeric), rel=1e-5)
    assert float(difference) == pytest.approx(0.5, rel=0.1)
    [message] = result.stderr.strip().splitlines()
    assert "3 of 10 gradients differ" in message
    assert "the first is that of doubled1/input: analytic" in message


def test_a_gradient_that_is_not_the_networks_is_one_line(check):
    result = check("layers:lost")
    assert result.returncode == 1
    [line] = result.stderr.strip().splitlines()
    assert line.startswith(
        "dpcnn: error: lost1: backward put another array in the place of self.db"
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("layers:broken",), "dense1, Dense(3): Dense takes flat input"),
        (("layers:missing",), "no function named missing"),
        (("layers:failing",), "no_such_thing"),
        (("layers:right", "--img_height", 0), "expected an integer from 1"),
        (("layers:right", "--images", 3), "unrecognized arguments"),
        ((), "MODULE:FUNCTION"),
    ],
)
def test_what_cannot_be_checked_is_one_line(check, arguments, message):
    result = check(*arguments)
    assert result.returncode == 2
    [line] = result.stderr.strip().splitlines()
    assert message in line
