"""The math, in NumPy alone; these are the layers to make networks of."""

from dpcnn.nn.activations import ELU, GELU, LeakyReLU, ReLU, Sigmoid, SiLU, Tanh
from dpcnn.nn.composite import Concatenate, Residual, Sequential
from dpcnn.nn.convolution import Convolution, Whitening
from dpcnn.nn.dense import Dense
from dpcnn.nn.dropout import Dropout
from dpcnn.nn.flatten import Flatten
from dpcnn.nn.gradient_check import check_gradients
from dpcnn.nn.layer import Layer
from dpcnn.nn.normalization import BatchNorm, GroupNorm, LayerNorm
from dpcnn.nn.pooling import AveragePooling, GlobalAveragePooling, MaxPooling
from dpcnn.nn.scale import Scale

__all__ = [
    "ELU",
    "GELU",
    "AveragePooling",
    "BatchNorm",
    "Concatenate",
    "Convolution",
    "Dense",
    "Dropout",
    "Flatten",
    "GlobalAveragePooling",
    "GroupNorm",
    "Layer",
    "LayerNorm",
    "LeakyReLU",
    "MaxPooling",
    "ReLU",
    "Residual",
    "Scale",
    "Sequential",
    "SiLU",
    "Sigmoid",
    "Tanh",
    "Whitening",
    "check_gradients",
]
