"""dpcnn.train as often as a file says, in one start of the ranks: a list of options each time.

After each, rank 0 tells the exit code on standard error.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from dpcnn.parallel.launcher import detect
from dpcnn.training import api

code = 0
for options in json.loads(Path(sys.argv[1]).read_text()):
    code = api.main(options)
    if detect().rank == 0:
        sys.stderr.write(f"exit code {code}\n")
sys.exit(code)
