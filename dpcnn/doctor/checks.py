"""What the inventories of all ranks say: pure functions from inventories to findings."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import chain

from dpcnn.doctor.finding import FAILURE, OK, WARNING, Finding, count_text, size_text
from dpcnn.doctor.inventory import Inventory

# Bytes of /dev/shm that an MPI library may need for the messages of one rank. Four ranks of MPICH
# 5.0.2 took 5 MB each and died where there were 16 MB in all; Open MPI 5.0.11 makes a file of
# 16 MB a rank.
SHARED_PER_RANK = 16 << 20
# Open files of a rank: its own and the libraries' while it starts, and a connection to each other
# rank; mpirun has four for each rank that it starts.
OPEN_FILES, OPEN_PER_RANK = 128, 4
ADDRESSES = 4 << 30  # bytes of address space: NumPy, BLAS and MPI map 1 GB before any work


def placement(ranks: Sequence[Inventory]) -> list[Finding]:
    """Say how many ranks there are, and where."""
    counts = ", ".join(f"{len(there)} on {host}" for host, there in _by_host(ranks).items())
    return [Finding(OK, f"{len(ranks)}: {counts}")]


def cpus(ranks: Sequence[Inventory]) -> list[Finding]:
    """Compare the kinds of CPU, and the kinds that BLAS has chosen its kernels for."""
    places = _places(ranks, _cpu)
    if len(places) == 1:
        return [Finding(OK, next(iter(places)))]
    text = f"{_listed(places)}: the kinds of CPU differ, so the bits of a result may too"
    return [Finding(WARNING, text, "where the same bits matter, use hosts of one kind")]


def packages(ranks: Sequence[Inventory]) -> list[Finding]:
    """Compare the versions of Python, dpcnn and what it uses; name each that differs."""
    findings = []
    for name in dict.fromkeys(chain.from_iterable(map(_versions, ranks))):
        places = _places(ranks, partial(_version, name))
        if len(places) > 1:
            cure = f"install the same on every host, such as {next(iter(places))} of rank 0"
            findings.append(Finding(FAILURE, _listed(places), cure))
    return findings or [Finding(OK, ", ".join(map(" ".join, _versions(ranks[0]).items())))]


def cores(ranks: Sequence[Inventory]) -> list[Finding]:
    """Compare the threads of each rank, and of each host, with the cores they may use."""
    findings = []
    for rank in ranks:
        bound = len(rank["bound"])
        threads = rank["blas_threads"]
        if threads > bound:
            text = f"{_name(rank)}: {threads} BLAS threads on {count_text(bound, 'core')}"
            cure = "--threads 1, or as many cores per rank: mpirun --bind-to none, or"
            findings.append(Finding(FAILURE, text, f"{cure} srun --cpus-per-task={threads}"))
    return findings + [_host_cores(host, there) for host, there in _by_host(ranks).items()]


def _host_cores(host: str, ranks: Sequence[Inventory]) -> Finding:
    """Say whether the ranks of a host get in each other's way."""
    threads = sum(rank["blas_threads"] for rank in ranks)
    bound = len(set(chain.from_iterable(rank["bound"] for rank in ranks)))
    usable = min(bound, ranks[0]["quota"] or bound)
    text = f"{count_text(threads, 'thread')} of {count_text(len(ranks), 'rank')}"
    text = f"{host}: {text} on {count_text(usable, 'core')}"
    if threads <= usable:
        return Finding(OK, text)
    idle = ranks[0]["host_cores"] - bound
    if usable < bound:
        cure = f"start fewer ranks: the container may use {usable:g} of {bound} cores"
    elif idle and len(ranks) > 1:
        cure = f"bind each rank to cores of its own: {count_text(idle, 'core')} of {host} stay idle"
    else:
        cure = f"start at most {count_text(bound, 'rank')} of one thread on {host}"
    return Finding(WARNING, f"{text}, which they have to share", cure)


def blas(ranks: Sequence[Inventory]) -> list[Finding]:
    """Compare the BLAS libraries of the ranks, and the threads they use with those asked for."""
    places = _places(ranks, lambda rank: f"{rank['blas']['name']} {rank['blas']['version']}")
    if len(places) > 1:
        text = f"{_listed(places)}: the bits of a result differ"
        return [Finding(FAILURE, text, "install the same NumPy on every host")]
    threads = max(rank["blas_threads"] for rank in ranks)
    text = f"{next(iter(places))}, {count_text(threads, 'thread')} per rank"
    others = [rank for rank in ranks if rank["blas"]["threads"] not in (None, threads)]
    if others:
        text = f"{text}, but {others[0]['blas']['threads']} on {_name(others[0])}"
        cure = "give every rank as many cores as threads, and all ranks the same environment"
        return [Finding(WARNING, text, cure)]
    if threads > 1:
        cure = "--threads 1, or --reduce fast, which does not promise the same bits"
        return [Finding(WARNING, f"{text}: the bits may differ from those of one thread", cure)]
    return [Finding(OK, text)]


def shared_memory(ranks: Sequence[Inventory]) -> list[Finding]:
    """Say whether the ranks of each host have room for the messages between them."""
    return [_host_memory(host, there) for host, there in _by_host(ranks).items()]


def _host_memory(host: str, ranks: Sequence[Inventory]) -> Finding:
    size = ranks[0]["shared_memory"]
    needed = len(ranks) * SHARED_PER_RANK if len(ranks) > 1 else 0
    cure = "start the container with more, such as --shm-size=1g"
    if size is None:
        text = f"{host}: no /dev/shm"
        return Finding(FAILURE, text, cure) if needed else Finding(OK, text)
    text = f"{host}: {size_text(size)} in /dev/shm"
    if size >= needed:
        return Finding(OK, text)
    text = f"{text} for {len(ranks)} ranks, expected {size_text(needed)}"
    return Finding(WARNING, text, cure)


def limits(ranks: Sequence[Inventory]) -> list[Finding]:
    """Compare the limits of each host's processes with what ranks need."""
    return [_host_limits(host, there, len(ranks)) for host, there in _by_host(ranks).items()]


def _host_limits(host: str, ranks: Sequence[Inventory], size: int) -> Finding:
    found = ranks[0]["limits"]
    files, locked, memory = found["open_files"], found["locked_memory"], found["memory"]
    needed = OPEN_FILES + OPEN_PER_RANK * size
    text = f"{host}: {'any number of' if files is None else f'{files:,}'} open files, "
    text += f"{_limited(locked)} locked memory, {_limited(memory)} address space"
    cures = []
    if files is not None and files < needed:
        cures.append(f"ulimit -n {needed} (open files)")
    if locked is not None and ranks[0]["infiniband"]:
        cures.append("ulimit -l unlimited (locked memory, which InfiniBand needs)")
    if memory is not None and memory < ADDRESSES:
        cures.append("ulimit -v unlimited (address space)")
    if not cures:
        return Finding(OK, text)
    cure = f"{', '.join(cures)}, before the ranks start or in /etc/security/limits.conf"
    return Finding(WARNING, f"{text}, too little for {count_text(size, 'rank')}", cure)


def _limited(size: int | None) -> str:
    return "unlimited" if size is None else f"{size_text(size)} of"


def numa(ranks: Sequence[Inventory]) -> list[Finding]:
    """Say whether ranks may move away from their memory, on hosts whose cores have some nearer."""
    return [_host_numa(host, there) for host, there in _by_host(ranks).items()]


def _host_numa(host: str, ranks: Sequence[Inventory]) -> Finding:
    nodes = [set(node) for node in ranks[0]["numa_nodes"]]
    roaming = [
        rank for rank in ranks if sum(bool(node.intersection(rank["bound"])) for node in nodes) > 1
    ]
    text = f"{host}: {count_text(max(1, len(nodes)), 'NUMA node')}"
    if not roaming or len(ranks) == 1:
        return Finding(OK, text)
    text = f"{text}, and {count_text(len(roaming), 'rank')} may move from one to another"
    cure = "bind each rank to cores near its memory: mpirun --bind-to core (Open MPI), mpirun"
    return Finding(WARNING, text, f"{cure} -bind-to core (MPICH), or srun --cpu-bind=cores")


def _cpu(rank: Inventory) -> str:
    kernels = rank["blas"]["kernels"]
    return f"{rank['cpu']}, BLAS kernels for {kernels}" if kernels else str(rank["cpu"])


def _versions(rank: Inventory) -> dict[str, str]:
    """Return what has to be the same for all ranks, by name."""
    code = {"python": rank["python"], "dpcnn": rank["dpcnn"], "dpcnn's files": rank["code"]}
    return code | dict(rank["packages"])


def _version(name: str, rank: Inventory) -> str:
    return f"{name} {_versions(rank).get(name, 'none')}"


def _by_host(ranks: Sequence[Inventory]) -> dict[str, list[Inventory]]:
    """Return the ranks of each host."""
    hosts: dict[str, list[Inventory]] = {}
    for rank in ranks:
        hosts.setdefault(rank["host"], []).append(rank)
    return hosts


def _places(ranks: Sequence[Inventory], text: Callable[[Inventory], str]) -> dict[str, str]:
    """Return where each text holds: the hosts, or the ranks of a host that has several texts."""
    of_host = {host: set(map(text, there)) for host, there in _by_host(ranks).items()}
    places: dict[str, dict[str, None]] = {}
    for rank in ranks:
        place = _name(rank) if len(of_host[rank["host"]]) > 1 else rank["host"]
        places.setdefault(text(rank), {})[place] = None
    return {key: ", ".join(names) for key, names in places.items()}


def _listed(places: dict[str, str]) -> str:
    return "; ".join(f"{text} on {where}" for text, where in places.items())


def _name(rank: Inventory) -> str:
    return f"rank {rank['rank']} on {rank['host']}"
