"""What MPI libraries print of dead ranks is kept from the reader, in whatever pieces it comes."""

from __future__ import annotations

import random
import sys

import pytest

from tests.launching import ROOT

sys.path.insert(0, str(ROOT / "launch/lib"))
from noise import MOST, Sieve

FRAME = "-" * 74
CRASH = """[vm:31] *** Process received signal ***
[vm:31] Signal: Floating point exception (8)
[vm:31] Signal code: Integer divide-by-zero (1)
[vm:31] [ 0] /lib/x86_64-linux-gnu/libc.so.6(+0x3c050)[0x7f9e1685a050]
[vm:31] *** End of error message ***
"""
HYDRA = f"""
{"=" * 83}
=   BAD TERMINATION OF ONE OF YOUR APPLICATION PROCESSES
=   PID 9748 RUNNING AT vm
=   EXIT CODE: 9
=   CLEANING UP REMAINING PROCESSES
=   YOU CAN IGNORE THE BELOW CLEANUP MESSAGES
{"=" * 83}
YOUR APPLICATION TERMINATED WITH THE EXIT STRING: Killed (signal 9)
This typically refers to a problem with your application.
Please see the FAQ page for debugging suggestions
"""
ENDED = f"""{FRAME}
prterun noticed that process rank 1 with PID 25462 on node vm exited on
signal 9 (Killed).
{FRAME}
"""
CANNOT = f"{FRAME}\nThere are not enough slots available in the system\n{FRAME}\n"
ABORT = """[vm:00000] *** An error occurred in MPI_Init_thread
[vm:00000] *** reported by process [2817785857,1]
[vm:00000] *** on a NULL communicator
[vm:00000] *** MPI_ERRORS_ARE_FATAL (processes in this communicator will now abort,
[vm:00000] ***    and potentially try to terminate your MPI job as well)
"""
PML = f"{FRAME}\nMPI_INIT has failed because one is unreachable\n{FRAME}\n"
INIT = f"{FRAME}\nIt looks like MPI_INIT failed\n{FRAME}\n"
NBC = "[vm:31][nbc.c:419:NBC_Progress] an error 75 was found on request\n"
OURS = "warning: lost rank 1 on vm; 3 ranks go on from step 19\nEpoch 1, Loss = 0.3\n"
INIT_ONCE = PML + OURS + "[vm][[7,1],0][a.c:4:f] failed\n" * MOST


def sifted(text: str, rng: random.Random) -> str:
    """Return what is let through of a text that comes in pieces."""
    sieve, data, kept = Sieve(), text.encode(), b""
    while data:
        size = rng.randint(1, 30)
        kept += sieve.sift(data[:size])
        data = data[size:]
    return (kept + sieve.rest()).decode()


@pytest.mark.parametrize(
    ("text", "left"),
    [
        (OURS, OURS),
        (f"{OURS}\n{OURS}", f"{OURS}\n{OURS}"),
        (OURS + f"{NBC}\n" * 1000 + OURS, OURS + OURS),
        (
            OURS + CRASH + OURS,
            f"{OURS}dpcnn: process 31 on vm has crashed: Floating point exception\n{OURS}",
        ),
        (HYDRA + OURS, "\n" + OURS),
        (ENDED + OURS, OURS),
        (CANNOT + OURS, CANNOT + OURS),
        (CANNOT + ABORT + OURS + CANNOT + ABORT, CANNOT + OURS),
        (NBC * 1000 + OURS, OURS),
        (f"{PML}{INIT}{PML}{OURS}{INIT}" + "[vm][[7,1],0][a.c:4:f] failed\n" * 9, INIT_ONCE),
        ("[vm:7] OPAL ERROR: Unreachable\n" * 1000, "[vm:7] OPAL ERROR: Unreachable\n" * MOST),
        (
            "\rEpoch 1:  3%|# | 1/16 [00:01<00:02]\rEpoch 1: 6%",
            "\rEpoch 1:  3%|# | 1/16 [00:01<00:02]\rEpoch 1: 6%",
        ),
        (FRAME + "\nunended", FRAME + "\nunended"),
        ("[vm:7", "[vm:7"),
    ],
)
def test_only_what_tells_the_reader_something_is_let_through(text, left):
    for seed in range(20):
        assert sifted(text, random.Random(seed)) == left


def test_a_progress_bar_is_not_held_back():
    bar = b"\rEpoch 1:  3%|# | 1/16 [00:01<00:02]"
    assert Sieve().sift(bar) == bar
