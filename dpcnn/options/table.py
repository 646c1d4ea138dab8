"""The options of training: each is declared once, as a field of Options.

The command line, the keys of a TOML file and the keywords of dpcnn.train() (cli/arguments.py),
options.json and what a checkpoint keeps all come from these declarations.
"""

from __future__ import annotations

import dataclasses
import typing
from dataclasses import dataclass
from types import NoneType
from typing import Any

from dpcnn.options.option import Option, option

BIG = 2**31 - 1
NUMBER = r"[0-9]{1,9}(?:\.[0-9]{1,9})?"
# A length of time: epochs, steps, or a part of the run.
SPAN = rf"(?:{NUMBER}ep|[0-9]{{1,9}}st|0?\.[0-9]{{1,9}})"
# A list of names of parameters, with a number behind each.
FACTORS = rf"[^,:\s]+:{NUMBER}(?:,[^,:\s]+:{NUMBER})*"
SPANS = "epochs, steps or parts of the run"


@dataclass(frozen=True, kw_only=True)
class Options:
    """The options of one run, each checked. None stands for an option's word: all, auto or none.

    Whether they go together is for contradictions.py: of a run that is resumed, a user may name
    one of two that do.
    """

    # fmt: off
    dataroot: str = option(
        "auto", "data", "HDF5, .npz, .mat, CSV or LIBSVM; a folder of IDX, CIFAR's binary batches,"
        " .npy, or of a folder of pictures a class; downloaded once: mnist, fashion, kmnist,"
        " emnist-letters, cifar10, cifar100; built in: digits;"
        " auto: the first there is of ./MNISTdata.hdf5, ../MNISTdata.hdf5, mnist and digits",
        metavar="PATH", takes=("a path", "a name such as mnist", "digits", "auto"), may_change=True)
    mirror: str | None = option(
        None, "data", "download a dataset known by name from this address, which may be"
        " file:///..., instead of the usual ones",
        metavar="URL", pattern=r"(?i)(?:https?://|file:///)[^\s\0]+",
        takes=("an http://, https:// or file:/// URL",),
        none_word="none", may_change=True)
    keys: str | None = option(
        None, "data", "the names of the arrays or columns that hold images and labels, where they"
        " are none of the usual ones: x=NAME,y=NAME, or x_train=NAME,y_train=NAME,x_test=NAME,"
        "y_test=NAME",
        metavar="LIST", takes=("a list such as x=images,y=labels",), none_word="auto")
    layout: str = option(
        "auto", "data", "the order of the axes of an image: chw, channels first, or hwc, channels"
        " last; auto: as the shape of the array tells",
        choices=("auto", "chw", "hwc"))
    size: str | None = option(
        None, "data", "height and width that pictures in a folder are brought to: 32 or 32x48;"
        " auto: their own, if all have the same",
        metavar="N|NxN", pattern="[1-9][0-9]{0,3}(?:x[1-9][0-9]{0,3})?",
        takes=("a number of pixels such as 32, or two such as 32x48",), none_word="auto")
    grey: bool = option(False, "data", "take the colours from the pictures in a folder")
    test_fraction: float | None = option(
        None, "data", "the share of the images, such as 0.2, that becomes the test set where the"
        " dataset has none, the classes as frequent in it as among all",
        metavar="SHARE", low=1e-6, high=0.999, none_word="none")
    train_limit: int | None = option(
        None, "data", "use only the first N training images", low=1, high=BIG, none_word="all")
    test_limit: int | None = option(
        None, "data", "use only the first N test images", low=1, high=BIG, none_word="all")
    validation: float | None = option(
        None, "data", "set part of the training images apart to validate on after every epoch, the"
        " classes as frequent in it as among all: a share of them, such as 0.1, or a number of"
        " images, such as 5000",
        metavar="SHARE|N", low=1e-9, high=BIG, none_word="none")
    stream: bool = option(
        False, "data", "for datasets larger than memory: read the images from the file while"
        " training. Their order is shuffled differently, so the bits differ too. Images that are"
        " compressed or not uint8 are first unpacked into TMPDIR or /var/tmp")
    num_class: int | None = option(
        None, "data", "number of classes; auto: the largest label of the training set + 1",
        low=2, high=65536, none_word="auto")
    num_channel: int | None = option(
        None, "data", "channels per image. auto: as in the dataset, also for the next two; name"
        " them where rows of values leave it open",
        low=1, high=4096, none_word="auto")
    img_height: int | None = option(
        None, "data", "image height in pixels", low=1, high=4096, none_word="auto")
    img_width: int | None = option(
        None, "data", "image width in pixels", low=1, high=4096, none_word="auto")
    normalize: str = option(
        "none", "data", "what is done to pixels in [0, 1]. standard: from each channel the mean of"
        " the training set is subtracted, then it is divided by its standard deviation; per_image:"
        " the same with the mean and the standard deviation of each image",
        choices=("none", "standard", "per_image"))
    augment: str | None = option(
        None, "data", "change training images at random, in the order of this list: flip,"
        " alternate (flip in every other epoch), crop:PIXELS, shift:PIXELS, reflect:PIXELS (shift,"
        " mirrored at the border), rotate:DEGREES, scale:FRACTION, brightness:FRACTION,"
        " contrast:FRACTION, cutout:PIXELS, mixup:ALPHA, such as flip,crop:4 for photographs",
        metavar="WORDS", takes=("words such as flip,crop:4",), none_word="none")

    model: str | None = option(
        None, "network", "a known network (python -m dpcnn.models lists them), or a function that"
        " returns the layers (dpcnn.nn) of your own; its module is in the current directory or on"
        " PYTHONPATH. none: the tutorial's network, as set by the options below",
        metavar="NAME|MODULE:FUNCTION", takes=("the name of a network", "MODULE:FUNCTION"),
        none_word="none", may_change=True)
    n_filter: int = option(32, "network", "number of filters", low=1, high=65536)
    h_filter: int = option(7, "network", "filter height in pixels", low=1, high=4096)
    w_filter: int = option(7, "network", "filter width in pixels", low=1, high=4096)
    stride: int = option(
        1, "network", "pixels from one filter position to the next", low=1, high=4096)
    padding: int = option(
        1, "network", "pixels of zeros added on each side of the image", low=0, high=4096)

    init_from: str | None = option(
        None, "network", "begin with the weights of this run or checkpoint wherever layers have the"
        " same name and shape: fine-tuning; what was not taken is listed",
        metavar="RUN|CHECKPOINT", takes=("a path",), none_word="none")

    lr: float = option(
        0.01, "training", "learning rate; with a schedule the largest one", low=1e-12, high=1e6)
    epochs: int = option(
        50, "training", "passes over the training set", low=1, high=BIG, may_change=True)
    patience: int | None = option(
        None, "training", "stop after N epochs without a better accuracy on the validation set, or"
        " on the test set if there is none",
        low=1, high=BIG, none_word="none", may_change=True)
    label_smoothing: float = option(
        0.0, "training", "the share of each label that is spread evenly over all classes",
        low=0, high=0.999)
    class_weights: str | None = option(
        None, "training", "how much the loss of an image of each class counts; balanced: in inverse"
        " proportion to the images of the class; a list: W0,W1,... for classes 0, 1, ..., which is"
        " scaled so that the training images count 1 on average",
        metavar="balanced|LIST", pattern=f"balanced|{NUMBER}(?:,{NUMBER})+",
        takes=("balanced", "numbers separated by commas, one for each class,"), none_word="none")
    minibatch_size: int = option(
        64, "training", "images per step, all ranks together", aliases=("batch_size",),
        low=1, high=BIG)
    microbatch_size: int | None = option(
        None, "training", "images computed at a time; the bits depend on it. auto: 16, or 32"
        " from minibatch 128 on; fewer where that would leave ranks without work",
        low=1, high=65536, none_word="auto")
    last_minibatch: str = option(
        "scaled", "training", "what is left of an epoch after its full minibatches. scaled: a step"
        " in which each image counts as much as in the others; mean: a step of full size, as in"
        " PyTorch and Keras; drop: no step",
        choices=("scaled", "mean", "drop"))
    shuffle: str = option(
        "epoch", "training", "epoch: a new order every epoch; once: one shuffled order for all"
        " epochs; none: the order of the file",
        choices=("epoch", "once", "none"))
    seed: int = option(0, "training", "random seed", low=0, high=2**63 - 1)
    max_steps: int | None = option(
        None, "training", "stop after N steps in total",
        low=1, high=BIG, none_word="none", may_change=True)

    optimizer: str = option(
        "sgd", "optimizer", "how the weights are updated, by PyTorch's formulas; lars: You et al.,"
        " 2017, for large minibatches",
        choices=("sgd", "adam", "adamw", "rmsprop", "lars"))
    momentum: float | None = option(
        None, "optimizer", "momentum of sgd, rmsprop and lars. auto: 0.9 for lars, otherwise none",
        low=0, high=0.9999, none_word="auto")
    nesterov: bool = option(False, "optimizer", "Nesterov's momentum, for sgd")
    beta1: float | None = option(
        None, "optimizer", "decay of the mean of the gradient in adam and adamw. auto: 0.9",
        low=0, high=0.999999, none_word="auto")
    beta2: float | None = option(
        None, "optimizer", "decay of the mean of its square. auto: 0.999 for adam and adamw, 0.99"
        " for rmsprop",
        low=0, high=0.999999, none_word="auto")
    eps: float | None = option(
        None, "optimizer", "what adam, adamw and rmsprop add to the root of that mean. auto: 1e-8",
        low=1e-30, high=1, none_word="auto")
    weight_decay: float | None = option(
        None, "optimizer", "weight decay, of all parameters but vectors: neither biases nor those"
        " of normalisations are decayed. auto: 0.01 for adamw, otherwise 0",
        low=0, high=1e6, none_word="auto")
    decay_all: bool = option(
        False, "optimizer", "decay the vectors too, and let lars scale their steps")
    lr_factors: str | None = option(
        None, "optimizer", "what the learning rate of some parameters is multiplied with, such as"
        " batchnorm*/shift:64,dense1/W:0.5, by the names in the table of layers; * stands for any"
        " text, 0 keeps them as they are. Their weight decay stays the same",
        metavar="LIST", pattern=FACTORS, takes=("a list such as batchnorm*/shift:64",),
        none_word="none")
    clip_norm: float | None = option(
        None, "optimizer", "scale the gradient of a step down to this norm where it is larger",
        low=1e-12, high=1e12, none_word="none")
    ema: float | None = option(
        None, "optimizer", "also keep an exponential moving average of the weights with this"
        " decay, such as 0.999, at most (1 + step) / (10 + step); it is what is evaluated and used,"
        " and it is saved beside the trained weights",
        metavar="DECAY", low=0, high=0.999999, none_word="none")

    lookahead: int | None = option(
        None, "optimizer", "every N steps set the weights to an average of what they have been"
        " after each N steps, which changes ever more slowly until the end of the run. It is what"
        " is evaluated and used",
        low=1, high=BIG, none_word="none")

    schedule: str = option(
        "constant", "schedule", "how the learning rate changes from step to step, as in PyTorch;"
        " step: by --gamma at the --milestones; cosine, linear: down to --final_lr at the end;"
        " onecycle: up from --lr / 25, and down; triangle: in a straight line up from --first_lr,"
        " and down to --final_lr; plateau: by --gamma when the loss on the"
        " validation set, or on the training set if there is none, no longer falls",
        choices=("constant", "step", "cosine", "linear", "onecycle", "triangle", "plateau"))
    warmup: str | None = option(
        None, "schedule", "let the learning rate rise in equal parts during the first epochs (2ep),"
        " steps (500st) or part of the run (0.05)",
        metavar="LENGTH", pattern=SPAN, takes=(f"{SPANS} such as 2ep, 500st or 0.05",),
        none_word="none")
    milestones: str | None = option(
        None, "schedule", "when the learning rate of --schedule step changes: after these epochs,"
        " steps or parts of the run, separated by commas",
        metavar="LIST", pattern=f"{SPAN}(?:,{SPAN})*",
        takes=(f"{SPANS} such as 80ep,120ep or 0.5,0.75",), none_word="none")
    gamma: float | None = option(
        None, "schedule", "what step and plateau multiply the learning rate with. auto: 0.1",
        low=1e-9, high=1, none_word="auto")
    plateau_patience: int | None = option(
        None, "schedule", "epochs without a smaller loss that plateau bears. auto: 10",
        low=0, high=BIG, none_word="auto")
    first_lr: float | None = option(
        None, "schedule", "learning rate of triangle at the first step. auto: 0",
        low=0, high=1e6, none_word="auto")
    final_lr: float | None = option(
        None, "schedule", "learning rate at the end of cosine, linear, onecycle and triangle, and"
        " the lowest of plateau. auto: --lr / 250000 for onecycle, otherwise 0",
        low=0, high=1e6, none_word="auto")
    pct_start: float | None = option(
        None, "schedule", "part of the run in which onecycle and triangle rise. auto: 0.3",
        low=0, high=1, none_word="auto")

    reduce: str = option(
        "exact", "ranks", "exact: the same bits on any number of ranks; fast: plain float32 sums",
        choices=("exact", "fast"))
    evaluate_on: str = option(
        "all", "ranks", "which ranks evaluate; the numbers are the same",
        choices=("all", "rank0"), may_change=True)
    tta: str = option(
        "none", "ranks", "test-time augmentation, in the evaluation after the last step and by"
        " dpcnn.evaluate and dpcnn.predict: classify by the mean of the logits of copies of an"
        " image. flip: itself and its mirror image; shift: both also a pixel up and left, down and"
        " right",
        choices=("none", "flip", "shift"), may_change=True)
    threads: int | None = option(
        None, "ranks", "BLAS threads per rank; auto: 1 with --reduce exact, otherwise the cores"
        " divided among the ranks",
        low=1, high=4096, none_word="auto", may_change=True)
    timeout: float = option(
        300.0, "ranks", "how long to wait for a rank that hangs (at least 60 until training begins)"
        " before naming it and ending the job; under launch/elastic the other ranks continue"
        " without it",
        metavar="SECONDS", low=0.1, high=1e9, may_change=True)
    respawn: bool = option(
        False, "ranks", "under launch/elastic: replace ranks that die", may_change=True)

    run_dir: str | None = option(
        None, "run directory", "where to keep the run; auto: in a new directory runs/DATE-TIME",
        metavar="PATH", takes=("a path",), none_word="auto", may_change=True)
    resume: str | None = option(
        None, "run directory", "the checkpoint or run directory to resume; auto: the newest sound"
        " checkpoint in --run_dir or, without --run_dir, in the newest run in runs/ that nobody"
        " writes to; if there is no run, start afresh",
        metavar="PATH", takes=("a path", "auto"), none_word="none", may_change=True)
    resume_with: str | None = option(
        None, "run directory", "change these options of the run that is resumed from its next step"
        " on: lr, those of the schedule, epochs, max_steps, such as lr=0.005,schedule=cosine. A"
        " schedule is then as if it had been so from the first step; the change is recorded",
        metavar="LIST", pattern="[a-z_-]+=[^=]+(?:,[a-z_-]+=[^=]+)*",
        takes=("a list such as lr=0.005,schedule=cosine",), none_word="none", may_change=True)
    checkpoint_every: str = option(
        "1ep", "run directory", "how often to save: every so many epochs (1ep) or steps (500st);"
        " the end is always saved, and so is the best epoch",
        metavar="INTERVAL", pattern="([0-9]{1,10})(?:ep|st)", low=1, high=BIG,
        takes=("a number of epochs or steps such as 1ep or 500st",), may_change=True)
    keep_checkpoints: int = option(
        3, "run directory", "how many of the newest checkpoints to keep, besides best.h5, that of"
        " the best accuracy on the validation set, or on the test set if there is none",
        low=1, high=BIG, may_change=True)
    tensorboard: bool = option(
        False, "run directory", "also write the metrics for TensorBoard"
        " (pip install dpcnn[tensorboard])", may_change=True)
    watch: bool = option(
        False, "run directory", "at the end of each epoch also measure every layer: the norms of"
        " weights and gradient, the size of an update beside that of the weights, batch statistics,"
        " the share of dead ReLUs; for metrics.jsonl, TensorBoard and the report", may_change=True)
    progress: str = option(
        "auto", "run directory", "bar: a progress bar; plain: lines; none: the header and a line"
        " per epoch; silent: only warnings; auto: bar on a terminal, else plain",
        choices=("auto", "bar", "plain", "none", "silent"), may_change=True)

    debug: bool = option(
        False, "debugging", "one process and no bar; every layer is checked at every step; an error"
        " keeps its traceback (python -m pdb -m dpcnn.train --debug stops there), and np.seterr is"
        " yours", may_change=True)
    dry_run: bool = option(
        False, "debugging", "make some steps, an evaluation, a checkpoint and a resume, keep"
        " nothing of it, and say how long the whole run takes, and how much memory",
        may_change=True)
    # fmt: on

    def __post_init__(self) -> None:
        for name, value in self.as_dict().items():
            OPTIONS[name].check(value)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W) of the images, once the dataset, or a checkpoint, has told it."""
        assert self.num_channel is not None, "told"
        assert self.img_height is not None, "told"
        assert self.img_width is not None, "told"
        return self.num_channel, self.img_height, self.img_width

    @property
    def classes(self) -> int:
        """The number of classes, once the dataset, or a checkpoint, has told it."""
        assert self.num_class is not None, "told"
        return self.num_class

    @property
    def averages(self) -> bool:
        """Whether an average of the weights is kept, and is what is evaluated and used."""
        return self.ema is not None or self.lookahead is not None

    @property
    def shown(self) -> str:
        """--progress, but for a bar where somebody debugs."""
        return "plain" if self.debug and self.progress in ("auto", "bar") else self.progress

    def as_dict(self) -> dict[str, Any]:
        """Return name -> value, plain enough for JSON."""
        return dataclasses.asdict(self)


def _value_type(annotation: Any) -> type:
    """Return the type that a field of Options is annotated with, without None."""
    [value_type] = {*typing.get_args(annotation)} - {NoneType} or {annotation}
    return typing.cast(type, value_type)


_ANNOTATIONS = typing.get_type_hints(Options)
OPTIONS: dict[str, Option] = {
    field.name: field.metadata["option"](
        name=field.name, value_type=_value_type(_ANNOTATIONS[field.name])
    )
    for field in dataclasses.fields(Options)
}
ALIASES = {alias: name for name in OPTIONS for alias in OPTIONS[name].aliases}
# The options of the tutorial's network, which --model replaces.
NETWORK = ("n_filter", "h_filter", "w_filter", "stride", "padding")
# What a user may say of a dataset.
ABOUT_DATA = (
    *("mirror", "keys", "layout", "size", "grey", "test_fraction", "seed"),
    *("num_class", "num_channel", "img_height", "img_width"),
)
# What a run takes from its dataset.
OF_DATASET = ("num_class", "num_channel", "img_height", "img_width")
