"""Starts several ranks on this machine: `dpcnn run -n 4 ...`, for who has no launch scripts."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence

from dpcnn.cli import foreground
from dpcnn.cli.arguments import CommandLine
from dpcnn.errors import DpcnnError, LaunchError
from dpcnn.parallel.launcher import COMMAND, HYDRA, OPEN_MPI, family, find_mpirun
from dpcnn.system.cores import usable
from dpcnn.system.text import say

HELP = """\
usage: {program} [-n RANKS] [COMMAND] [options of the command]

Run a command on several ranks of this machine, or train if none is named. It takes the mpirun of
this environment (pip install dpcnn[mpich]), or else the one on the PATH.

  -n, --ranks RANKS   number of ranks (default: one per core)
  -h, --help          show this text; after COMMAND, show the options of the command

examples:
  {program} -n 4 --epochs 5            train on 4 ranks
  {program} -n 4 evaluate runs/first   another command on 4 ranks
"""
# On this machine alone, whatever a batch system or a host file offers; as many ranks as are asked
# for, and none bound to a core.
ON_THIS_MACHINE = {
    HYDRA: ("-launcher", "fork", "-rmk", "user", "-hosts", "localhost"),
    OPEN_MPI: ("--allow-run-as-root", "--host", "localhost:{ranks}", "--bind-to", "none"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command under mpirun; return its exit code."""
    given = sys.argv[1:] if arguments is None else [*arguments]
    parser = CommandLine(prog="dpcnn run", add_help=False, allow_abbrev=False)
    parser.add_argument("-n", "--ranks", type=int, default=usable())
    if given[:1] in (["-h"], ["--help"]):
        say(HELP.format(program=parser.prog).rstrip())
        return 0
    try:
        options, words = parser.parse_known_args(given)
        if options.ranks < 1:
            parser.error(f"found {options.ranks} after -n, expected a number of ranks, 1 or more")
        command, launcher = _mpirun(options.ranks)
    except DpcnnError as error:
        say(f"dpcnn: error: {error}", sys.stderr)
        return error.exit_code
    if not words or words[0].startswith("-"):
        words = ["train", *words]
    if words[0] == "train":
        os.environ[COMMAND] = f"{parser.prog} -n {options.ranks}"
    # -P: a file in the user's directory must not replace a module.
    command += [sys.executable, "-P", "-m", "dpcnn", *words]
    return foreground.run(command, past=launcher == OPEN_MPI)


def _mpirun(ranks: int) -> tuple[list[str], str | None]:
    """Return the words that start so many ranks here, and which launcher that is, if it is known.

    Raises LaunchError if there is no mpirun.
    """
    mpirun = find_mpirun()
    if mpirun is None:
        raise LaunchError("found no mpirun in this environment: pip install dpcnn[mpich]")
    version = subprocess.run([mpirun, "--version"], capture_output=True, text=True, check=False)
    launcher = family(version.stdout)
    here = ON_THIS_MACHINE.get(launcher or "", ())
    return [mpirun, *(word.format(ranks=ranks) for word in here), "-n", str(ranks)], launcher


if __name__ == "__main__":
    sys.exit(main())
