"""The benchmark: its table and its JSON agree, and an error is one line."""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import re

import pytest

from dpcnn.bench import comparison, prediction, rounds, standard
from dpcnn.bench.__main__ import main
from dpcnn.bench.rounds import Measurement
from dpcnn.bench.variants import VARIANTS
from dpcnn.bench.workload import Workload, flop_per_image
from dpcnn.models.zoo import resnet, tutorial
from dpcnn.nn.plan import Plan
from tests.launching import launcher, run

QUICK = ("--rounds", 1, "--steps", 3, "--minibatch", 32)


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
    assert max(len(line.replace(str(small), "")) for line in lines) <= 80
    for configuration in report:
        name = configuration["name"]
        [figures] = configuration["rounds"]
        [row] = [line for line in lines if line.startswith(f"{name} ")]
        speed, _, step = map(float, row.removeprefix(name).split()[:3])
        assert step == pytest.approx(figures["step_seconds"] * 1e3, abs=0.01)
        assert speed == pytest.approx(32 / figures["step_seconds"], abs=1)
        assert figures["waiting_share"] >= (0 if configuration["ranks"] == 1 else 1e-6)
        assert figures["compute_share"] + figures["waiting_share"] <= 1
    assert "inference, 1 rank: " in result.stdout
    assert not (tmp_path / "runs").exists()


@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="PyTorch is not installed")
def test_pytorch_is_measured_too_and_both_are_held_to_avx2(monkeypatch, capsys, tmp_path):
    launcher(2)
    monkeypatch.setenv("OMP_WAIT_POLICY", "passive")  # who waits leaves the cores to others
    last = VARIANTS[-1]
    monkeypatch.setattr(comparison, "VARIANTS", [last])
    workload = Workload("dpcnn.bench.networks:lenet", "1x28x28", 32)
    monkeypatch.setattr(standard, "CASES", [standard.Case("small", workload, 2)])
    options = ["--rounds", "1", "--steps", "2", "--ranks", "2", "--isa", "avx2"]
    file = tmp_path / "bench.json"
    assert main([*options, "--standard", "--json", str(file)]) == 0
    for configuration in json.loads(file.read_text()):
        [figures] = configuration["rounds"]
        held = figures["instructions"] if configuration["variant"] else figures["kernels"]
        assert held in ("AVX2", "Haswell", "")  # nothing: a BLAS that does not tell
    out, err = capsys.readouterr()
    for name in ("torch, 1 thread", "torch, 2 threads", "torch DDP, 2 ranks"):
        assert out.count(f"\n{name} ") == 2, out  # in the table, and among the variants
        assert f"{workload}: {name} ({last.name})\n" in err
        assert f" | {name.split(maxsplit=1)[1]}; {last.name} |\n" in out
    assert "\ninference, torch, 1 thread: " in out


def test_the_time_of_a_step_is_that_of_its_layers_and_all_else(capsys):
    options = ["--rounds", "1", "--steps", "3", "--minibatch", "16", "--dataroot", "3x8x8"]
    assert main([*options, "--layers", "--model", "resnet8"]) == 0
    lines = capsys.readouterr().out.splitlines()
    rows = {line.split("  ")[0]: line.split() for line in lines[3:] if "%" in line}
    plan = Plan(resnet(8)((3, 8, 8), 10), (3, 8, 8))
    assert [name for name in rows if name in plan.leaves] == list(plan.leaves)
    forward, forward_speed, backward, backward_speed = rows["residual1/convolution1"][1:5]
    flop = 2 * plan.leaves["residual1/convolution1"].multiply_adds()
    assert int(forward_speed) == pytest.approx(flop / float(forward) / 1e3, rel=0.05, abs=0.6)
    assert int(backward_speed) == pytest.approx(2 * flop / float(backward) / 1e3, rel=0.05, abs=0.6)
    *parts, total = (float(row[-1].rstrip("%")) for row in rows.values())
    assert sum(parts) == pytest.approx(total, abs=0.1 * len(parts))
    assert total == 100


def test_it_says_what_it_does_and_what_else_the_machine_does(monkeypatch, capsys):
    monkeypatch.setattr(rounds, "_figures", lambda configuration, _: figures(configuration, 1))
    monkeypatch.setattr(rounds, "_others_now", lambda: 0.5)
    chosen = [comparison.ours(Workload("tutorial", "1x28x28", 64), 1, None, 1)]
    rounds.measure(chosen, 3, {})
    first, second, third, fourth, last = capsys.readouterr().err.splitlines()
    assert first == "3 rounds of 1 measurement, each in a new process"
    assert second.startswith("warning: other programs use 50% of all cores: ")
    assert third == "1/3 tutorial on 1x28x28, minibatch 64: 1 rank, exact"
    for line, number in ((fourth, 2), (last, 3)):
        assert re.fullmatch(rf"{number}/3 \(\d+ s left\) tutorial on .*: 1 rank, exact", line)


def test_every_column_is_explained():
    names = [*comparison.COLUMNS, "ring ms", "tree ms", "predicted ms", "efficiency", "speedup"]
    told = " ".join((comparison.LEGEND + prediction.LEGEND).replace("\n", " ").split())
    assert [name for name in names if name not in told] == []
    for text in (comparison.LEGEND, prediction.LEGEND):
        assert max(map(len, text.splitlines())) <= 80


def test_a_look_at_the_machine_is_a_share_of_its_cores(monkeypatch):
    seconds = iter([10.0, 10.0 + rounds.LOOK * (os.cpu_count() or 1) / 2])
    monkeypatch.setattr(rounds, "_seconds_of_others", lambda: next(seconds))
    monkeypatch.setattr(rounds.time, "sleep", lambda seconds: None)
    assert rounds._others_now() == pytest.approx(0.5)


def figures(configuration, seconds):
    shares = {"compute_share": 0.9, "waiting_share": 0.04, "sgemm_flops": 1e11}
    own = {} if configuration.variant else {"flop_per_image": 10**8} | shares
    times = {"step_seconds": seconds, "inference_seconds_per_image": seconds / 400}
    return {"others": 0.0} | times | own


def test_only_the_best_variant_counts_and_slower_ones_are_measured_no_more(monkeypatch):
    speeds = {"": [1, 2, 1], "NCHW": [4], "NCHW, tuned": [2.09, 2.2]}
    speeds |= {"channels-last": [2.08, 2.08, 2.08], "channels-last, tuned": [2, 2, 1.9]}
    left = {name: iter(seconds) for name, seconds in speeds.items()}

    def measured(configuration, environment):
        return figures(configuration, next(left[configuration.variant]))

    monkeypatch.setattr(rounds, "_figures", measured)
    workload = Workload("tutorial", "1x28x28", 64)
    chosen = [comparison.ours(workload, 1, None, 1), *comparison.torchs(workload, 1, 1)]
    measurements = rounds.measure(chosen, 3, {})
    assert [len(each.rounds) for each in measurements] == [3, 1, 2, 3, 3]
    own, best = comparison.best_variants(measurements)
    assert best.configuration.variant == "channels-last, tuned"
    assert comparison.times_as_fast(own, best) == 1.9  # of 2 / 1, 2 / 2, 1.9 / 1
    text = "\n".join(comparison.table(measurements, None))
    assert re.search(r"^torch, 1 thread +32 +31250.0 .* 1.90x$", text, re.MULTILINE)
    times = r" +62500.0 +33515.6 +32500.0 +31250.0\*$"
    assert re.search(rf"^torch, 1 thread{times}", text, re.MULTILINE)


def test_the_standard_table_has_every_network_and_way(capsys):
    options = argparse.Namespace(ranks=2, steps=2)
    configurations = standard.configurations(options, "mpirun")
    seconds = {1: 2.0, 2: 1.25}
    measurements = [
        Measurement(each, [figures(each, seconds[each.ranks] * (2 if each.variant else 1))] * 2)
        for each in configurations
    ]
    lines = standard.table(measurements, options)
    assert [line for line in lines if len(line) > 80 and not line.startswith("|")] == []
    rows = [line for line in lines if line.startswith("|")][2:]
    assert rows[:4] == [
        "| VGG, 128, 1 rank | 15,625 | 31,250 | 2.00 x | 1 thread; NCHW |",
        "| VGG, 128, 2 ranks | 9,766 | 19,531 | 2.00 x | 2 threads; NCHW |",
        "| VGG, 128, 2 ranks | 9,766 | 19,531 | 2.00 x | DDP, 2 ranks; NCHW |",
        "| VGG, inference | 5,000 | 10,000 | 2.00 x | 1 thread; NCHW |",
    ]
    assert len(rows) == 12
    assert lines[-1] == "scaling efficiency: VGG 0.80 on 2 ranks, the tutorial's 0.80 on 2 ranks"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--rounds", "0"], "--rounds is 0, expected an integer from 1"),
        (["--ranks", "9", "--minibatch", "8"], "--minibatch is 8, expected 9 or more"),
        (["--against", "tensorflow"], "invalid choice"),
        (["--dataroot", "/no/such/file"], "/no/such/file: no such file"),
        (["--model", "resnet9"], "--model is 'resnet9', expected one of tutorial"),
        (["--model", "mobilenet", "--dataroot", "3x8x8"], "expected at least 16x16 pixels"),
        (["--standard", "--model", "vgg"], "found --model beside --standard"),
        (["--predict", "64", "--model", "vgg"], "--predict is for the tutorial's network"),
        (
            ["--model", "tests.networks:with_swish", "--against", "torch"],
            "swish1, Swish(), has no equivalent in PyTorch, expected layers of dpcnn.nn",
        ),
    ],
)
def test_an_error_is_one_line(options, message, capsys):
    assert main(options) == 2
    out, err = capsys.readouterr()
    assert not out
    assert err.count("\n") == 1
    assert err.startswith("dpcnn: error: ")
    assert message in err


def test_a_comparison_without_pytorch_is_refused(monkeypatch, capsys):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert main(["--against", "torch"]) == 2
    assert "--against torch needs the package torch: pip install" in capsys.readouterr().err


def test_the_operations_of_the_tutorials_network_are_counted_by_hand():
    plan = Plan(tutorial(), (1, 28, 28))
    convolution, dense = 32 * 49 * 24 * 24, 18432 * 10
    assert flop_per_image(plan) == 2 * (2 * convolution + 3 * dense)
