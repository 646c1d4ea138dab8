"""Checkpoints to write in tests."""

from __future__ import annotations

from typing import Any

import numpy as np

from dpcnn.run.checkpoint import Checkpoint


def state(step: int = 7, accuracies: dict[int, float] | None = None) -> Checkpoint:
    """Return the state after a step; accuracies: step after an epoch -> test accuracy."""
    rng = np.random.default_rng(step)

    def array(*shape: int) -> Any:
        return rng.standard_normal(shape).astype(np.float32)

    return Checkpoint(
        model={
            "convolution": {"weights": array(3, 1, 2, 2), "bias": array(3)},
            "dense": {"weights": array(4, 3), "bias": array(4)},
        },
        average={
            "convolution": {"weights": array(3, 1, 2, 2), "bias": array(3)},
            "dense": {"weights": array(4, 3), "bias": array(4)},
        },
        optimizer={"velocity": array(31)},
        progress={"step": step, "epoch": 2, "epoch_step": 3, "deaths": [], "loss": 0.1 + 0.2},
        options={"lr": 0.1, "run_dir": "rüns\n", "train_limit": None},
        metrics=[
            {
                "epoch": epoch,
                "step": step,
                "test_accuracy": accuracy,
                "loss": float("nan"),
                "weights_sha256": "00ff",
                "deaths": [],
                "ranks": [{"rank": 0, "host": "h", "process": 7, "seconds": 0.5}],
            }
            for epoch, (step, accuracy) in enumerate((accuracies or {}).items(), 1)
        ],
        dataset={
            "fingerprint": "00ff",
            "source": "digits",
            "normalization": {"kind": "standard", "mean": [0.25], "std": [0.5]},
            "prepare": "resize",
            "class_names": [],
        },
        network=[{"layer": "Convolution", "filters": 3, "filter_size": [2, 2]}],
        changes=[{"step": 3, "lr": 0.2, "warmup": None}],
    )
