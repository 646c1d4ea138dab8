"""Whether the clocks of the hosts agree."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence

from dpcnn.doctor.finding import OK, WARNING, Finding, time_text
from dpcnn.parallel.communicator import Communicator

ROUNDS = 9
# Seconds; ranks leave an allgather milliseconds apart, on a busy host tenths of a second.
MOST = 1.0


def clocks(comm: Communicator) -> list[Finding]:
    """Compare the clocks of the hosts; collective."""
    times = []
    for _ in range(ROUNDS):
        comm.allgather(None)  # all leave it at about the same moment
        times.append(comm.allgather(time.time()))
    ahead = [statistics.median(each[rank] - each[0] for each in times) for rank in range(comm.size)]
    return compared(comm.hosts, ahead)


def compared(hosts: Sequence[str], ahead: Sequence[float]) -> list[Finding]:
    """Compare the clocks of the ranks' hosts, which are so many seconds ahead of rank 0's."""
    by_host = dict(zip(reversed(hosts), reversed(ahead), strict=True))  # of its first rank
    if len(by_host) == 1:
        return [Finding(OK, "one host, one clock")]
    wrong = [
        f"{host} is {time_text(abs(seconds))} {'ahead of' if seconds > 0 else 'behind'} {hosts[0]}"
        for host, seconds in reversed(by_host.items())
        if abs(seconds) > MOST
    ]
    if not wrong:
        apart = max(by_host.values()) - min(by_host.values())
        return [Finding(OK, f"{len(by_host)} hosts, {time_text(apart)} apart or less")]
    text = f"{', '.join(wrong)}: the times of events and files do not compare"
    return [Finding(WARNING, text, "let chrony or another NTP service set the clock of every host")]
