"""Activation functions, all in place: y = f(x) takes the place of x, and dy * f'(x) that of dy."""

from __future__ import annotations

import math

import numpy as np

from dpcnn.nn.blocks import block_length, blocks
from dpcnn.nn.checks import check_number
from dpcnn.nn.layer import Array, Layer, Shape

WORK = 2  # blocks that a function may use besides x and its slope
SHARE = 8  # of the bytes of a block of normalisation (blocks.py), for each of these four


class ReLU(Layer):
    """max(x, 0), in place; NaN stays, so that a diverged network shows it.

    Forward in training keeps where x was positive, a byte for each value. NumPy's maximum of two
    arrays takes a third of the time of that with a number: hence the block of zeros
    (tests/benchmarks/bench_layers.py).
    """

    def build(self, input_shape: Shape) -> Shape:
        """Return the input's shape."""
        self.shape = input_shape
        return input_shape

    def forward(self, x: Array) -> Array:
        """Return x with its negative values set to 0, in place."""
        x = np.ascontiguousarray(x)
        self.positive = self.buffer("positive", x.shape, bool) if self.training else None
        if self.positive is not None:
            np.greater(x, 0, out=self.positive)
        values = x.reshape(-1)
        zeros = self.buffer("zeros", (block_length(values.size, SHARE * values.itemsize),))
        for part in blocks(values.size, SHARE * values.itemsize):
            np.maximum(values[part], zeros[: part.stop - part.start], out=values[part])
        return x

    def backward(self, dy: Array) -> Array:
        """Return dy where x was positive and 0 elsewhere, in place."""
        assert self.positive is not None, "backward follows a forward of training"
        return np.multiply(dy, self.positive, out=dy)

    def workspace_size(self, images: int) -> int:
        """Count where x was positive."""
        return math.prod(self.shape) * images // 4


class Activation(Layer):
    """What the other functions share: forward in training keeps f'(x), the factor of backward.

    Forward computes both on blocks that stay in the cache, since most functions take ten or more
    operations; in evaluation it leaves out f'.
    """

    def build(self, input_shape: Shape) -> Shape:
        """Return the input's shape."""
        self.shape = input_shape
        return input_shape

    def forward(self, x: Array) -> Array:
        """Return f(x), in place."""
        x = np.ascontiguousarray(x)
        values = x.reshape(-1)
        self.slope = self.buffer("slope", x.shape) if self.training else None
        slope = None if self.slope is None else self.slope.reshape(-1)
        work = self._work(values)
        with np.errstate(over="ignore"):  # where e^-x is infinite, its inverse is 0, as it should
            for part in blocks(values.size, SHARE * values.itemsize):
                length = part.stop - part.start
                self.apply(values[part], None if slope is None else slope[part], work[:, :length])
        return x

    def _work(self, values: Array) -> Array:
        """Return blocks to work in, (WORK, values of a block)."""
        return self.buffer("work", (WORK, block_length(values.size, SHARE * values.itemsize)))

    def apply(self, x: Array, slope: Array | None, work: Array) -> None:
        """Write f(x) into x and, unless it is None, f'(x) into slope: both (values,).

        work: (WORK, values), of any content.
        """
        raise NotImplementedError

    def backward(self, dy: Array) -> Array:
        """Return dy * f'(x), in place."""
        assert self.slope is not None, "backward follows a forward of training"
        return np.multiply(dy, self.slope, out=dy)

    def workspace_size(self, images: int) -> int:
        """Count the slope and the blocks to work in."""
        values = math.prod(self.shape) * images
        return values + WORK * block_length(values, SHARE * 4)


class LeakyReLU(Activation):
    """x where it is positive, slope * x elsewhere.

    Source: Maas, Hannun and Ng, "Rectifier nonlinearities improve neural network acoustic models",
    ICML 2013.

    slope: from 0 to 1.
    """

    def __init__(self, slope: float = 0.01) -> None:
        super().__init__()
        self.negative_slope = check_number("LeakyReLU's slope", slope, 0, 1)

    def config(self) -> dict[str, float]:
        """Return the argument."""
        return {"slope": self.negative_slope}

    def apply(self, x: Array, slope: Array | None, work: Array) -> None:
        """Multiply x with 1 or the slope."""
        factor = positive(x, work[0] if slope is None else slope)
        factor *= 1 - self.negative_slope
        factor += self.negative_slope  # (1 - s) + s is rounded to 1, for every s
        x *= factor

    def __repr__(self) -> str:
        return f"LeakyReLU({self.negative_slope:g})"


class ELU(Activation):
    """x where it is positive, alpha * (e^x - 1) elsewhere.

    Source: Clevert, Unterthiner and Hochreiter, "Fast and accurate deep network learning by
    exponential linear units (ELUs)", ICLR 2016. e^x - 1 by np.exp, nine times as fast as np.expm1,
    is off by one unit in the last place of 1.

    alpha: from 0 to 1000.
    """

    def __init__(self, alpha: float = 1.0) -> None:
        super().__init__()
        self.alpha = check_number("ELU's alpha", alpha, 0, 1000)

    def apply(self, x: Array, slope: Array | None, work: Array) -> None:
        """Split x into its positive and negative parts, and put f of each together again."""
        mask = positive(x, work[0] if slope is None else slope)
        positive_part = np.multiply(x, mask, out=work[1])
        x -= positive_part
        np.exp(x, out=x)
        x *= self.alpha  # alpha e^min(x, 0)
        if slope is not None:
            slope *= 1 - self.alpha
            slope += x
        x -= self.alpha
        x += positive_part

    def __repr__(self) -> str:
        return f"ELU({self.alpha:g})"


class Sigmoid(Activation):
    """1 / (1 + e^-x), whose slope is y (1 - y)."""

    def apply(self, x: Array, slope: Array | None, work: Array) -> None:
        """Write y and y (1 - y)."""
        sigmoid(x, out=x)
        if slope is not None:
            np.subtract(1, x, out=slope)
            slope *= x


class Tanh(Activation):
    """tanh(x), whose slope is 1 - y^2."""

    def apply(self, x: Array, slope: Array | None, work: Array) -> None:
        """Write y and 1 - y^2."""
        np.tanh(x, out=x)
        if slope is not None:
            np.multiply(x, x, out=slope)
            np.subtract(1, slope, out=slope)


class SiLU(Activation):
    """x * s with s = 1 / (1 + e^-x), also called swish; its slope is s + y (1 - s).

    Source: Elfwing, Uchibe and Doya, "Sigmoid-weighted linear units for neural network function
    approximation in reinforcement learning", Neural Networks 107, 2018.
    """

    def apply(self, x: Array, slope: Array | None, work: Array) -> None:
        """Write y and s + y (1 - s)."""
        s = sigmoid(x, out=work[0])
        x *= s
        if slope is not None:
            np.subtract(1, s, out=slope)
            slope *= x
            slope += s


class GELU(Activation):
    """x * (1 + tanh(u)) / 2 with u = sqrt(2/pi) (x + 0.044715 x^3): the tanh form.

    It is PyTorch's approximate="tanh", and differs from the exact form, x times the normal
    distribution function, by at most 5e-4. Computed as x * s with s = 1 / (1 + e^-2u), which is the
    same; its slope is s + y (1 - s) 2u', 2u' = 2 sqrt(2/pi) (1 + 3 * 0.044715 x^2).

    Source: Hendrycks and Gimpel, "Gaussian error linear units (GELUs)", arXiv:1606.08415, 2016.
    """

    LINEAR = 2 * math.sqrt(2 / math.pi)  # 2u = x (LINEAR + CUBIC x^2)
    CUBIC = 0.044715 * LINEAR

    def apply(self, x: Array, slope: Array | None, work: Array) -> None:
        """Write y and s + y (1 - s) 2u'."""
        square, s = work
        np.multiply(x, x, out=square)
        np.multiply(square, self.CUBIC, out=s)
        s += self.LINEAR
        s *= x
        sigmoid(s, out=s)
        x *= s
        if slope is not None:
            np.multiply(square, 3 * self.CUBIC, out=slope)
            slope += self.LINEAR
            slope *= x
            complement = np.subtract(1, s, out=square)
            slope *= complement
            slope += s


def positive(x: Array, out: Array) -> Array:
    """Write 1 where x is positive, 0 elsewhere."""
    return np.greater(x, 0, out=out)


def sigmoid(x: Array, out: Array) -> Array:
    """Write 1 / (1 + e^-x)."""
    np.negative(x, out=out)
    np.exp(out, out=out)
    out += 1
    return np.divide(1, out, out=out)
