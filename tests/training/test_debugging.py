"""--debug: every layer is checked at every step, errors keep their tracebacks, prompts no bar."""

from __future__ import annotations

import pdb
import subprocess
import sys
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import pytest

import dpcnn
from dpcnn.cli.arguments import Parsed
from dpcnn.cli.job import Job
from dpcnn.errors import DivergenceError, LaunchError
from dpcnn.nn import Convolution, Dense, Flatten, Layer, ReLU
from dpcnn.nn.contract import ContractError
from dpcnn.options import Options, resumed
from dpcnn.training import api
from dpcnn.training.breakpoints import before_breakpoints
from tests.launching import ROOT, TIMEOUT
from tests.networks import of_mnist
from tests.parallel.ranks import on_ranks
from tests.reference import Array

LATER = 2  # the step, from 0, in which the layers below are at fault


class Late(Layer):
    """x, until a step in which it does what is wrong."""

    def build(self, input_shape: tuple[int, ...]) -> tuple[int, ...]:
        return input_shape

    def forward(self, x: Array) -> Array:
        return self.wrong(x) if self.context.step == LATER else x.copy()

    def wrong(self, x: Array) -> Array:
        return -np.log(x * 0)

    def backward(self, dy: Array) -> Array:
        return dy


class Cut(Late):
    def wrong(self, x: Array) -> Array:
        return x[:, :-1]


def around(layer: Layer) -> list[Layer]:
    return [Convolution(2, 5), layer, ReLU(), Flatten(), Dense(10)]


@pytest.fixture
def quick(small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Options of a run of 4 steps that prints nothing."""
    monkeypatch.chdir(tmp_path)
    return {
        "dataroot": small,
        "train_limit": 128,
        "minibatch_size": 32,
        "epochs": 1,
        "test_limit": 8,
        "progress": "silent",
    }


def test_the_bits_are_those_of_any_other_run(quick: dict[str, Any]) -> None:
    found = {dpcnn.train(debug=debug, **quick).weights_sha256 for debug in (False, True)}
    assert len(found) == 1


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (Late(), r"late1: forward gave its result the value inf, expected finite values for x up"),
        (Cut(), r"cut1: forward returned shape \(2, 23, 24, 16\), expected \(2, 24, 24, 16\)"),
    ],
)
def test_a_layer_that_is_wrong_at_any_step_is_named(
    layer: Layer, message: str, quick: dict[str, Any]
) -> None:
    quick["minibatch_size"] = 16
    with pytest.raises(ContractError, match=message), np.errstate(all="ignore"):
        dpcnn.train(around(layer), debug=True, **quick)


def test_numpy_raises_what_it_was_told_to(quick: dict[str, Any]) -> None:
    with np.errstate(divide="raise"):
        with pytest.raises(FloatingPointError) as caught:
            dpcnn.train(around(Late()), debug=True, **quick)
        assert caught.traceback[-1].name == "wrong"
        with pytest.raises(DivergenceError):
            dpcnn.train(around(Late()), **quick)


def test_several_ranks_are_refused_in_one_line() -> None:
    parsed = Parsed(Options(debug=True), frozenset({"debug"}))
    found = on_ranks(2, lambda comm: api.debug(Job(comm, 1), parsed))
    line = "--debug: found 2 ranks, expected one process: start it without mpirun"
    assert [(type(error), str(error)) for error in found] == [(LaunchError, line)] * 2


def test_a_run_that_was_debugged_goes_on_as_any_other() -> None:
    recorded = of_mnist(debug=True, dry_run=True).as_dict()
    assert not resumed(Options(), frozenset(), recorded).debug
    assert resumed(Options(debug=True), frozenset({"debug"}), recorded).debug


def test_the_command_raises_an_error_and_keeps_it(
    quick: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("late.py").write_text(
        "from tests.training.test_debugging import Late, around\n"
        "def build():\n    return around(Late())\n"
    )
    monkeypatch.setattr(sys, "path", [*sys.path])
    options = [word for name, value in quick.items() for word in (f"--{name}", str(value))]
    arguments = [*options, "--model", "late:build", "--run_dir", "run"]
    with np.errstate(divide="ignore"):
        assert api.main(arguments) == 1
    with pytest.raises(ContractError) as caught, np.errstate(divide="ignore"):
        api.main([*arguments[:-1], "debugged", "--debug"])
    assert caught.traceback[-1].name == "check_finite"
    assert Path("debugged/outcome.json").read_text() == '{"exit_code": 1}\n'


def test_what_is_in_the_way_goes_before_a_breakpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[Any] = []
    monkeypatch.setattr(sys, "breakpointhook", lambda *given: done.append(("debugger", *given)))
    hook = sys.breakpointhook
    with before_breakpoints(lambda: done.append("pause")):
        breakpoint(3)
    assert done == ["pause", ("debugger", 3)]
    assert sys.breakpointhook is hook


def test_pythons_own_debugger_stops_at_the_breakpoint_itself(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stopped: list[str] = []

    def set_trace(self: pdb.Pdb, frame: FrameType) -> None:
        stopped.append(frame.f_code.co_name)

    monkeypatch.setattr(pdb.Pdb, "set_trace", set_trace)
    monkeypatch.setattr(sys, "breakpointhook", sys.__breakpointhook__)
    monkeypatch.delenv("PYTHONBREAKPOINT", raising=False)

    def with_a_breakpoint() -> None:
        breakpoint()

    with before_breakpoints(lambda: None):
        with_a_breakpoint()
    assert stopped == ["with_a_breakpoint"]


STOPPING = """
from dpcnn.nn import Dense, Flatten

class Stopping(Dense):
    def forward(self, x):
        if self.training and (self.context.step, self.context.microbatch) == (1, 0):
            breakpoint()
        return super().forward(x) / (self.context.step < 2)

def build():
    return [Flatten(), Stopping(10)]
"""


def debugged(command: list[str], commands: list[str], quick: dict[str, Any]) -> str:
    """Return what a debugger prints that is given these commands on standard input."""
    Path("stopping.py").write_text(STOPPING)
    options = [word for name, value in quick.items() for word in (f"--{name}", str(value))]
    done = subprocess.run(
        [*command, *options, "--progress", "auto", "--model", "stopping:build", "--debug"],
        input="\n".join([*commands, ""]),
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
    )
    return done.stdout + done.stderr


AT_THE_BREAKPOINT = "p 'at ' + self.name"


def test_a_debugger_stops_at_breakpoints_and_where_an_exception_came_from(
    quick: dict[str, Any],
) -> None:
    command = [sys.executable, "-m", "pdb", "-m", "dpcnn.train"]
    printed = debugged(command, ["c", AT_THE_BREAKPOINT, "c", "p sorted(named)", "q"], quick)
    assert "'at stopping1'" in printed
    assert "Entering post mortem debugging" in printed
    assert "['its result']" in printed
    assert "stopping1: forward gave its result the value" in printed


def test_the_launch_script_leaves_one_process_its_input(quick: dict[str, Any]) -> None:
    if Path(sys.prefix) != ROOT / ".venv":
        pytest.skip("not in the environment of the launch scripts: start with launch/test")
    command = [str(ROOT / "launch/local"), "-n", "1"]
    printed = debugged(command, [AT_THE_BREAKPOINT, "c"], quick)
    assert "'at stopping1'" in printed
    assert "stopping1: forward gave its result the value" in printed
    assert printed.count("Traceback") == 1
