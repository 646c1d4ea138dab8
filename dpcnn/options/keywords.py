"""The keywords of dpcnn.train with their types, for editors and type checkers.

The options of table.py, each under its names.
Written by `python -m tests.options.test_keywords`.
"""

from __future__ import annotations

from os import PathLike
from typing import Literal, TypedDict


class Keywords(TypedDict, total=False):
    """Every option by its names, and `recipe`, which stands for several."""

    dataroot: str | PathLike[str]
    mirror: str | None
    keys: str | None
    layout: Literal["auto", "chw", "hwc"]
    size: str | None
    grey: bool
    test_fraction: float | Literal["none"] | None
    train_limit: int | Literal["all"] | None
    test_limit: int | Literal["all"] | None
    validation: float | Literal["none"] | None
    stream: bool
    num_class: int | Literal["auto"] | None
    num_channel: int | Literal["auto"] | None
    img_height: int | Literal["auto"] | None
    img_width: int | Literal["auto"] | None
    normalize: Literal["none", "standard", "per_image"]
    augment: str | None
    model: str | None
    n_filter: int
    h_filter: int
    w_filter: int
    stride: int
    padding: int
    init_from: str | PathLike[str] | None
    lr: float
    epochs: int
    patience: int | Literal["none"] | None
    label_smoothing: float
    class_weights: str | None
    minibatch_size: int
    microbatch_size: int | Literal["auto"] | None
    last_minibatch: Literal["scaled", "mean", "drop"]
    shuffle: Literal["epoch", "once", "none"]
    seed: int
    max_steps: int | Literal["none"] | None
    optimizer: Literal["sgd", "adam", "adamw", "rmsprop", "lars"]
    momentum: float | Literal["auto"] | None
    nesterov: bool
    beta1: float | Literal["auto"] | None
    beta2: float | Literal["auto"] | None
    eps: float | Literal["auto"] | None
    weight_decay: float | Literal["auto"] | None
    decay_all: bool
    lr_factors: str | None
    clip_norm: float | Literal["none"] | None
    ema: float | Literal["none"] | None
    lookahead: int | Literal["none"] | None
    schedule: Literal["constant", "step", "cosine", "linear", "onecycle", "triangle", "plateau"]
    warmup: str | None
    milestones: str | None
    gamma: float | Literal["auto"] | None
    plateau_patience: int | Literal["auto"] | None
    first_lr: float | Literal["auto"] | None
    final_lr: float | Literal["auto"] | None
    pct_start: float | Literal["auto"] | None
    reduce: Literal["exact", "fast"]
    evaluate_on: Literal["all", "rank0"]
    tta: Literal["none", "flip", "shift"]
    threads: int | Literal["auto"] | None
    timeout: float
    respawn: bool
    run_dir: str | PathLike[str] | None
    resume: str | PathLike[str] | None
    resume_with: str | None
    checkpoint_every: str
    keep_checkpoints: int
    tensorboard: bool
    watch: bool
    progress: Literal["auto", "bar", "plain", "none", "silent"]
    debug: bool
    dry_run: bool
    batch_size: int
    recipe: str | None
