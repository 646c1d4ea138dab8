"""What the facts of all ranks say: pure functions from facts to findings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from itertools import chain

from dpcnn.doctor.facts import Facts
from dpcnn.doctor.finding import FAILURE, OK, WARNING, Finding

MEGABYTE = 1 << 20
# MPI libraries keep the messages of a node's ranks there. Four ranks of MPICH 5.0.2 took 5 MB each
# and died where there were 16 MB in all; Open MPI 5.0.11 makes a file of 16 MB a rank.
SHARED_A_RANK = 16 * MEGABYTE


def ranks(everyone: Sequence[Facts]) -> list[Finding]:
    """Say how many ranks there are, and where."""
    hosts = [each["host"] for each in everyone]
    where = ", ".join(f"{hosts.count(host)} on {host}" for host in dict.fromkeys(hosts))
    return [Finding(OK, f"{len(everyone)}: {where}")]


def cpus(everyone: Sequence[Facts]) -> list[Finding]:
    """Compare the kinds of CPU, and those that BLAS has taken its kernels for."""
    words = _groups(everyone, _cpu)
    if len(words) == 1:
        return [Finding(OK, next(iter(words)))]
    return [
        Finding(
            WARNING,
            f"{_listed(words)}: of different kinds, the bits of a result are not those of a run on"
            " one kind",
            "where the same bits matter, use hosts of one kind",
        )
    ]


def packages(everyone: Sequence[Facts]) -> list[Finding]:
    """Compare the versions of Python, dpcnn and what it uses; name each that differs."""
    findings = []
    for name in dict.fromkeys(chain.from_iterable(map(_versions, everyone))):
        words = _groups(everyone, partial(_version, name))
        if len(words) > 1:
            cure = f"install the same on every host, such as {next(iter(words))} of rank 0"
            findings.append(Finding(FAILURE, _listed(words), cure))
    return findings or [Finding(OK, ", ".join(map(" ".join, _versions(everyone[0]).items())))]


def cores(everyone: Sequence[Facts]) -> list[Finding]:
    """Compare the threads of each rank with the cores it may use, and of each host with its."""
    findings = []
    for each in everyone:
        bound, threads = len(each["bound"]), each["blas_threads"]
        if threads > bound:
            findings.append(
                Finding(
                    FAILURE,
                    f"{_rank(each)}: {threads} BLAS threads on {_cores(bound)}",
                    "--threads 1, or as many cores a rank: mpirun --bind-to none, or"
                    f" srun --cpus-per-task={threads}",
                )
            )
    for host in dict.fromkeys(each["host"] for each in everyone):
        findings += _host_cores(host, [each for each in everyone if each["host"] == host])
    return findings


def _host_cores(host: str, there: Sequence[Facts]) -> list[Finding]:
    """Say whether the ranks of a host get in each other's way."""
    threads = sum(each["blas_threads"] for each in there)
    bound = set(chain.from_iterable(each["bound"] for each in there))
    usable = min(len(bound), there[0]["quota"] or len(bound))
    what = f"{host}: {_number(threads, 'thread')} of {_number(len(there), 'rank')} on"
    what = f"{what} {_cores(usable)}"
    if threads <= usable:
        return [Finding(OK, what)]
    idle = there[0]["host_cores"] - len(bound)
    if usable < len(bound):
        cure = f"start fewer ranks: its container may use {usable:g} of {len(bound)} cores"
    elif idle and len(there) > 1:
        cure = f"bind each rank to cores of its own: the ranks leave {_cores(idle)} idle"
    else:
        cure = f"start no more than {_number(len(bound), 'rank')} of one thread on {host}"
    return [Finding(WARNING, f"{what}, which take turns", cure)]


def blas(everyone: Sequence[Facts]) -> list[Finding]:
    """Compare the BLAS of the ranks and say how many threads it uses."""
    words = _groups(everyone, lambda each: f"{each['blas']['name']} {each['blas']['version']}")
    asked = max(each["blas_threads"] for each in everyone)
    threads = f"{_number(asked, 'thread')} a rank"
    if len(words) > 1:
        cure = "install the same NumPy on every host"
        return [Finding(FAILURE, f"{_listed(words)}: the bits differ", cure)]
    what = f"{next(iter(words))}, {threads}"
    others = [each for each in everyone if each["blas"]["threads"] not in (None, asked)]
    if others:
        used = others[0]["blas"]["threads"]
        cure = "give every rank as many cores as threads, and all ranks the same environment"
        return [Finding(WARNING, f"{what}, but {used} on {_rank(others[0])}", cure)]
    if asked > 1:
        cure = "--threads 1, or --reduce fast, which promises no bits"
        return [Finding(WARNING, f"{what}: the bits may differ from those of one", cure)]
    return [Finding(OK, what)]


def shared_memory(everyone: Sequence[Facts]) -> list[Finding]:
    """Say whether the ranks of each host have room for the messages between them."""
    findings = []
    for host in dict.fromkeys(each["host"] for each in everyone):
        there = [each for each in everyone if each["host"] == host]
        size, needed = there[0]["shared_memory"], len(there) * SHARED_A_RANK
        if len(there) == 1:
            needed = 0
        cure = "start the container with more, such as --shm-size=1g"
        if size is None:
            state = FAILURE if needed else OK
            findings.append(Finding(state, f"{host}: none in /dev/shm", cure if needed else ""))
        elif size < needed:
            what = f"{host}: {size_in_words(size)} in /dev/shm for {len(there)} ranks, expected"
            findings.append(Finding(WARNING, f"{what} {size_in_words(needed)}", cure))
        else:
            findings.append(Finding(OK, f"{host}: {size_in_words(size)} in /dev/shm"))
    return findings


def _cpu(each: Facts) -> str:
    kernels = each["blas"]["kernels"]
    return f"{each['cpu']}, BLAS kernels for {kernels}" if kernels else str(each["cpu"])


def _versions(each: Facts) -> dict[str, str]:
    """Return what has to be the same for all ranks, by name."""
    packages: dict[str, str] = each["packages"]
    own = {"python": each["python"], "dpcnn": each["dpcnn"], "dpcnn's files": each["code"]}
    return own | packages


def _version(name: str, each: Facts) -> str:
    return f"{name} {_versions(each).get(name, 'none')}"


def _groups(everyone: Sequence[Facts], words: Callable[[Facts], str]) -> dict[str, str]:
    """Return the words of each rank with where they hold: on hosts, or on ranks of a split host."""
    found: dict[str, list[Facts]] = {}
    for each in everyone:
        found.setdefault(words(each), []).append(each)
    kinds = Counter(host for group in found.values() for host in {each["host"] for each in group})
    return {
        key: ", ".join(
            dict.fromkeys(
                _rank(each) if kinds[each["host"]] > 1 else each["host"] for each in group
            )
        )
        for key, group in found.items()
    }


def _listed(words: dict[str, str]) -> str:
    return "; ".join(f"{what} on {where}" for what, where in words.items())


def _rank(each: Facts) -> str:
    return f"rank {each['rank']} on {each['host']}"


def _number(count: int, noun: str) -> str:
    return f"{count} {noun}{'s' * (count != 1)}"


def _cores(count: float) -> str:
    return f"{count:g} core{'s' * (count != 1)}"


def size_in_words(size: float) -> str:
    """Return a number of bytes in words."""
    for unit in ("bytes", "KB", "MB", "GB"):
        if size < 1024:
            return f"{size:.3g} {unit}"
        size /= 1024
    return f"{size:.3g} TB"
