"""evaluate: the numbers that the run recorded, on any number of ranks, in tables and as JSON."""

from __future__ import annotations

import json

import numpy as np
import pytest

from dpcnn.data.dataset import Dataset, Images
from dpcnn.data.formats import hdf5, registry
from dpcnn.data.formats.raw import Wanted
from dpcnn.data.sources import synthetic
from dpcnn.evaluate import main
from dpcnn.inference.model import load
from dpcnn.metrics.classification import confusion, mistakes, per_class
from dpcnn.metrics.tables import COLUMNS, class_table, confusion_table, mistake_table
from dpcnn.system.terminal import ERASE
from tests.launching import refusals, run


@pytest.fixture(scope="module")
def trained(small, tmp_path_factory):
    """The run directory of two epochs with a smaller network than the default."""
    cwd = tmp_path_factory.mktemp("evaluate")
    options = ("--dataroot", small, "--epochs", 2, "--n_filter", 4, "--run_dir", "run")
    assert run(2, *options, "--train_limit", 900, cwd=cwd).returncode == 0
    return cwd / "run"


def evaluate(trained, *options, ranks=None):
    return run(ranks, trained, *options, cwd=trained.parent, module="dpcnn.evaluate")


def as_json(result):
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


@pytest.fixture(scope="module")
def alone(trained):
    return as_json(evaluate(trained, "--json"))


def test_the_numbers_are_those_that_the_run_recorded(trained, alone):
    *_, last = map(json.loads, (trained / "metrics.jsonl").read_text().splitlines())
    assert alone["loss"] == last["test_loss"]
    assert alone["accuracy"] == last["test_accuracy"]
    assert alone["weights_sha256"] == last["weights_sha256"]
    assert alone["fingerprint"] == alone["trained_on"]["fingerprint"]


def test_a_terminal_shows_how_far_it_is_and_a_pipe_gets_the_output_alone(
    trained, alone, capfd, monkeypatch
):
    for terminal in ("0", "1"):
        monkeypatch.setenv("DPCNN_TERMINAL", terminal)
        assert main([str(trained), "--json"]) == 0
        out, err = capfd.readouterr()
        assert json.loads(out) == alone
        assert ("test set |" in err and "| evaluated 0/200" in err) == (terminal == "1")
        assert err.endswith(f"\r{ERASE}") or err == ""


def test_any_number_of_ranks_gives_the_numbers_of_one(trained, alone):
    assert as_json(evaluate(trained, "--json", ranks=3)) == alone


def test_ranks_without_images_change_nothing(trained):
    """48 images are three micro-batches."""
    options = ("--json", "--test_limit", 48)
    assert as_json(evaluate(trained, *options, ranks=4)) == as_json(evaluate(trained, *options))


def test_the_tables_say_what_the_predictions_are(trained, small, alone):
    test = registry.read(small, Wanted((1, 28, 28), 10)).test
    predicted = load(trained).predict(test.images)
    assert alone["confusion"] == confusion(test.labels, predicted, 10).tolist()
    assert alone["mistakes"] == list(map(list, mistakes(test.labels, predicted)))
    recalls = [row["recall"] for row in alone["classes"]]
    assert recalls == per_class(test.labels, predicted, 10).recall.tolist()


def test_people_see_tables_of_eighty_columns(trained, alone):
    result = evaluate(trained, ranks=2)
    assert result.returncode == 0, result.stderr
    assert f"accuracy  {alone['accuracy']:.4f}" in result.stdout
    assert f"loss      {alone['loss']:.4f}" in result.stdout
    assert max(map(len, result.stdout.splitlines()[2:])) <= COLUMNS
    rows = [line.split() for line in result.stdout.splitlines()[-10:]]
    numbers = [[int(cell.replace(".", "0")) for cell in row] for row in rows]
    assert [row[1:] for row in numbers] == alone["confusion"]


def test_a_checkpoint_is_evaluated_on_chosen_images(trained, small):
    checkpoint = trained / "checkpoints/step-00000015.h5"
    report = as_json(evaluate(checkpoint, "--json", "--split", "train", "--train-limit", "50"))
    train = registry.read(small, Wanted((1, 28, 28), 10)).train.first(50)
    assert (report["split"], report["images"], report["step"]) == ("train", 50, 15)
    assert report["accuracy"] == (load(checkpoint).predict(train.images) == train.labels).mean()
    whole = as_json(evaluate(trained, "--json", "--split", "train", "--train_limit", "all"))
    assert whole["images"] == 1000
    assert whole["fingerprint"] == whole["trained_on"]["fingerprint"], "it is the same data"


def test_other_data_are_evaluated_and_said_to_be_others(trained, tmp_path):
    images, labels = synthetic.draw(100, seed=7)
    part = Images(images[:, None], labels)
    hdf5.write(tmp_path / "other.hdf5", Dataset(part, part, "other", 10))
    result = evaluate(trained, "--dataroot", tmp_path / "other.hdf5")
    assert result.returncode == 0
    assert "other.hdf5, 100 test images" in result.stdout
    assert "trained on other data" in result.stdout
    assert "trained on other data" not in evaluate(trained).stdout


WRONG = {
    (): "RUN|CHECKPOINT",
    ("nothing.h5",): "nothing.h5: no such file",
    (".",): ".: no sound checkpoint, expected a run directory",
    ("run", "--dataroot", "nothing.hdf5"): "nothing.hdf5: no such file",
    ("run", "--test_limit", "0"): "--test_limit is 0, expected an integer from 1",
    ("run", "--test_limit", "ten"): "--test_limit is 'ten', expected an integer from 1",
    ("run", "--split", "both"): "--split",
    ("run", "--jsno"): "--jsno",
}


@pytest.mark.parametrize("arguments", WRONG)
def test_what_cannot_be_evaluated_is_one_line(trained, arguments, monkeypatch, capsys):
    monkeypatch.chdir(trained.parent)
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert WRONG[arguments] in err


def test_it_is_one_line_of_two_ranks_too(trained):
    lines = refusals(2, "dpcnn.evaluate", list(WRONG), trained.parent)
    for line, message in zip(lines, WRONG.values(), strict=True):
        assert message in line


def test_a_hundred_classes_fit_a_terminal():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 99, 5000)
    predicted = np.where((labels != 42) & (rng.random(5000) < 0.9), labels, 7)
    lines = class_table(per_class(labels, predicted, 100))
    assert lines[0] == "the 25 of 100 classes with the lowest F1:"
    assert any(line.split()[0] == "42" for line in lines)
    assert confusion_table(labels, predicted, 100) is None
    wrong = mistake_table(mistakes(labels, predicted))
    assert wrong[2].split() == ["42", "7", str(np.sum(labels == 42))]
    assert max(map(len, lines + wrong)) <= COLUMNS
    assert len(lines + wrong) < 60


def test_a_perfect_network_has_no_mistakes():
    labels = np.arange(3)
    assert mistake_table(mistakes(labels, labels)) == ["no mistakes"]
    table = confusion_table(labels, labels, 3)
    assert table is not None
    assert table[2:] == ["0  1  .  .", "1  .  1  .", "2  .  .  1"]


def test_relative_data_are_found_again_from_another_directory(small, tmp_path):
    (tmp_path / "here").mkdir()
    (tmp_path / "data.hdf5").symlink_to(small)
    options = ("--dataroot", "data.hdf5", "--max_steps", 1, "--n_filter", 2, "--run_dir", "run")
    assert run(None, *options, cwd=tmp_path).returncode == 0
    result = run(None, "../run", cwd=tmp_path / "here", module="dpcnn.evaluate")
    assert result.returncode == 0, result.stderr
    resumed = ("--resume", "../run", "--max_steps", 2)
    assert run(None, *resumed, cwd=tmp_path / "here").returncode == 0
