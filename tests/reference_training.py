"""The tutorial's training in plain float64 NumPy, (N, C, H, W): an oracle that shares no code.

Written from the formulas: convolution (7x7, stride 1, padding 1) -> ReLU -> dense -> softmax.
"""

from __future__ import annotations

from typing import Any

import numpy as np

Parameters = dict[str, dict[str, np.ndarray]]
LEARNING_RATE = 0.01


def train_in_float64(
    initial: Parameters, images: np.ndarray, labels: np.ndarray, minibatches: list[Any]
) -> Parameters:
    """Return the parameters after one step of gradient descent for each minibatch of indices.

    The largest is a full one; a smaller one makes a step that is smaller in proportion.
    """
    full = max(map(len, minibatches))
    w = {k: {n: a.astype(np.float64) for n, a in p.items()} for k, p in initial.items()}
    for chosen in minibatches:
        x = images[chosen].astype(np.float64) / 255
        for layer, gradients in gradients_of(w, x, labels[chosen]).items():
            for name, gradient in gradients.items():
                w[layer][name] -= LEARNING_RATE * len(chosen) / full * gradient
    return w


def gradients_of(w: Parameters, x: np.ndarray, labels: np.ndarray) -> Parameters:
    """Return the gradients of the mean cross entropy of the images x (N, 1, 28, 28)."""
    filters, bias = w["convolution1"]["W"], w["convolution1"]["b"]
    dense, dense_bias = w["dense1"]["W"], w["dense1"]["b"]
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    fields = np.lib.stride_tricks.sliding_window_view(padded, (7, 7), axis=(2, 3))
    z = np.einsum("nchwij,kcij->nkhw", fields, filters, optimize=True) + bias[:, None, None]
    hidden = np.maximum(z, 0).reshape(len(x), -1)
    logits = hidden @ dense + dense_bias
    p = np.exp(logits - logits.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    p[np.arange(len(x)), labels] -= 1
    p /= len(x)
    dz = (p @ dense.T).reshape(z.shape) * (z > 0)
    return {
        "convolution1": {
            "W": np.einsum("nchwij,nkhw->kcij", fields, dz, optimize=True),
            "b": dz.sum(axis=(0, 2, 3)),
        },
        "dense1": {"W": hidden.T @ p, "b": p.sum(axis=0)},
    }
