"""All commands as one: `dpcnn COMMAND ...`, or `python -m dpcnn COMMAND ...`."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Sequence
from pathlib import Path
from runpy import run_module

from dpcnn.errors import OptionError
from dpcnn.system import streams
from dpcnn.system.text import say
from dpcnn.version import __version__

COMMANDS = {
    "train": "train a network, or resume a run",
    "run": "train, or another command, on several ranks of this machine",
    "evaluate": "loss, accuracy, precision and recall of every class",
    "predict": "the classes of pictures or arrays",
    "export": "write the network as ONNX or .npz",
    "verify": "compute epochs again, and compare the weights bit by bit",
    "report": "a page of curves, mistakes and timings, or of several runs",
    "look": "what a dataset holds, and how it is read",
    "convert": "write a dataset of any form as one HDF5 file",
    "models": "the known networks",
    "check": "check the gradients of your own layers",
    "doctor": "check this machine, MPI and a run directory",
    "bench": "measure how fast it trains, beside PyTorch too",
}
ELSEWHERE = {"run": "dpcnn.cli.ranks"}  # the others are modules, or packages, of their names


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command that the first argument names; it ends the program, mistakes return 2."""
    streams.secure()
    command, *rest = [*(sys.argv[1:] if arguments is None else arguments)] or ["--help"]
    if command in ("-h", "--help", "help"):
        say(_help())
        return 0
    if command in ("-V", "--version"):
        say(f"dpcnn {__version__}")
        return 0
    if command not in COMMANDS:
        say(f"dpcnn: error: {_unknown(command)}", sys.stderr)
        return OptionError.exit_code
    # What was typed: the help of the command shows it, and the rest are its arguments.
    sys.argv = [f"{program()} {command}", *rest]
    run_module(ELSEWHERE.get(command, f"dpcnn.{command}"), run_name="__main__")
    return 0


def program() -> str:
    """Return how this program was started, without the command."""
    typed = Path(sys.argv[0]).name
    return "python -m dpcnn" if typed == "__main__.py" else typed


def _help() -> str:
    lines = (f"  {name:9} {text}" for name, text in COMMANDS.items())
    return "\n".join(
        [
            f"usage: {program()} COMMAND ...",
            "",
            "Train convolutional networks in NumPy, data-parallel over MPI, and use them.",
            "",
            *lines,
            "",
            "COMMAND --help lists its options; --version tells the version of dpcnn.",
        ]
    )


def _unknown(command: str) -> str:
    """Return the line that refuses a command."""
    close = difflib.get_close_matches(command, COMMANDS, 1)
    cure = f"did you mean {close[0]}?" if close else f"expected one of {', '.join(COMMANDS)}"
    if command.startswith("-"):
        cure = f"expected a command before it, such as train {command}"
    return f"found {command!r:.100}: {cure} (see --help)"


if __name__ == "__main__":
    sys.exit(main())
