"""The math, in NumPy alone; these are the layers to make networks of."""

from dpcnn.nn.activations import ReLU
from dpcnn.nn.composite import Concatenate, Residual, Sequential
from dpcnn.nn.convolution import Convolution
from dpcnn.nn.dense import Dense
from dpcnn.nn.dropout import Dropout
from dpcnn.nn.flatten import Flatten
from dpcnn.nn.layer import Layer
from dpcnn.nn.normalization import BatchNorm, GroupNorm, LayerNorm
from dpcnn.nn.pooling import AveragePooling, MaxPooling

__all__ = [
    "AveragePooling",
    "BatchNorm",
    "Concatenate",
    "Convolution",
    "Dense",
    "Dropout",
    "Flatten",
    "GroupNorm",
    "Layer",
    "LayerNorm",
    "MaxPooling",
    "ReLU",
    "Residual",
    "Sequential",
]
