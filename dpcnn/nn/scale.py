"""Scale, a constant factor."""

from __future__ import annotations

from dpcnn.nn.checks import check_number
from dpcnn.nn.layer import Array, Layer, Shape

LARGEST = 1e6


class Scale(Layer):
    """x times a factor that is not trained, in place: behind the last layer, of the logits.

    Small logits keep the loss soft at the large learning rates of short runs. Source: Page, "How to
    train your ResNet", 2018-2019.

    factor: from -1,000,000 to 1,000,000.
    """

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = check_number("Scale's factor", factor, -LARGEST, LARGEST)

    def build(self, input_shape: Shape) -> Shape:
        """Return the input's shape."""
        return input_shape

    def forward(self, x: Array) -> Array:
        """Return factor * x, in place."""
        x *= x.dtype.type(self.factor)
        return x

    def backward(self, dy: Array) -> Array:
        """Return factor * dy, in place."""
        dy *= dy.dtype.type(self.factor)
        return dy

    def __repr__(self) -> str:
        return f"Scale({self.factor:.6g})"
