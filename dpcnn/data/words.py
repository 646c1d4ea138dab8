"""The words of --augment: what they may be, and how they are read."""

from __future__ import annotations

from dataclasses import dataclass

from dpcnn.data.augment import NOTHING, Augmentation
from dpcnn.errors import OptionError

Shape = tuple[int, int, int]


@dataclass(frozen=True)
class Word:
    """A word of --augment and its argument.

    argument: what that is called, "" if there is none. integer: or a number with a fraction.
    high: the largest that it may be; an integer is at least 1, another number more than 0.
    of_side: the largest share of the images' smaller side that it may be, if it is in pixels.
    """

    argument: str = ""
    integer: bool = False
    high: float = 1
    of_side: float = 0

    def largest(self, shape: Shape) -> float:
        """Return the largest argument for images of this shape (C, H, W)."""
        return int(min(shape[1:]) * self.of_side) if self.of_side else self.high

    def read(self, text: str, shape: Shape) -> float | None:
        """Return the argument that a text stands for, None if it stands for none that may be."""
        try:
            value = int(text) if self.integer else float(text)
        except ValueError:
            return None
        return value if 0 < value <= self.largest(shape) else None

    def expected(self, name: str, shape: Shape) -> str:
        """Return in words what is expected, for images of this shape."""
        if not self.argument:
            return name
        size = f" for images of {shape[1]}x{shape[2]}" if self.of_side else ""
        if self.largest(shape) == 0:
            return f"no {name}{size}"
        above, kind = ("from 1", "an integer") if self.integer else ("above 0", "a number")
        return f"{name}:{self.argument}, {kind} {above} up to {self.largest(shape):g}{size}"


WORDS = {
    "flip": Word(),
    "alternate": Word(),
    "crop": Word("PIXELS", integer=True, of_side=1 / 2),
    "shift": Word("PIXELS", integer=True, of_side=1 / 2),
    "reflect": Word("PIXELS", integer=True, of_side=1 / 2),
    "rotate": Word("DEGREES", high=180),
    "scale": Word("FRACTION", high=0.9),
    "brightness": Word("FRACTION"),
    "contrast": Word("FRACTION"),
    "cutout": Word("PIXELS", integer=True, of_side=1),
    "mixup": Word("ALPHA", high=100),
}


def parse(text: str | None, shape: Shape) -> Augmentation:
    """Return the augmentation that --augment asks for, of images of this shape (C, H, W).

    text: words with a comma between them, None for none. Raises OptionError, alike on all ranks.
    """
    if text is None:
        return NOTHING
    amounts: dict[str, float] = {}
    for item in text.split(","):
        name, colon, argument = item.strip().partition(":")
        if name not in WORDS:
            words = (f"{name}:{word.argument}".rstrip(":") for name, word in WORDS.items())
            raise _error(item, f"some of {', '.join(words)} with a comma between them")
        if name in amounts:
            raise _error(item, f"each word once, and {name} was there before")
        word = WORDS[name]
        amount = word.read(argument, shape) if word.argument else None if colon else 1
        if amount is None:
            raise _error(item, word.expected(name, shape))
        amounts[name] = amount
    if "flip" in amounts and "alternate" in amounts:
        raise _error("flip", "flip or alternate, not both")
    return Augmentation(**amounts)  # type: ignore[arg-type]  # integers where they are declared


def _error(item: str, expected: str) -> OptionError:
    return OptionError(f"--augment has {item!r:.60}, expected {expected}").on_all_ranks()
