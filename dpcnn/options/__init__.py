"""The options of training: declarations, their table, and what a resumed run may change."""

from dpcnn.options.option import Option, Value
from dpcnn.options.resume import resumed
from dpcnn.options.table import ALIASES, NETWORK, OPTIONS, Options

__all__ = ["ALIASES", "NETWORK", "OPTIONS", "Option", "Options", "Value", "resumed"]
