"""The convolution: the layer, and the algorithms that compute it."""

from dpcnn.nn.convolution.layer import Convolution
from dpcnn.nn.convolution.whitening import Whitening

__all__ = ["Convolution", "Whitening"]
