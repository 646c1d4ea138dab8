"""What can be wrong with the options of real networks is one line and exit code 2.

Nothing is left behind: see conftest.py for what is checked of each case.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

Check = Callable[..., None]

NET = "--model tests.faults.bad_networks"
SPANS = "expected epochs, steps or parts of the run such as"

# The command line, and what the error must say.
CASES = {
    "dropout of all": (f"{NET}:sure_dropout", "Dropout's rate is 1.0, expected a number from 0, b"),
    "groups, filters": (f"{NET}:uneven_groups", "groups is 4, expected a divisor of its 6 filters"),
    "groups, channels": (f"{NET}:uneven_channels", "convolution2, Convolution(8 x 3x3, stride 1"),
    "groups, normalized": (f"{NET}:uneven_normalization", "4 groups of 6 channels, expected a div"),
    "initializer": (f"{NET}:unknown_initializer", "is 'xavier', expected he_normal, he_uniform, "),
    "shortcut": (f"{NET}:no_shortcut", "output is (6, 26, 26), expected (1, 28, 28) as from"),
    "branches": (f"{NET}:uneven_branches", "outputs are [(6, 26, 26), (6, 24, 24)], expected the"),
    "one value a channel": (
        f"{NET}:flat_normalization --microbatch_size 1",
        "--microbatch_size 1: batchnorm1, BatchNorm(momentum 0.1, eps 1e-05): a micro-batch of 1 im"
        "age has 1 value a channel, expected at least 2: take more images a micro-batch, or GroupN",
    ),
    "one value of all": (f"{NET}:flat_normalization --minibatch_size 1", "--minibatch_size 1: bat"),
    "zoo: unknown": ("--model resnet9", "--model is 'resnet9', expected one of tutorial, mlp, len"),
    "zoo: options": (
        "--model resnet8 --n_filter 3",
        "found --n_filter beside --model resnet8, expected one or the other",
    ),
    "zoo: small images": (
        "--model mobilenet --dataroot tiny.hdf5",
        "--model mobilenet: images are 1x7x7, expected at least 16x16 pixels",
    ),
    "augment: unknown": ("--augment flip,spin:3", "--augment has 'spin:3', expected some of flip"),
    "augment: twice": ("--augment flip,flip", "expected each word once, and flip was there before"),
    "augment: no argument": ("--augment crop", "expected crop:PIXELS, an integer from 1 up to 14"),
    "augment: an argument": ("--augment flip:3", "--augment has 'flip:3', expected flip"),
    "augment: too much": ("--augment crop:15", "--augment has 'crop:15', expected crop:PIXELS, an"),
    "augment: NaN": ("--augment rotate:nan", "expected rotate:DEGREES, a number above 0 up to 180"),
    "augment: empty": ("--augment ,", "--augment has '', expected some of flip, alternate, crop:"),
    "normalize": ("--normalize mean", "--normalize is 'mean', expected none, standard or per_im"),
    "optimizer": ("--optimizer adagrad", "--optimizer is 'adagrad', expected sgd, adam, adamw, r"),
    "momentum of adam": (
        "--optimizer adam --momentum 0.9",
        "--momentum is 0.9 with --optimizer adam, expected --optimizer sgd, rmsprop or lars",
    ),
    "nesterov of nothing": ("--nesterov", "--nesterov is true without --momentum, expected one su"),
    "beta of sgd": ("--beta1 0.9", "--beta1 is 0.9 with --optimizer sgd, expected --optimizer ada"),
    "beta of one": ("--optimizer adam --beta2 1", "--beta2 is 1.0, expected a number from 0 to 0"),
    "decay of nothing": ("--decay_all", "--decay_all is true without --weight_decay, expected one"),
    "decay below 0": ("--weight_decay=-1", "--weight_decay is -1.0, expected a number from 0 to"),
    "clipped to nothing": ("--clip_norm 0", "--clip_norm is 0.0, expected a number from 1e-12 to"),
    "average of nothing": ("--ema 1.0", "--ema is 1.0, expected a number from 0 to 0.999999 or no"),
    "all smooth": ("--label_smoothing 1.0", "--label_smoothing is 1.0, expected a number from 0 t"),
    "two weights": ("--class_weights 1,2", "--class_weights has 2 numbers, expected 10, one for e"),
    "no weight": (f"--class_weights 0{',0' * 9}", "weigh 0 on average, expected more than 0"),
    "weight below 0": ("--class_weights 1,-1", "'1,-1', expected balanced, numbers separated by c"),
    "no milestones": ("--schedule step", "--schedule is step without --milestones, expected some"),
    "milestone of no unit": ("--schedule step --milestones 5", f"--milestones is '5', {SPANS}"),
    "milestones of cosine": (
        "--schedule cosine --milestones 0.5",
        "--milestones is 0.5 with --schedule cosine, expected --schedule step",
    ),
    "schedule": ("--schedule zigzag", "--schedule is 'zigzag', expected constant, step, cosine, l"),
    "gamma of nothing": ("--gamma 0.5", "--gamma is 0.5 with --schedule constant, expected --sch"),
    "rising": ("--schedule linear --final_lr 1", "--final_lr is 1.0, expected at most --lr, 0.01"),
    "warm-up of no unit": ("--warmup 3", f"--warmup is '3', {SPANS} 2ep, 500st or 0.05 or none"),
    "all warm-up": (
        "--schedule cosine --warmup 60ep",
        "--warmup 60ep is 60 steps, expected fewer than the 50 of the run: --schedule cosine takes",
    ),
    "warm-up of onecycle": (
        "--schedule onecycle --warmup 1ep",
        "--warmup is 1ep with --schedule onecycle, expected --schedule constant, step, cosine, ",
    ),
    "validation of all": (
        "--validation 8",
        "--validation is 8, 8 of 8 training images, expected at least 1 and at most 7, which leav",
    ),
    "validation of nothing": ("--validation 0.01", "--validation is 0.01, 0 of 8 training images"),
    "validation of a part": ("--validation 1.5", "below 1 or a whole number of images"),
    "validation below 0": ("--validation=-1", "--validation is -1.0, expected a number from 1e-09"),
    "no patience": ("--patience 0", "--patience is 0, expected an integer from 1 to 2147483647 or"),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_a_bad_command_line_is_refused(case: str, here: Path, check_refusal: Check) -> None:
    with h5py.File(here / "tiny.hdf5", "w") as file:
        for part in ("train", "test"):
            file[f"x_{part}"] = np.zeros((10, 7, 7), np.uint8)
            file[f"y_{part}"] = np.arange(10)
    line, part = CASES[case]
    check_refusal(*line.split(), parts=(part,))


def test_two_ranks_refuse_it_in_one_line(check_refusals: Check) -> None:
    """And a validation set leaves an image for each of them."""
    names = ("dropout of all", "one value a channel", "augment: unknown", "two weights")
    cases = {line: (part,) for line, part in map(CASES.__getitem__, names)}
    cases["--validation 7"] = (
        "7 of 8 training images, expected at least 1 and at most 6, which leaves an image",
    )
    check_refusals(*cases.items())
