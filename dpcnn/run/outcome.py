"""How a job has ended, told to whatever started it: mpirun's own exit code can be wrong.

outcome.json in the run directory holds the run's exit code; a run that was killed has none. A
starter (launch/lib/supervise.py) names a file in DPCNN_OUTCOME, and rank 0 writes there too: the
run directory as soon as there is one, and the exit code, even of a job without a run directory.
To a job that it starts again the starter says in DPCNN_RESTART which restart this is.
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


def tell(**values: Any) -> None:
    """Tell the starter run_dir, exit_code or both, if there is a starter and the disk takes it."""
    if VARIABLE in os.environ:
        path = Path(os.environ[VARIABLE])
        fresh = path.with_name(f"{path.name}.new")
        with contextlib.suppress(OSError):  # a full disk leaves what was told before
            fresh.write_text(json.dumps(values))
            fresh.replace(path)


def restart() -> int:
    """Return how often this job has been started again, 0 the first time."""
    number = os.environ.get(RESTART, "")
    return int(number) if number.isdecimal() else 0
