"""A module of dpcnn, run as a command again and again in one start of the ranks.

Its arguments are that module and, as JSON, a list of those of each run, after which rank 0 tells
the exit code on standard error.
"""

from __future__ import annotations

import importlib
import json
import sys

from dpcnn.parallel.launcher import detect

_, module, commands = sys.argv
main = importlib.import_module(module).main
code = 0
for arguments in json.loads(commands):
    code = main(arguments)
    if detect().rank == 0:
        sys.stderr.write(f"exit code {code}\n")
sys.exit(code)
