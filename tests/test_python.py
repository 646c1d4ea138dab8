"""dpcnn from Python: what a call returns, raises, prints and leaves behind."""

from __future__ import annotations

import doctest
import json
import math
import os
import re
import signal
import subprocess
import sys
import textwrap
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import threadpoolctl

import dpcnn
from dpcnn.api import model, sources, training
from dpcnn.data.formats import registry
from dpcnn.data.formats.raw import Wanted
from dpcnn.errors import CheckpointError, DivergenceError, DpcnnError, OptionError
from dpcnn.nn import Dense, Flatten
from dpcnn.system import blas
from dpcnn.training.trainer import Trainer
from tests.launching import ROOT, metrics, run
from tests.networks import two_convolutions, with_swish


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def quick(small: Path, here: Path) -> dict[str, Any]:
    """Options of a run of 8 steps that prints nothing."""
    return {"dataroot": small, "train_limit": 256, "epochs": 2, "progress": "silent"}


def python(code: str, *arguments: Any, cwd: Path, **environment: str) -> str:
    """Return what a script prints in a fresh Python whose environment says no BLAS threads."""
    clean = {name: value for name, value in os.environ.items() if name not in blas.VARIABLES}
    (cwd / "script.py").write_text(textwrap.dedent(code))
    done = subprocess.run(
        [sys.executable, "script.py", *map(str, arguments)],
        cwd=cwd,
        env=clean | {"PYTHONPATH": str(ROOT)} | environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("module", [model, sources, training])
def test_the_examples_in_docstrings_are_right(module: Any, here: Path) -> None:
    found = doctest.testmod(module)
    assert found.attempted > 2
    assert found.failed == 0


def test_a_call_is_the_command(small: Path, tmp_path: Path, here: Path, capfd: Any) -> None:
    options = {"dataroot": str(small), "epochs": 2, "n_filter": 4, "lr": 0.05}
    command = [word for name, value in options.items() for word in (f"--{name}", value)]
    result = run(None, *command, "--run_dir", "command", cwd=tmp_path)
    found = dpcnn.train(run_dir="call", **options)
    printed = capfd.readouterr()
    expected, found_lines = (
        re.sub(r"[\d.]+ s\b|[\d,]+ images/s", "...", text) for text in (result.stdout, printed.out)
    )
    assert found_lines == re.sub(r"\bcommand\b", "call", expected)
    assert printed.err == ""
    assert (found.exit_code, found.weights_sha256) == (0, result.sha)
    assert metrics(tmp_path / "call") == metrics(tmp_path / "command")
    files = [
        {path.relative_to(at) for path in at.rglob("*")}
        for at in (tmp_path / "command", tmp_path / "call")
    ]
    assert files[0] == files[1]
    for name in ("outcome.json", "options.json"):
        texts = [(tmp_path / at / name).read_text() for at in ("command", "call")]
        assert texts[0] == texts[1].replace('"call"', '"command"')


def test_a_run_says_what_it_has_come_to(quick: dict[str, Any], small: Path) -> None:
    found = dpcnn.train(two_convolutions(), run_dir="run", **quick)
    lines = [json.loads(line) for line in Path("run/metrics.jsonl").read_text().splitlines()]
    assert found.metrics == lines
    assert found.accuracy == lines[-1]["test_accuracy"]
    assert found.directory == Path("run")
    assert repr(found) == (
        f"Run(directory={Path('run')!r}, exit_code=0,"
        f" weights_sha256={lines[-1]['weights_sha256']!r})"
    )
    test = registry.read(small, Wanted((1, 28, 28), 10)).test
    assert (found.model.predict(test.images) == test.labels).mean() == found.accuracy
    expected = dpcnn.load("run").probabilities(test.images)
    np.testing.assert_array_equal(found.model.probabilities(test.images), expected)


def test_before_the_first_epoch_there_is_no_accuracy(quick: dict[str, Any]) -> None:
    found = dpcnn.train(max_steps=1, **quick)
    assert math.isnan(found.accuracy)
    assert found.metrics == []
    assert found.directory.parent == Path("runs")


def test_runs_in_one_process_do_not_know_of_each_other(quick: dict[str, Any]) -> None:
    layers = two_convolutions()
    first = dpcnn.train(layers, run_dir="a", **quick)
    images = np.random.default_rng(0).random((3, 28, 28))
    before = first.model.probabilities(images)
    other = dpcnn.train(layers, run_dir="b", **quick, lr=0.1, seed=3)
    again = dpcnn.train(layers, run_dir="c", **quick)
    assert again.weights_sha256 == first.weights_sha256 != other.weights_sha256
    np.testing.assert_array_equal(first.model.probabilities(images), before)


def test_a_layer_of_the_user_goes_on_when_it_is_given_again(quick: dict[str, Any]) -> None:
    straight = dpcnn.train(with_swish(), run_dir="a", **quick)
    dpcnn.train(with_swish(), run_dir="b", max_steps=3, **quick)
    with pytest.raises(CheckpointError, match="network= from Python"):
        dpcnn.train(run_dir="b", resume="auto", max_steps=None, **quick)
    with pytest.raises(
        CheckpointError, match=r"layer 1 of the network: found .* as in the checkpoint"
    ):
        dpcnn.train(two_convolutions(), run_dir="b", resume="auto", **quick)
    resumed = dpcnn.train(with_swish(), run_dir="b", resume="auto", max_steps=None, **quick)
    assert resumed.weights_sha256 == straight.weights_sha256
    assert dpcnn.load("b", with_swish()).options.epochs == 2


def test_options_may_be_paths_words_and_numpy_numbers(quick: dict[str, Any]) -> None:
    quick |= {
        "epochs": np.int64(1),
        "lr": np.float32(0.5),
        "max_steps": "none",
        "seed": np.uint8(7),
    }
    options = dpcnn.train(run_dir=Path("run"), **quick).model.options
    assert (options.epochs, options.lr, options.max_steps, options.seed) == (1, 0.5, None, 7)
    assert options.dataroot == str(quick["dataroot"])
    assert json.loads(Path("run/options.json").read_text()) == options.as_dict()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"lr": 0}, "--lr is 0, expected a number from 1e-12"),
        ({"epochs": "3"}, "--epochs is '3', expected an integer"),
        ({"epocs": 3}, "unknown option epocs: did you mean epochs?"),
        ({"batch_size": 3, "minibatch_size": 3}, "batch_size and minibatch_size are the same"),
        ({"network": [Flatten(), Dense(9)]}, "the network's output is (9,), expected (10,)"),
        ({"network": "lenet"}, "the network is 'lenet', expected a list of layers"),
        ({"network": [Flatten(), Dense(10)], "stride": 1}, "--stride beside a network of your own"),
        (
            {"network": [Flatten(), Dense(10)], "model": "a:b"},
            "--model beside a network of your own",
        ),
        ({"model": "gone:build"}, "no module gone in"),
        ({"dataroot": "gone.hdf5"}, "gone.hdf5: no such file"),
        ({"run_dir": "/proc/run"}, "--run_dir /proc/run"),
    ],
)
def test_what_is_wrong_is_raised_and_leaves_nothing(
    options: dict[str, Any], words: str, quick: dict[str, Any]
) -> None:
    before = [signal.getsignal(number) for number in signal.valid_signals()]
    with pytest.raises(DpcnnError) as refused:
        dpcnn.train(**quick | options)
    assert words in str(refused.value)
    assert list(Path().iterdir()) == []
    assert [signal.getsignal(number) for number in signal.valid_signals()] == before


def test_divergence_is_raised_and_the_last_good_step_kept(quick: dict[str, Any]) -> None:
    with pytest.raises(DivergenceError, match="step 2: "):
        dpcnn.train(run_dir="run", lr=1e6, **quick)
    assert dpcnn.load("run").checkpoint.progress["step"] == 1
    assert json.loads(Path("run/outcome.json").read_text()) == {"exit_code": 1}
    with pytest.raises(OptionError, match="holds a run already"):
        dpcnn.train(run_dir="run", **quick)


def test_an_error_of_a_users_layer_is_raised_as_it_is(quick: dict[str, Any]) -> None:
    class Broken(Flatten):
        def forward(self, x: Any) -> Any:
            if self.context.step:  # not before the run has begun
                raise ZeroDivisionError
            return super().forward(x)

    with pytest.raises(ZeroDivisionError):
        dpcnn.train([Broken(), Dense(10)], run_dir="run", **quick)
    assert "ZeroDivisionError" in Path("run/errors/rank-0.txt").read_text()


@pytest.fixture
def interrupted(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Let Ctrl-C come so many times in the next step, and not again."""

    def after(times: int) -> None:
        step, signals = Trainer.step, [signal.SIGINT] * times

        def stopped(self: Trainer, order: Any) -> Any:
            while signals:
                os.kill(os.getpid(), signals.pop())
            return step(self, order)

        monkeypatch.setattr(Trainer, "step", stopped)

    return after


def test_ctrl_c_saves_and_returns_and_the_handlers_come_back(
    interrupted: Any, quick: dict[str, Any]
) -> None:
    interrupted(1)
    before = [signal.getsignal(number) for number in signal.valid_signals()]
    found = dpcnn.train(run_dir="run", **quick)
    assert found.exit_code == 130
    assert [signal.getsignal(number) for number in signal.valid_signals()] == before
    again = dpcnn.train(run_dir="run", resume="auto", **quick)
    assert again.exit_code == 0
    assert again.weights_sha256 == dpcnn.train(run_dir="other", **quick).weights_sha256


def test_a_second_ctrl_c_interrupts_without_ending_the_session(
    interrupted: Any, quick: dict[str, Any]
) -> None:
    interrupted(2)
    with pytest.raises(KeyboardInterrupt):
        dpcnn.train(run_dir="run", **quick)
    assert dpcnn.train(run_dir="run", resume="auto", **quick).exit_code == 0


def test_any_thread_may_train(quick: dict[str, Any]) -> None:
    expected, found = dpcnn.train(run_dir="a", **quick), []
    thread = threading.Thread(target=lambda: found.append(dpcnn.train(run_dir="b", **quick)))
    thread.start()
    thread.join()
    assert [each.weights_sha256 for each in found] == [expected.weights_sha256]


THREADS = """
import sys
import numpy
import dpcnn, threadpoolctl
def threads():
    return [each["num_threads"] for each in threadpoolctl.threadpool_info()]
seen = []
from dpcnn.training.trainer import Trainer
step = Trainer.step
Trainer.step = lambda self, minibatch: (seen.append(threads()), step(self, minibatch))[1]
before = threads()
run = dpcnn.train(dataroot=sys.argv[1], max_steps=2, progress="silent")
assert seen == [[1], [1]], seen
dpcnn.train(dataroot=sys.argv[1], max_steps=1, progress="silent", reduce="fast", threads=2)
assert seen[2:] == [[2]], seen
assert threads() == before
print(run.weights_sha256)
"""


@pytest.mark.parametrize("users", [{}, {"OPENBLAS_NUM_THREADS": "1"}])
def test_numpy_may_be_imported_before(users: dict[str, str], small: Path, tmp_path: Path) -> None:
    if len(threadpoolctl.threadpool_info()) != 1:
        pytest.skip("NumPy has no BLAS here whose threads can be asked for")
    found = python(THREADS, small, cwd=tmp_path, **users).split()
    assert found == [run(None, "--dataroot", small, "--max_steps", 2, cwd=tmp_path).sha]


NAMES = """
import dpcnn
function = dpcnn.train
import dpcnn.train
assert dpcnn.train is function
import dpcnn.evaluate, dpcnn.report.__main__
assert callable(dpcnn.evaluate) and callable(dpcnn.report)
from dpcnn.evaluate import main
from dpcnn import train
import dpcnn.train as again
assert train is again is function and callable(function)
assert set(dpcnn.__all__) <= set(dir(dpcnn))
assert dpcnn.nn.Dense(10).outputs == 10 and callable(dpcnn.load) and dpcnn.Model
from dpcnn import *
print(train.__name__, load.__name__, nn.__name__)
"""


def test_train_is_the_function_whatever_was_imported(tmp_path: Path) -> None:
    assert python(NAMES, cwd=tmp_path) == "train load dpcnn.nn\n"
    with pytest.raises(AttributeError, match="has no attribute 'tran'"):
        _ = dpcnn.tran  # type: ignore[attr-defined]


def test_a_type_checker_sees_the_types(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import dpcnn\nimport dpcnn.train\nfrom dpcnn.nn import Dense, Flatten\n"
        "run = dpcnn.train([Flatten(), Dense(10)], epochs=3)\n"
        "reveal_type(run.accuracy)\nreveal_type(run.model)\n"
        "reveal_type(dpcnn.load('x').predict([]))\ndpcnn.train(3)\n"
    )
    command = [sys.executable, "-m", "mypy", "--strict", str(script)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    told = [line.partition(": ")[2] for line in done.stdout.splitlines()]
    assert 'Revealed type is "' in told[0]
    assert "float" in told[0]
    assert "dpcnn.api.model.Model" in told[1]
    assert "ndarray" in told[2]
    assert 'Argument 1 to "train"' in told[3]
    assert len(told) == 5
