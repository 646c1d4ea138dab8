"""--predict: its tables agree with its measurements, and predictions are within a fifth."""

from __future__ import annotations

import json
import re

import pytest

from dpcnn.bench.__main__ import main
from dpcnn.bench.rounds import DISTURBED, PROC_STAT, quiet
from tests.launching import launcher, run

ROW = re.compile(r" *(\d+) +([\d.]+) +([\d.]+) +([+-][\d.]+)% +([\d.]+)")


def predict(*options, cwd):
    return run(None, "--predict", *options, cwd=cwd, module="dpcnn.bench")


def rows(result):
    """Return ranks -> (predicted, measured, error) from the table of measurements."""
    assert result.returncode == 0, result.stderr
    matches = filter(None, map(ROW.fullmatch, result.stdout.splitlines()))
    return {int(match[1]): tuple(map(float, match.groups()[1:4])) for match in matches}


def test_predictions_are_printed_with_the_measurements(small, tmp_path):
    launcher(2)
    file = tmp_path / "bench.json"
    options = ("--ranks", 2, "--rounds", 1, "--steps", 3, "--dataroot", small, "--json", file)
    result = predict(64, *options, "--latency", 20, "--bandwidth", 1.25, "--cores", 8, cwd=tmp_path)
    table = rows(result)
    _alone, _busy, *trained = json.loads(file.read_text())
    measured = {configuration["ranks"]: configuration["rounds"][0] for configuration in trained}
    assert list(table) == list(measured) == [1, 2]
    for ranks, (predicted, seconds, error) in table.items():
        assert seconds == pytest.approx(measured[ranks]["step_seconds"] * 1e3, abs=0.01)
        assert error == pytest.approx((predicted / seconds - 1) * 100, abs=1)
    assert "predicted on nodes with 8 cores" in result.stdout
    assert "20 us latency (--latency)" in result.stdout
    assert "1.25 GB/s (--bandwidth)" in result.stdout
    assert re.search(r"^best: \d ranks? on \d nodes?, ", result.stdout, re.MULTILINE)
    assert max(map(len, result.stdout.splitlines())) <= 80
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([8], "--predict is 8, expected 16 images or more"),
        ([64, "--latency", "0"], "--latency is 0, expected a number above 0"),
        ([64, "--bandwidth", "nan"], "--bandwidth is nan, expected a number above 0"),
        ([64, "--cores", "0"], "--cores is 0, expected an integer from 1"),
    ],
)
def test_an_error_is_one_line(options, message, capsys):
    assert main(["--predict", *map(str, options)]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert message in err


def test_the_quietest_rounds_count():
    def figures(*shares):
        return [{"others": share} for share in shares]

    measured = [figures(0.3, 0.0, 0.02, 0.04), figures(0.01, 0.4, 0.03, 0.2)]
    assert quiet(measured) == [figures(0.0, 0.02), figures(0.01, 0.03)]
    assert quiet([figures(0.9, 0.8), figures(0.5, 0.6)]) == [figures(0.8), figures(0.5)]


def skip_if_disturbed(file):
    """Skip if other programs disturbed every round of a report: its times mean nothing."""
    report = json.loads(file.read_text())
    quietest = quiet([configuration["rounds"] for configuration in report])
    others = max(figures["others"] for figures, *_ in quietest)
    if others >= DISTURBED:
        pytest.skip(f"other programs use {others:.0%} of the cores: times mean nothing")


@pytest.mark.long
@pytest.mark.skipif(
    not PROC_STAT.exists(), reason="without /proc/stat, other programs go unnoticed"
)
def test_two_and_four_ranks_are_predicted_within_a_fifth(tmp_path):
    launcher(4)
    file = tmp_path / "bench.json"
    rows(predict(64, "--ranks", 1, "--rounds", 1, "--steps", 3, "--json", file, cwd=tmp_path))
    skip_if_disturbed(file)  # before spending minutes on it
    result = predict(1024, "--ranks", 4, "--rounds", 7, "--json", file, cwd=tmp_path)
    table = rows(result)
    skip_if_disturbed(file)
    for ranks in (2, 4):
        predicted, measured, _ = table[ranks]
        assert 0.8 <= predicted / measured <= 1.2, result.stdout
