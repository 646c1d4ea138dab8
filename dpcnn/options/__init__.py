"""The options of training: declarations, their table, and what a resumed run may change."""

from dpcnn.options.changes import (
    Change,
    Differences,
    before_change,
    change_from,
    check_order,
    differences,
    resumed_with_changes,
)
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
    "Change",
    "Differences",
    "Option",
    "Options",
    "Value",
    "before_change",
    "change_from",
    "check_order",
    "check_together",
    "differences",
    "is_part",
    "resumed",
    "resumed_with_changes",
]
