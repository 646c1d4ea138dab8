"""Normalisation: of each channel over the micro-batch, or of each image over groups of channels.

Axes as everywhere in `nn`: C channels, H rows, W columns, N images (innermost). All layers take
maps (C, H, W, N), or flat input (features, N), whose features are its channels. Each begins with
x-hat = (x - mean) / sqrt(variance + eps), and ends with y = x-hat * scale + shift, a value of
`scale` and `shift` for each channel. The variance is the mean square of x - mean, in a second pass:
E[x^2] - mean^2 would lose its digits where the mean is large.

Work goes in blocks that stay in the cache (blocks.py), and in place wherever that is allowed: the
input becomes x - mean, which backward needs, and backward turns it or dy into dx. Sums
are products with ones, by BLAS: three to five times as fast as NumPy's.
"""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import numpy as np

from dpcnn.errors import OptionError
from dpcnn.nn.blocks import block_length, blocks
from dpcnn.nn.checks import check_bool, check_int, check_number
from dpcnn.nn.layer import Array, Layer, Shape

SMALLEST_EPS = 1e-12
ROW = 512  # values of a row of GroupNorm: longer ones are hardly faster, and take longer to make


class BatchNorm(Layer):
    """y = (x - mean) / sqrt(variance + eps) * scale + shift, with statistics of each channel.

    Training takes them over all values of a channel in the micro-batch, H*W*N of them (ghost batch
    normalisation: the same on any number of ranks); evaluation takes the running statistics.
    Sources: Ioffe and Szegedy, "Batch normalization", ICML 2015; Hoffer, Hubara and Soudry, "Train
    longer, generalize better", NeurIPS 2017.

    momentum: how far the running statistics move in a step towards that step's, as in PyTorch:
        running += momentum * (statistics - running). The variance among them is the unbiased one,
        divided by m - 1 for m values, as in PyTorch; x is normalised with the biased one.
    eps: added to the variance. scale, shift: whether there are such parameters.

    Parameters `scale` and `shift`, (C,), 1 and 0 at first; state `mean` and `variance`, (C,), 0
    and 1 at first.

    A step's statistics are the mean of its micro-batches', each weighted by its images, and a step
    of few images moves the running ones by that much less: the last of an epoch, of one image,
    moves them by 1/minibatch_size of the momentum (Network.update_state). A micro-batch with a
    single value a channel, one image of 1x1, has no variance: it is normalised by the running
    statistics, as constants, and contributes these, so that it changes nothing. A run whose every
    micro-batch is of that kind is refused (check_microbatch).
    """

    scale: Array
    shift: Array
    dscale: Array
    dshift: Array
    mean: Array
    variance: Array
    batch_mean: Array
    batch_variance: Array
    never_negative = ("variance",)
    overwrites_dy = False

    def __init__(
        self, momentum: float = 0.1, eps: float = 1e-5, scale: bool = True, shift: bool = True
    ) -> None:
        super().__init__()
        self.momentum = check_number("BatchNorm's momentum", momentum, 0, 1)
        self.eps = check_number("BatchNorm's eps", eps, SMALLEST_EPS, 1)
        self.has_scale = check_bool("BatchNorm's scale", scale)
        self.has_shift = check_bool("BatchNorm's shift", shift)
        self.state_momentum = self.momentum

    def config(self) -> dict[str, Any]:
        """Return the arguments: `scale` and `shift` as attributes are the parameters."""
        flags = {"scale": self.has_scale, "shift": self.has_shift}
        return {"momentum": self.momentum, "eps": self.eps, **flags}

    def build(self, input_shape: Shape) -> Shape:
        """Return the input's shape, (C, H, W) or (features,)."""
        self.shape = (channel_count(self, input_shape),)
        self.values_of_an_image = math.prod(input_shape[1:])
        wanted = {"scale": self.has_scale, "shift": self.has_shift}
        self.parameter_shapes = {name: self.shape for name in wanted if wanted[name]}
        self.state_shapes = {"mean": self.shape, "variance": self.shape}
        return input_shape

    def initialize(self, rng: np.random.Generator) -> None:
        """Set scale and variance to 1, shift and mean to 0."""
        for name in self.parameter_shapes:
            getattr(self, name).fill(name == "scale")
        self.mean.fill(0)
        self.variance.fill(1)

    def check_microbatch(self, images: int) -> None:
        """Raise OptionError if a micro-batch of so many images has one value a channel."""
        if images * self.values_of_an_image < 2:
            raise OptionError(
                f"a micro-batch of {images} image has 1 value a channel, expected at least 2:"
                " take more images a micro-batch, or GroupNorm"
            )

    def forward(self, x: Array) -> Array:
        """Return y of the shape of x; x becomes x - mean in training, and y in evaluation."""
        maps = np.ascontiguousarray(x).reshape(self.shape[0], -1)
        if not self.training:
            return self._by_running_statistics(maps).reshape(x.shape)
        self.centred = maps
        y = self.buffer("y", maps.shape)
        if maps.shape[1] > 1:
            self._by_statistics_of(maps, y)
        else:
            self._by_constants(maps, y)
        return y.reshape(x.shape)

    def _by_running_statistics(self, x: Array) -> Array:
        """Return y (C, m) in place of x: two passes, x * factor + offset."""
        factor = self._factor(1 / np.sqrt(self.variance + self.eps))
        offset = -self.mean * factor
        if self.has_shift:
            offset += self.shift
        for part in blocks(len(x), x[0].nbytes):
            x[part] *= factor[part, None]
            x[part] += offset[part, None]
        return x

    def _by_statistics_of(self, maps: Array, y: Array) -> None:
        """Write y (C, m), and the statistics of maps (C, m), which become maps - mean."""
        count = maps.shape[1]
        weights = self.buffer("weights", (count,), fill=1 / count)
        self.inverse = self.buffer("inverse", self.shape)
        for part in blocks(len(maps), maps[0].nbytes):
            x, out, mean, variance = (
                array[part] for array in (maps, y, self.batch_mean, self.batch_variance)
            )
            np.matmul(x, weights, out=mean)
            np.subtract(x, mean[:, None], out=x)
            np.vecdot(x, x, out=variance)
            inverse = 1 / np.sqrt(variance * (1 / count) + self.eps)
            self.inverse[part] = inverse
            self._scale_and_shift(x, inverse, out, part)
        self.batch_variance *= 1 / (count - 1)

    def _by_constants(self, x: Array, y: Array) -> None:
        """Write y (C, 1) by the running statistics, which are the micro-batch's then."""
        self.batch_mean[...] = self.mean
        self.batch_variance[...] = self.variance
        self.inverse = 1 / np.sqrt(self.variance + self.eps)
        x -= self.mean[:, None]
        self._scale_and_shift(x, self.inverse, y, slice(None))

    def _scale_and_shift(self, centred: Array, inverse: Array, out: Array, part: slice) -> None:
        """Write y of some channels: x-hat * scale + shift."""
        np.multiply(centred, self._factor(inverse, part)[:, None], out=out)
        if self.has_shift:
            np.add(out, self.shift[part, None], out=out)

    def _factor(self, inverse: Array, part: slice = slice(None)) -> Array:
        """Return what x - mean is multiplied with: scale / sqrt(variance + eps)."""
        return inverse * self.scale[part] if self.has_scale else inverse

    def backward(self, dy: Array) -> Array | None:
        """Write dscale = sum of dy * x-hat, dshift = sum of dy; return dx in place of x - mean.

        With c = x - mean, s = 1 / sqrt(variance + eps) and m values of a channel,
        dx = scale s (dy - sum(dy)/m - c s^2 sum(dy c)/m); where the statistics are constants, that
        is scale s dy.
        """
        assert self.training, "backward follows a forward of training"
        shape, dy = dy.shape, np.ascontiguousarray(dy).reshape(self.shape[0], -1)
        count = dy.shape[1]
        ones = self.buffer("ones", (count,), fill=1)
        dshift = self.dshift if self.has_shift else self.buffer("dshift", self.shape)
        dscale = self.dscale if self.has_scale else self.buffer("dscale", self.shape)
        for part in blocks(len(dy), dy[0].nbytes):
            gradient, centred, inverse = dy[part], self.centred[part], self.inverse[part]
            np.matmul(gradient, ones, out=dshift[part])
            np.vecdot(gradient, centred, out=dscale[part])
            dscale[part] *= inverse
            if not self.needs_dx:
                continue
            if count > 1:
                np.multiply(centred, (dscale[part] * inverse / count)[:, None], out=centred)
                np.add(centred, (dshift[part] / count)[:, None], out=centred)
                gradient = np.subtract(gradient, centred, out=centred)
            np.multiply(gradient, self._factor(inverse, part)[:, None], out=centred)
        return self.centred.reshape(shape) if self.needs_dx else None

    def workspace_size(self, images: int) -> int:
        """Count y."""
        return self.shape[0] * self.values_of_an_image * images

    def __repr__(self) -> str:
        names = {"scale": self.has_scale, "shift": self.has_shift}
        without = "".join(f", no {name}" for name in names if not names[name])
        return f"BatchNorm(momentum {self.momentum:g}, eps {self.eps:g}{without})"


class GroupNorm(Layer):
    """Each image by itself: statistics over all values of a group of C / groups channels.

    Source: Wu and He, "Group normalization", ECCV 2018. The same in training and evaluation.

    groups: they must divide the channels. eps: added to the variance.

    Parameters `scale` and `shift`, (C,), 1 and 0 at first.

    The statistics are an image's, and images are innermost: what is subtracted from, or multiplied
    with, a channel (pixels, N) is N values over and over. They are repeated to rows of k*N, so that
    NumPy's inner loops are long.
    """

    scale: Array
    shift: Array
    dscale: Array
    dshift: Array

    def __init__(self, groups: int, eps: float = 1e-5) -> None:
        super().__init__()
        name = type(self).__name__
        self.groups = check_int(f"{name}'s groups", groups)
        self.eps = check_number(f"{name}'s eps", eps, SMALLEST_EPS, 1)

    def build(self, input_shape: Shape) -> Shape:
        """Return the input's shape; raises OptionError unless the groups divide the channels."""
        self.channels = channel_count(self, input_shape)
        if self.channels % self.groups:
            raise OptionError(
                f"{self.groups} groups of {self.channels} channels, expected a divisor of them"
            )
        self.pixels = math.prod(input_shape[1:])
        self.parameter_shapes = {"scale": (self.channels,), "shift": (self.channels,)}
        return input_shape

    def initialize(self, rng: np.random.Generator) -> None:
        """Set scale to 1, shift to 0."""
        self.scale.fill(1)
        self.shift.fill(0)

    def forward(self, x: Array) -> Array:
        """Return y of the shape of x; x becomes x - mean."""
        self.centred = rows = self._rows(x)
        y = self.buffer("y", rows.shape)
        parts = blocks(self.channels, rows[0].nbytes)
        sums = self.buffer("sums", (self.channels, x.shape[-1]))
        for part in parts:
            self._sum(rows[part], out=sums[part])
        mean = self._repeated(self._means(sums))
        for part in parts:
            np.subtract(rows[part], mean[part], out=rows[part])
            self._sum(np.multiply(rows[part], rows[part], out=y[part]), out=sums[part])
        self.inverse = 1 / np.sqrt(self._means(sums) + self.eps)
        factor = self._repeated(self.inverse * self.scale[:, None])
        for part in parts:
            np.multiply(rows[part], factor[part], out=y[part])
            np.add(y[part], self.shift[part, None, None], out=y[part])
        return y.reshape(x.shape)

    def backward(self, dy: Array) -> Array | None:
        """Write dscale = sum of dy * x-hat, dshift = sum of dy; return dx in place of dy.

        With c = x - mean, s = 1 / sqrt(variance + eps), g = dy * scale, and means over a group of
        an image, dx = s (g - mean(g) - c s^2 mean(g c)).
        """
        rows = self._rows(dy)
        parts = blocks(self.channels, rows[0].nbytes)
        sums, products = self.buffer("dsums", (2, self.channels, dy.shape[-1]))
        for part in parts:
            work = self.buffer("work", rows[part].shape)
            self._sum(rows[part], out=sums[part])
            self._sum(np.multiply(rows[part], self.centred[part], out=work), out=products[part])
        sums.sum(axis=1, out=self.dshift)
        np.vecdot(products, self.inverse, out=self.dscale)
        if not self.needs_dx:
            return None
        scale, inverse = self.scale[:, None], self.inverse
        factor = self._repeated(scale * inverse)
        mean = self._repeated(self._means(sums * scale) * inverse)
        mean_with_c = self._repeated(self._means(products * scale) * inverse**3)
        for part in parts:
            gradient, centred = rows[part], self.centred[part]
            np.multiply(centred, mean_with_c[part], out=centred)
            np.add(centred, mean[part], out=centred)
            np.multiply(gradient, factor[part], out=gradient)
            np.subtract(gradient, centred, out=gradient)
        return rows.reshape(dy.shape)

    def _rows(self, x: Array) -> Array:
        """View x as (C, rows, k*N)."""
        self.repeats = pixels_of_a_row(self.pixels, x.shape[-1])
        length = self.repeats * x.shape[-1]
        return np.ascontiguousarray(x).reshape(self.channels, -1, length)

    def _repeated(self, values: Array) -> Array:
        """Return an image's value of each channel, (C, N), as a row of each: (C, 1, k*N)."""
        return np.tile(values[:, None], self.repeats)

    def _sum(self, rows: Array, out: Array) -> None:
        """Write the sums over pixels, (channels, N), of rows (channels, rows, k*N)."""
        ones = self.buffer("ones", (1, self.pixels), fill=1)
        maps = rows.reshape(len(rows), self.pixels, -1)
        np.matmul(ones, maps, out=out[:, None])

    def _means(self, sums: Array) -> Array:
        """Return the means over its group, (C, N), from each channel's sums over pixels (C, N)."""
        of_groups = sums.reshape(self.groups, -1, sums.shape[-1])
        count = of_groups.shape[1] * self.pixels
        return np.repeat(of_groups.sum(axis=1) / count, of_groups.shape[1], axis=0)

    def workspace_size(self, images: int) -> int:
        """Count y and the block of products."""
        channel = self.pixels * images
        return channel * (self.channels + block_length(self.channels, 4 * channel))

    def __repr__(self) -> str:
        return f"GroupNorm({self.groups}, eps {self.eps:g})"


class LayerNorm(GroupNorm):
    """Each image by itself: statistics over all of its values, C*H*W of them.

    Source: Ba, Kiros and Hinton, "Layer normalization", arXiv:1607.06450, 2016. The parameters are
    those of each channel, as of a GroupNorm of one group; for flat input that is PyTorch's
    LayerNorm(features), for maps its GroupNorm(1, C).

    eps: added to the variance.
    """

    def __init__(self, eps: float = 1e-5) -> None:
        super().__init__(1, eps)

    def __repr__(self) -> str:
        return f"LayerNorm(eps {self.eps:g})"


def channel_count(layer: Layer, input_shape: Shape) -> int:
    """Return C of an input (C, H, W), or of flat input (C,); else raise OptionError."""
    if len(input_shape) not in (1, 3):
        name = type(layer).__name__
        raise OptionError(f"{name} takes maps (C, H, W) or flat input, not {input_shape}")
    return input_shape[0]


@cache
def pixels_of_a_row(pixels: int, images: int) -> int:
    """Return the largest divisor of a channel's pixels whose rows have at most ROW values."""
    return next(k for k in range(max(1, min(pixels, ROW // images)), 0, -1) if pixels % k == 0)
