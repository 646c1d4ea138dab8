"""The math, in NumPy alone: layers, to be put together to networks of one's own."""

from dpcnn.nn.layers import Convolution, Dense, Flatten, Layer, ReLU
from dpcnn.nn.pooling import AveragePooling, MaxPooling

__all__ = ["AveragePooling", "Convolution", "Dense", "Flatten", "Layer", "MaxPooling", "ReLU"]
