"""Runs with --augment: the same bits on any number of ranks, through stops, and when verified."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import dpcnn
from dpcnn.data import words
from dpcnn.data.dataset import Dataset, Images
from dpcnn.data.formats import registry
from dpcnn.data.formats.raw import Wanted
from dpcnn.data.loader import Loader
from dpcnn.data.normalize import standard
from dpcnn.data.sources import synthetic
from dpcnn.errors import OptionError
from dpcnn.nn import Convolution, Dense, Flatten, MaxPooling, ReLU
from dpcnn.options import Options
from dpcnn.parallel.communicator import Communicator
from dpcnn.training.measure import silent_trainer
from dpcnn.verify import main as verify
from tests.parallel.ranks import on_ranks

EVERYTHING = (
    "flip,crop:4,shift:2,rotate:10,scale:0.1,cutout:8,brightness:0.2,contrast:0.2,mixup:0.2"
)
ALTERNATE = "alternate,reflect:2"
IMAGES = 130  # steps of 50, 50 and 30, which are 4 micro-batches, the last of them of 6


@cache
def dataset() -> Dataset:
    sets = [synthetic.draw(IMAGES, seed=0), synthetic.draw(20, seed=1)]
    made = Dataset(*(Images(images[:, None], labels) for images, labels in sets), "digits", 10)
    return made.normalized(standard(made.train.blocks()))


def train(comm: Communicator, augment: str | None, stops: tuple[int, ...] = ()) -> str:
    """Train two epochs, stopping after so many steps to go on from the checkpoint's state."""
    checkpoint = None
    for max_steps in (*stops, None):
        options = Options(
            dataroot="digits", n_filter=2, epochs=2, minibatch_size=50, microbatch_size=8,
            augment=augment, max_steps=max_steps, seed=3, normalize="standard",
        )  # fmt: skip
        trainer = silent_trainer(options, dataset(), comm)
        if checkpoint is not None:
            trainer.state.restore(checkpoint)
        assert trainer.run() == 0
        checkpoint = trainer.state.checkpoint().copy()
    return trainer.state.network.weights_sha256()


@cache
def alone(augment: str | None = EVERYTHING) -> str:
    return train(Communicator(), augment)


@pytest.mark.parametrize("ranks", [1, 2, 3, 5])
def test_any_number_of_ranks_gives_the_bits_of_one(ranks: int) -> None:
    assert on_ranks(ranks, lambda comm: train(comm, EVERYTHING), 0) == [alone()] * ranks


def test_flips_that_alternate_are_the_same_on_other_ranks_and_through_a_stop() -> None:
    assert on_ranks(3, lambda comm: train(comm, ALTERNATE, (4,)), 0) == [alone(ALTERNATE)] * 3


def test_an_image_that_alternates_is_mirrored_in_every_other_epoch() -> None:
    made = loader("alternate", shuffle="none")
    plain = loader(None, shuffle="none")
    [original] = (next(next(plain.minibatches(1)).microbatches).x,)
    first, second, third = (
        next(next(made.minibatches(epoch)).microbatches).x.copy() for epoch in (1, 2, 3)
    )
    np.testing.assert_allclose(first, second[:, :, ::-1], rtol=1e-6)
    np.testing.assert_array_equal(first, third)
    same = [np.allclose(first[..., n], original[..., n], rtol=1e-5) for n in range(8)]
    assert 0 < sum(same) < 8


@pytest.mark.parametrize("ranks", [1, 3])
def test_stops_within_epochs_and_at_their_ends_change_no_bit(ranks: int) -> None:
    found = on_ranks(ranks, lambda comm: train(comm, EVERYTHING, (1, 3, 5)), 0)
    assert found == [alone()] * ranks


def test_each_word_gives_other_bits() -> None:
    every = [None, EVERYTHING, *EVERYTHING.split(","), ALTERNATE, *ALTERNATE.split(",")]
    assert len({alone(augment) for augment in every}) == len(every)


def loader(augment: str | None, **options: Any) -> Loader:
    images = dataset().train
    return Loader(images, 50, 8, augmentation=words.parse(augment, images.shape), **options)


def test_the_ranks_micro_batches_together_are_those_of_one() -> None:
    def batches(rank: int, size: int) -> list[tuple[int, int, bytes]]:
        return [
            (step, batch.number, batch.x.tobytes())
            for step, minibatch in enumerate(loader(EVERYTHING).minibatches(2, 0, rank, size))
            for batch in minibatch.microbatches
        ]

    assert sorted(batches(0, 3) + batches(1, 3) + batches(2, 3)) == batches(0, 1)


def test_an_image_is_changed_in_another_way_in_every_epoch() -> None:
    made = loader("rotate:10", shuffle="none")
    first, second = (next(next(made.minibatches(epoch)).microbatches) for epoch in (1, 2))
    assert first.labels.tolist() == second.labels.tolist()
    assert (first.x != second.x).any()


def test_images_are_augmented_before_they_are_normalised() -> None:
    """What comes in from outside is the black of the pixels, not their mean."""
    batch = next(next(loader("shift:14").minibatches(1)).microbatches)
    normalization = dataset().train.normalization
    [mean], [std] = normalization.mean, normalization.std
    assert batch.x.min() == pytest.approx(-mean / std, rel=1e-6)


def test_evaluation_is_never_augmented(small: Path, tmp_path: Path) -> None:
    layers = [Convolution(3, 5), ReLU(), MaxPooling(4), Flatten(), Dense(10)]
    options = {"dataroot": small, "train_limit": 300, "progress": "silent", "epochs": 2}
    run = dpcnn.train(layers, run_dir=tmp_path / "run", augment=EVERYTHING, **options)
    assert verify([str(tmp_path / "run"), "--all"]) == 0
    evaluated = dpcnn.load(tmp_path / "run")
    assert run.model.options.augment == evaluated.options.augment == EVERYTHING
    test = registry.read(small, Wanted((1, 28, 28), 10)).test
    assert (evaluated.predict(test.images) == test.labels).mean() == run.accuracy
    with pytest.raises(OptionError, match="--augment is flip, expected flip,crop:4,shift:2"):
        dpcnn.train(layers, run_dir=tmp_path / "run", resume="auto", augment="flip", **options)


@pytest.mark.parametrize(
    ("augment", "expected"),
    [("flop", "some of flip"), ("crop:15", "an integer from 1 up to 14 for images of 28x28")],
)
def test_wrong_words_are_refused_before_anything_is_written(
    augment: str, expected: str, small: Path, tmp_path: Path
) -> None:
    with pytest.raises(OptionError, match=expected):
        dpcnn.train(dataroot=small, augment=augment, run_dir=tmp_path / "run", progress="silent")
    assert not (tmp_path / "run").exists()


def test_the_figures_of_a_mixed_run_make_sense() -> None:
    options = Options(dataroot="digits", epochs=1, microbatch_size=8, lr=1e-3, augment="mixup:1")
    trainer = silent_trainer(options, dataset(), Communicator())
    assert trainer.run() == 0
    [line] = trainer.state.metrics
    assert 0 < line["loss"] < 5
    assert 0 <= line["train_accuracy"] <= 1
