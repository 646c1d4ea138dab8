"""How a job ended, told to who started it: mpirun's own exit code can be wrong.

The exit code of a run is in its run directory, in outcome.json; a run that was killed has none.
The starter names a file in DPCNN_OUTCOME, where rank 0 also writes: the run directory as soon as
there is one, and the exit code, also of a job that had no run directory. What it starts again has
the number of that restart in DPCNN_RESTART.
"""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path
from typing import Any

VARIABLE = "DPCNN_OUTCOME"
RESTART = "DPCNN_RESTART"
NAME = "outcome.json"


def tell(**facts: Any) -> None:
    """Write run_dir, exit_code or both for the starter, if there is one and the disk takes it."""
    if VARIABLE in os.environ:
        path = Path(os.environ[VARIABLE])
        fresh = path.with_name(f"{path.name}.new")
        with contextlib.suppress(OSError):  # on a full disk what was told before stands
            fresh.write_text(json.dumps(facts))
            fresh.replace(path)


def restart() -> int:
    """Return how often this job has been started again, 0 for the first time."""
    number = os.environ.get(RESTART, "")
    return int(number) if number.isdecimal() else 0
