"""What is measured, the same for dpcnn and PyTorch: a network, its images, images per step."""

from __future__ import annotations

import argparse
import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Self

import numpy as np

from dpcnn.cli.arguments import image_sizes
from dpcnn.data.dataset import Dataset, Images
from dpcnn.errors import OptionError
from dpcnn.models.build import plan_network
from dpcnn.models.user import import_network
from dpcnn.nn.plan import Plan
from dpcnn.options import Options
from dpcnn.parallel.communicator import Communicator
from dpcnn.training.console import Console
from dpcnn.training.datasets import fitted, open_dataset

TRAIN, TEST = 4_096, 1_024  # random images
VALUES = 1 << 25  # in random images, at most: as many fewer large ones
RANDOM_CLASSES = 10
SECONDS = 0.6  # approximate time of the steps of one measurement
SPEED = 47e9  # floating-point operations per second, assumed when choosing the number of steps
FEWEST, WARM_UP = 2, 10  # steps that are timed at least, and steps before them at most


@dataclass(frozen=True)
class Workload:
    """A network by its --model, images by their --dataroot, and the images of a step.

    images: a --dataroot of training, or CxHxW for random ones of that shape.
    """

    model: str
    images: str
    minibatch: int

    @classmethod
    def of(cls, arguments: argparse.Namespace) -> Self:
        """Return the workload that a worker's arguments name."""
        return cls(arguments.model, arguments.images, arguments.minibatch)

    def arguments(self, steps: int | None) -> tuple[str, ...]:
        """Return the arguments of a worker that measures it in so many steps.

        None: as many as take about SECONDS. Raises DataError or OptionError if there is no such
        workload.
        """
        images, plan = survey(self.model, self.images)
        if self.minibatch > images:
            raise OptionError(
                f"--minibatch is {self.minibatch}, expected at most {images}: so many training"
                f" images of {self.images} are measured"
            )
        chosen = steps or steps_of(self.minibatch, flop_per_image(plan))
        sizes = ("--minibatch", str(self.minibatch), "--steps", str(chosen))
        return ("--model", self.model, "--images", self.images, *sizes)

    def __str__(self) -> str:
        return f"{self.model} on {self.images}, minibatch {self.minibatch}"

    def options(self, reduce: str = "exact", microbatch: int | None = None) -> Options:
        """Return the options of training it; microbatch None: as training chooses it."""
        return Options(
            model=self.model,
            dataroot=self.images,
            minibatch_size=self.minibatch,
            microbatch_size=microbatch,
            reduce=reduce,
        )

    def dataset(self, comm: Communicator) -> Dataset:
        """Return the images; collective. Raises DataError."""
        shape = image_sizes(self.images)
        if shape is not None:
            return random_images(shape)
        return open_dataset(self.options(), comm, comm.split_by_node(), Console())

    def plan(self, dataset: Dataset) -> Plan:
        """Return the plan of the network; raises OptionError if it does not fit the images."""
        make = import_network(self.model)
        return plan_network(fitted(self.options(), dataset), own=make)


@lru_cache
def survey(model: str, images: str) -> tuple[int, Plan]:
    """Return how many images there are to train on, and the plan of the network for them."""
    measured = Workload(model, images, 1)
    dataset = measured.dataset(Communicator())
    return len(dataset.train), measured.plan(dataset)


def random_images(shape: tuple[int, int, int]) -> Dataset:
    """Return images of noise (C, H, W) to train on and, some of them again, to test on."""
    count = max(TEST, min(TRAIN, VALUES // math.prod(shape)))
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (count, *shape), np.uint8)
    train = Images(pixels, rng.integers(RANDOM_CLASSES, size=count).astype(np.uint8))
    return Dataset(train, train.first(TEST), "random images", RANDOM_CLASSES)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that name a workload, and how long to measure it, to a worker."""
    parser.add_argument("--model", required=True)
    parser.add_argument("--images", required=True)
    parser.add_argument("--minibatch", type=int, required=True)
    parser.add_argument("--steps", type=int, required=True)


def flop_per_image(plan: Plan) -> int:
    """Return the floating-point operations of training on one image.

    A layer makes its products once in the forward pass, as often for dW, and again for dx, which
    the first layer does not compute.
    """
    layers = plan.leaves.values()
    return sum(2 * layer.multiply_adds() * (3 if layer.needs_dx else 2) for layer in layers)


def steps_of(minibatch: int, flop: int) -> int:
    """Return how many steps take about SECONDS; flop: the operations of training on an image."""
    return max(FEWEST, round(SECONDS * SPEED / (minibatch * max(1, flop))))


def warm_up(steps: int) -> int:
    """Return how many steps come before those that are timed."""
    return min(WARM_UP, max(2, steps // 2))
