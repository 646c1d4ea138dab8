"""How weights are drawn, by name: a pure function of the layer and a random generator.

The fans of a layer: n_in values make an output, and a value goes into n_out outputs. For filters
W (K, C/G, Fh, Fw) in G groups they are C/G*Fh*Fw and K/G*Fh*Fw; for a dense layer, its inputs and
outputs. Normal distributions are not truncated. A uniform distribution on [-a, a] has the variance
a^2/3; the formulas below give the variance.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from dpcnn.nn.layer import Array


class Weights(NamedTuple):
    """The weights of a layer, and how they connect its inputs to its outputs.

    values: as the layer keeps them, in the order in which they are drawn. filters: the same memory
    seen as filters (G, K/G, C/G, Fh, Fw). tutorial_count: the n of the tutorial's rule.
    """

    values: Array
    filters: Array
    tutorial_count: int

    @property
    def n_in(self) -> int:
        """How many values make an output."""
        return int(np.prod(self.filters.shape[2:]))

    @property
    def n_out(self) -> int:
        """How many outputs a value goes into."""
        _, outputs, inputs, *_ = self.filters.shape
        return self.n_in * int(outputs) // int(inputs)


Initializer = Callable[[Weights, np.random.Generator], None]


def he_normal(weights: Weights, rng: np.random.Generator) -> None:
    """Draw from N(0, 2/n_in): keeps the size of activations through layers with ReLU.

    Source: He, Zhang, Ren and Sun, "Delving deep into rectifiers", ICCV 2015.
    """
    _draw_normal(weights.values, weights.n_in / 2, rng)


def he_uniform(weights: Weights, rng: np.random.Generator) -> None:
    """Draw uniformly with variance 2/n_in. Source: as of he_normal."""
    _draw_uniform(weights.values, weights.n_in / 2, rng)


def glorot_normal(weights: Weights, rng: np.random.Generator) -> None:
    """Draw from N(0, 2/(n_in + n_out)): for activations that are linear around 0, both ways.

    Source: Glorot and Bengio, "Understanding the difficulty of training deep feedforward neural
    networks", AISTATS 2010.
    """
    _draw_normal(weights.values, (weights.n_in + weights.n_out) / 2, rng)


def glorot_uniform(weights: Weights, rng: np.random.Generator) -> None:
    """Draw uniformly with variance 2/(n_in + n_out). Source: as of glorot_normal."""
    _draw_uniform(weights.values, (weights.n_in + weights.n_out) / 2, rng)


def lecun_normal(weights: Weights, rng: np.random.Generator) -> None:
    """Draw from N(0, 1/n_in): keeps the size of activations through linear layers.

    Source: LeCun, Bottou, Orr and Müller, "Efficient BackProp", 1998.
    """
    _draw_normal(weights.values, weights.n_in, rng)


def lecun_uniform(weights: Weights, rng: np.random.Generator) -> None:
    """Draw uniformly with variance 1/n_in. Source: as of lecun_normal."""
    _draw_uniform(weights.values, weights.n_in, rng)


def torch_uniform(weights: Weights, rng: np.random.Generator) -> None:
    """Draw uniformly from -1/sqrt(n_in) to 1/sqrt(n_in): PyTorch's default."""
    _draw_uniform(weights.values, 3 * weights.n_in, rng)


def tutorial(weights: Weights, rng: np.random.Generator) -> None:
    """Draw from N(0, 2/n), n the number of filters of a convolution, the inputs of a dense layer.

    The tutorial's rule. Through several convolutions activations grow until nothing is learnt.
    """
    _draw_normal(weights.values, weights.tutorial_count / 2, rng)


def orthogonal(weights: Weights, rng: np.random.Generator) -> None:
    """Draw filters at right angles, of length 1; uniformly among all such.

    Each group's filters are the rows of a matrix (K/G, n_in). Where there are more filters than
    n_in, its columns are at right angles instead.

    Sources: Saxe, McClelland and Ganguli, "Exact solutions to the nonlinear dynamics of learning in
    deep linear neural networks", ICLR 2014; Mezzadri, "How to generate random matrices from the
    classical compact groups", Notices of the AMS, 2007, for the signs.
    """
    for filters in weights.filters:
        rows, columns = len(filters), math.prod(filters.shape[1:])
        tall = rng.standard_normal((max(rows, columns), min(rows, columns)))
        q, r = np.linalg.qr(tall)
        q *= np.where(np.diag(r) < 0, -1.0, 1.0)
        filters[...] = (q if rows >= columns else q.T).reshape(filters.shape)


def dirac(weights: Weights, rng: np.random.Generator) -> None:
    """Let filter k of each group pass channel k on as it is; filters beyond are torch_uniform's.

    The output's first C channels are then the input, if the padding is `same`, the stride 1, and
    the filters are at least as many. PyTorch's dirac_ sets the other filters to 0, which behind a
    ReLU never learn; airbench94 draws them as they would be otherwise, as is done here.

    Sources: Zagoruyko and Komodakis, "DiracNets: Training very deep neural networks without
    skip-connections", 2017; Jordan, "94% on CIFAR-10 in 3.29 seconds on a single GPU", 2024.
    """
    torch_uniform(weights, rng)
    _, outputs, inputs, fh, fw = weights.filters.shape
    passed = min(outputs, inputs)
    channels = np.arange(passed)
    weights.filters[:, :passed] = 0
    weights.filters[:, channels, channels, (fh - 1) // 2, (fw - 1) // 2] = 1


def zeros(weights: Weights, rng: np.random.Generator) -> None:
    """Set all to 0: a residual body that ends so is the identity at first.

    Source: Goyal et al., "Accurate, large minibatch SGD", 2017, which does it to the last scale.
    """
    weights.values.fill(0)


INITIALIZERS: dict[str, Initializer] = {
    each.__name__: each
    for each in (
        he_normal,
        he_uniform,
        glorot_normal,
        glorot_uniform,
        lecun_normal,
        lecun_uniform,
        torch_uniform,
        orthogonal,
        dirac,
        zeros,
        tutorial,
    )
}


def _draw_normal(values: Array, n: float, rng: np.random.Generator) -> None:
    """Draw from N(0, 1/n)."""
    values[...] = rng.standard_normal(values.shape) / np.sqrt(n)


def _draw_uniform(values: Array, n: float, rng: np.random.Generator) -> None:
    """Draw uniformly with variance 1/n."""
    limit = np.sqrt(3 / n)
    values[...] = rng.uniform(-limit, limit, values.shape)
