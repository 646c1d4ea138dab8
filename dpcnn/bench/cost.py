"""How long a step takes on how many ranks, from what one rank and one message take.

Messages cost what they do in the model of Thakur, Rabenseifner and Gropp, "Optimization of
Collective Communication Operations in MPICH", International Journal of High Performance Computing
Applications 19(1), 2005: alpha + n beta for n bytes, alpha the latency in seconds, 1/beta the
bandwidth in bytes a second, and gamma a byte for adding. On p ranks an allreduce takes

    ring    2 (p - 1) alpha + 2 (p - 1)/p n beta + (p - 1)/p n gamma
    tree    2 ceil(lg p) (alpha + n beta) + ceil(lg p) n gamma    (reduce, then broadcast)

dpcnn's own is not among theirs: every rank sends to each at once, float64 up and float32 down, so
that latencies overlap, and what adds up is the work for each message and the bytes of a node. On
one node ranks read each other's vectors in shared memory instead (dpcnn/parallel/mpi.py).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from dpcnn.parallel.measure import DOWN, MEETINGS, UP, Link

SHARED_MEETINGS = 2  # of all ranks in an allreduce in shared memory


@dataclass(frozen=True)
class Work:
    """The seconds of a rank's own work: once a step, and for each of its micro-batches."""

    step: float
    microbatch: float


@dataclass(frozen=True)
class Node:
    """One machine, as measured on one rank, or on one a core that have nothing to do together.

    alone, busy: a rank's work where the other cores rest, and where all of them compute. cast:
    seconds that one rank takes instead of an allreduce. gamma: seconds to add a byte. copy:
    seconds a parameter that moving it through shared memory takes. meeting: seconds until two
    ranks have met. memory: what messages between ranks of the node go over.
    """

    cores: int
    alone: Work
    busy: Work
    cast: float
    gamma: float
    copy: float
    meeting: float
    memory: Link

    def work(self, ranks: int) -> Work:
        """Return a rank's work where so many ranks compute on the node at once."""
        others = min(ranks, self.cores) - 1
        share = others / (self.cores - 1) if others else 0.0
        return Work(
            self.alone.step + share * (self.busy.step - self.alone.step),
            self.alone.microbatch + share * (self.busy.microbatch - self.alone.microbatch),
        )

    def crowding(self, ranks: int) -> float:
        """Return how many ranks share a core."""
        return max(1.0, ranks / self.cores)


@dataclass(frozen=True)
class Task:
    """One step: the micro-batches in its minibatch, the last may be a part of one; parameters."""

    microbatches: float
    parameters: int

    @property
    def most_ranks(self) -> int:
        """How many ranks can have a micro-batch each."""
        return math.ceil(self.microbatches)


def compute(task: Task, node: Node, ranks: int, here: int) -> float:
    """Return the seconds in which the ranks, `here` of them on each node, do their own work.

    The busiest has the most micro-batches, which are never cut; with more ranks than cores the
    cores have to do the work of all.
    """
    work = node.work(here)
    busiest = min(task.microbatches, math.ceil(task.most_ranks / ranks))
    everyones = here * (work.step + task.microbatches / ranks * work.microbatch)
    return max(work.step + busiest * work.microbatch, everyones / node.cores)


def shared(task: Task, node: Node, ranks: int) -> float:
    """Return the seconds of dpcnn's allreduce by so many ranks of one node."""
    added = (ranks - 1) / ranks * task.parameters * UP * node.gamma
    once = SHARED_MEETINGS * (ranks - 1) * node.meeting + added + task.parameters * node.copy
    return once * node.crowding(ranks)


def direct(task: Task, node: Node, link: Link, ranks: int, here: int) -> float:
    """Return the seconds of dpcnn's allreduce by messages, `here` ranks sharing a node's link."""
    size = task.parameters * (UP + DOWN)
    meetings = MEETINGS * (link.latency + (ranks - 2) * node.memory.latency)
    outside = here * (ranks - here) / ranks * size / link.bandwidth
    inside = (here - 1) / ranks * size / node.memory.bandwidth
    return meetings + outside + inside + (ranks - 1) / ranks * task.parameters * UP * node.gamma


def ring(size: float, link: Link, gamma: float, ranks: int) -> float:
    """Return the seconds of a ring allreduce of so many bytes."""
    part = (ranks - 1) / ranks * size
    return 2 * (ranks - 1) * link.latency + 2 * part / link.bandwidth + part * gamma


def tree(size: float, link: Link, gamma: float, ranks: int) -> float:
    """Return the seconds of a reduce and a broadcast of so many bytes, in binomial trees."""
    levels = math.ceil(math.log2(ranks))
    return levels * (2 * (link.latency + size / link.bandwidth) + size * gamma)


@dataclass(frozen=True)
class Prediction:
    """A step on so many ranks and nodes: seconds to compute, and in all for each allreduce."""

    ranks: int
    nodes: int
    compute: float
    step: float
    ring: float
    tree: float


def on_node(task: Task, node: Node, ranks: int) -> float:
    """Return the seconds of a step on so many ranks of one node, which may be more than cores."""
    reduction = node.cast if ranks == 1 else shared(task, node, ranks)
    return compute(task, node, ranks, ranks) + reduction


def on_nodes(task: Task, node: Node, link: Link, ranks: int) -> Prediction:
    """Return the prediction for nodes like this one, a rank on each core, with this link."""
    here = min(ranks, node.cores)
    nodes = math.ceil(ranks / node.cores)
    own = compute(task, node, ranks, here)
    if ranks == 1:
        return Prediction(1, 1, own, *[own + node.cast] * 3)
    size = task.parameters * UP
    between = node.memory if nodes == 1 else link
    return Prediction(
        ranks,
        nodes,
        own,
        own + (shared(task, node, ranks) if nodes == 1 else direct(task, node, link, ranks, here)),
        own + ring(size, between, node.gamma, ranks),
        # The ranks of a node first, then one of each node.
        own + tree(size, node.memory, node.gamma, here) + tree(size, link, node.gamma, nodes),
    )


def best(task: Task, node: Node, link: Link) -> Prediction:
    """Return the prediction of the shortest step among all rank counts that have work."""
    every = (on_nodes(task, node, link, ranks) for ranks in range(1, task.most_ranks + 1))
    return min(every, key=lambda each: each.step)
