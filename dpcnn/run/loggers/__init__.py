"""Where the metrics of a run are kept: a line an epoch, in files of several kinds."""

from dpcnn.run.loggers.csv import Csv
from dpcnn.run.loggers.jsonl import JsonLines
from dpcnn.run.loggers.logger import Logger
from dpcnn.run.loggers.tensorboard import TensorBoard


def choose(tensorboard: bool) -> list[Logger]:
    """Return the loggers of a run: those of every run, and TensorBoard's if it is wanted."""
    loggers: list[Logger] = [JsonLines(), Csv()]
    if tensorboard:
        loggers.append(TensorBoard())
    return loggers
