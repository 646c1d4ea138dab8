"""The convolution: the layer, and the algorithms that compute it."""

from dpcnn.nn.convolution.layer import Convolution

__all__ = ["Convolution"]
