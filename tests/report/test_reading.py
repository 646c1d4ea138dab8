"""What is made of the files of a run before anything is drawn."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace

import numpy as np
import pytest
from jinja2 import UndefinedError
from markupsafe import Markup

from dpcnn.data.augment import Augmentation
from dpcnn.data.dataset import Images
from dpcnn.data.sources import find
from dpcnn.models.zoo import ZOO
from dpcnn.nn.network import Network
from dpcnn.nn.plan import Plan
from dpcnn.report import curves, images, pages, style
from dpcnn.report.files import NEWEST
from dpcnn.report.history import Event, sessions
from dpcnn.report.html import TEMPLATES
from dpcnn.report.results import load
from dpcnn.report.run import number, read
from dpcnn.report.timings import MARKERS, PARTS, RANKS, _marker, rank_numbers, rank_timings
from tests.launching import metrics


def test_a_template_shows_text_escaped_and_markup_as_it_is():
    template = TEMPLATES.from_string('<p title="{{ value }}">{{ value }}</p>')
    assert (
        template.render(value='"<x> & ')
        == '<p title="&#34;&lt;x&gt; &amp; ">&#34;&lt;x&gt; &amp; </p>'
    )
    assert TEMPLATES.from_string("{{ value }}").render(value=Markup("<b>")) == "<b>"
    shown = template.render(value="a\0b\ud800\n").encode()
    assert shown.count("a\N{REPLACEMENT CHARACTER}b?\n".encode()) == 2
    with pytest.raises(UndefinedError):
        template.render()
    option = TEMPLATES.from_string("{{ value | unbroken }}").render(value="a <\0>: --reduce fast")
    broken = "a &lt;\N{REPLACEMENT CHARACTER}&gt;"
    assert option == f'{broken}: <span class="unbroken">--reduce</span> fast'


@pytest.mark.parametrize("value", [None, True, "1", [1], float("inf"), float("nan"), 10**400])
def test_what_is_no_finite_number_is_nan(value):
    assert math.isnan(number(value))


def test_events_are_gathered_between_starts():
    kinds = ["start", "epoch", "death", "resume", "stop", "end"]
    lines = [{"event": kind, "step": at, "world_size": 2} for at, kind in enumerate(kinds)]
    lines[2] |= {"ranks": [{"rank": 1, "host": "h"}], "world_size": 1}
    lines[4] |= {"signal": "SIGTERM"}
    first, second = sessions(lines)
    assert [event.kind for event in first.events] == ["start", "epoch", "death", "interruption"]
    assert [event.kind for event in first.milestones] == ["start", "death", "interruption"]
    assert [event.kind for event in second.events] == ["resume", "stop", "end"]
    assert first.events[2].sentence == "Lost rank 1 on h after step 2, continued on 1 rank"
    assert first.events[3].sentence == "Interrupted some time after step 2: no end is recorded"
    lines[2]["replaced"] = [{"rank": 2, "host": "h"}]
    assert sessions(lines)[0].events[2].sentence.endswith(", replaced by rank 2 on h")
    assert second.events[0].sentence == "Resumed after step 3 on 2 ranks"
    assert second.events[1].sentence == "Stopped by SIGTERM after step 4, state saved"


def test_only_the_last_session_of_a_running_run_goes_on():
    lines = [{"event": "start"}, {"event": "resume"}, {"event": "epoch"}]
    first, second = sessions(lines, running=True)
    assert [event.kind for event in first.events] == ["start", "interruption"]
    assert [event.kind for event in second.events] == ["resume", "epoch"]
    assert (first.running, second.running) == (False, True)
    assert sessions(lines)[1].events[-1].sentence == "Interrupted: no end is recorded"
    assert sessions([], running=True) == []


def test_labels_keep_their_order_and_distance():
    moved = curves._spread([0.5, 0.5, 0.52, 1.2])
    assert moved == sorted(moved)
    assert min(np.diff(moved)) >= curves.DISTANCE - 1e-9
    assert max(moved) <= 1
    assert min(curves._spread([0.0] * 40)) > -0.1
    assert curves._spread([]) == []


def test_points_within_the_epochs_are_means_of_a_few_steps_where_there_are_many():
    np.testing.assert_array_equal(curves._binned(np.arange(9.0), 3), np.arange(9.0))
    np.testing.assert_array_equal(curves._binned(np.arange(60.0), 3), np.arange(1.0, 60, 3))
    assert len(curves._binned(np.arange(10_000.0), 1)) <= curves.POINTS
    assert curves._binned(np.empty(0), 3).size == 0


def test_the_learning_rates_of_the_steps_are_the_curve(copy):
    steps = [{"epoch": step / 16, "learning_rate": 1 / step} for step in range(1, 49)]
    run = replace(read(copy), steps=steps)
    rate = [curves.Curve(run, "learning_rate", within="learning_rate")]
    with style.applied():
        [chart] = curves.over_epochs("", curves.LEARNING_RATE, rate).axes
    course, epochs = chart.lines[:2]
    np.testing.assert_array_equal(course.get_ydata(), [1 / step for step in range(1, 49)])
    assert (course.get_linestyle(), epochs.get_linestyle()) == ("-", "None")


@pytest.mark.parametrize(("code", "kind"), [(0, "end"), (1, "death"), (143, "stop")])
def test_only_the_end_of_a_run_without_error_is_drawn_as_good(code, kind):
    assert _marker(Event("end", None, {"exit_code": code})) == MARKERS[kind]


def test_a_deep_network_is_told_by_its_name_and_a_shallow_one_by_its_layers():
    shape = (1, 28, 28)
    deep, shallow = (Network(Plan(ZOO[name].make(shape, 10), shape)) for name in ("resnet8", "mlp"))
    assert pages._network("resnet8", deep) == "resnet8, 27 layers"
    assert re.match(r"Flatten\(\) → Dense\(.*\) → .*Dense\(10\)$", pages._network("mlp", shallow))


def test_a_run_is_read_as_it_was_written(whole):
    run = read(whole)
    last = metrics(whole)[-1]
    assert run.missing == []
    assert run.status.name == "finished"
    assert run.weights_sha256 == last["weights_sha256"]
    assert run.series("test_loss")[-1] == last["test_loss"]
    assert {"epochs", "n_filter"} < set(run.changed_options)
    assert "lr" not in run.changed_options
    assert run.options["num_class"] == 10, "told by the dataset"
    assert "num_class" not in run.changed_options
    timings = rank_timings(run)
    assert [*timings] == [0, 1]
    assert all(timing.seconds.shape == (len(PARTS), 3) for timing in timings.values())


def test_of_many_lines_and_ranks_the_newest_and_first_are_shown(copy):
    line = {"epoch": 1, "ranks": [{"rank": rank, "host": "h"} for rank in range(RANKS + 5)]}
    lines = [json.dumps(line | {"epoch": epoch}) for epoch in range(1, NEWEST + 8)]
    (copy / "metrics.jsonl").write_text("\n".join(lines))
    run = read(copy)
    assert run.missing == [
        f"metrics.jsonl: only the last {NEWEST:,} of {NEWEST + 7:,} lines are shown."
    ]
    assert (run.epochs[0], run.epochs[-1]) == (8, NEWEST + 7)
    assert len(rank_numbers(run)) == RANKS + 5
    assert [*rank_timings(run)] == [*range(RANKS)]


def test_the_results_are_those_that_were_recorded(whole):
    run = read(whole)
    results = load(run).results
    assert results.accuracy == run.series("test_accuracy")[-1]
    assert results.confusion.sum() == results.images == 200
    probabilities = [guess.label_probability for guess in results.worst]
    assert probabilities == sorted(probabilities)
    assert all(guess.classes[0] != guess.label for guess in results.worst)
    assert all(guess.label in dict(guess.candidates()) for guess in results.worst)
    assert all(guess.probabilities[0] >= guess.label_probability for guess in results.worst)


def test_a_dataset_is_never_downloaded(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DPCNN_CACHE", str(tmp_path / "cache"))
    assert find.locate("auto") is None
    assert find.locate("mnist") is None
    assert find.locate("digits") == "digits"
    (tmp_path / "MNISTdata.hdf5").touch()
    assert find.locate("auto") == "MNISTdata.hdf5"
    assert find.locate("mnist") is None


def test_a_figure_takes_its_colours_from_the_page_and_has_ids_of_its_own():
    with style.applied():
        figure, chart = style.axes(2, "a < #0072b2", "x")
        chart.plot([1, 2], [1, 2], "o", color=style.BLUE)
        chart.plot([1, 2], [2, 1], color="#123456")
        one, other = (style.svg(figure, name) for name in ("one", "other"))
    assert 'aria-label="a &lt; #0072b2"' in one
    assert ">a &lt; #0072b2</text>" in one
    assert "fill: var(--blue)" in one
    assert "stroke: #123456" in one
    ids = [set(re.findall(' id="([^"]+)"', svg)) for svg in (one, other)]
    assert ids[0] & ids[1] == set()
    for svg, defined in zip((one, other), ids, strict=True):
        assert set(re.findall(r'(?:href="|url\()#([^")]+)', svg)) == defined != set()


@pytest.mark.parametrize(
    ("shape", "expected"),
    [((1, 28, 28), (28, 28)), ((3, 32, 30), (32, 30, 3)), ((2, 200, 100), (50, 25))],
)
def test_images_of_any_shape_become_pictures(shape, expected):
    assert images.to_pixels(np.ones(shape, np.float32)).shape == expected
    labelled = Images(np.zeros((5, *shape), np.uint8), np.array([3, 3, 70, 70, 70]))
    samples = images.samples(labelled)
    assert [picture.caption for picture in samples] == ["3: 2 images", "70: 3 images"]
    assert samples[0].pixels.shape == samples[1].pixels.shape


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 16, 20)])
def test_augmented_images_stand_below_the_originals(shape):
    pixels = np.random.default_rng(0).integers(1, 256, (40, *shape), np.uint8)
    labelled = Images(pixels, np.arange(40) % 7)
    original, *versions = images.augmented(labelled, Augmentation(flip=1, cutout=8))
    assert (original.name, len(versions)) == ("original", images.VERSIONS)
    for place in range(7):
        tile = original.pixels[:, place * (shape[2] + 2) :][:, : shape[2], :3]
        np.testing.assert_array_equal(tile, np.broadcast_to(pixels[place].transpose(1, 2, 0),
                                                            tile.shape))  # fmt: skip
    assert len({version.pixels.tobytes() for version in versions}) == len(versions)
    assert all((version.pixels[..., :3] == 0).any() for version in versions)
    assert images.augmented(labelled, Augmentation()) == []


def test_images_that_alternate_are_mirrored_in_every_other_version():
    pixels = np.random.default_rng(0).integers(1, 256, (7, 1, 28, 28), np.uint8)
    labelled = Images(pixels, np.zeros(7, np.uint8))
    original, *versions = images.augmented(labelled, Augmentation(alternate=1))
    for count, version in enumerate(versions, 1):
        expected = original.pixels[:, ::-1] if count % 2 else original.pixels
        np.testing.assert_array_equal(version.pixels, expected)
