"""The options of training: declarations, their table, and what a resumed run may change."""

from dpcnn.options.contradictions import check_together, is_part
from dpcnn.options.option import Option, Value
from dpcnn.options.resume import resumed
from dpcnn.options.table import ABOUT_DATA, ALIASES, NETWORK, OF_DATASET, OPTIONS, Options

__all__ = [
    "ABOUT_DATA",
    "ALIASES",
    "NETWORK",
    "OF_DATASET",
    "OPTIONS",
    "Option",
    "Options",
    "Value",
    "check_together",
    "is_part",
    "resumed",
]
