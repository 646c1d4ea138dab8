"""The cost model: predicts the seconds of a step on many ranks from those of a rank and a message.

Messages follow the model of Thakur, Rabenseifner and Gropp, "Optimization of Collective
Communication Operations in MPICH", International Journal of High Performance Computing
Applications 19(1), 2005: a message of n bytes takes alpha + n beta, where alpha is the latency in
seconds and 1/beta the bandwidth in bytes per second; adding takes gamma per byte. An allreduce on
p ranks takes

    ring    2 (p - 1) alpha + 2 (p - 1)/p n beta + (p - 1)/p n gamma
    tree    2 ceil(lg p) (alpha + n beta) + ceil(lg p) n gamma    (reduce, then broadcast)

dpcnn's allreduce is neither: every rank sends to all others at once, float64 to be summed and
float32 back, so that latencies overlap; what adds up is the work per message and the bytes that
cross a node's link. On one node, ranks read each other's vectors in shared memory instead
(dpcnn/parallel/mpi.py).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from dpcnn.parallel.measure import DOWN, MEETINGS, UP, Link

SHARED_MEETINGS = 2  # times that all ranks meet in an allreduce in shared memory


@dataclass(frozen=True)
class Work:
    """The seconds that a rank computes: once per step, and for each of its micro-batches."""

    step: float
    microbatch: float


@dataclass(frozen=True)
class Node:
    """One machine, measured with one rank and with independent ranks on all cores.

    alone, busy: a rank's work while the other cores are idle, and while all of them compute. cast:
    seconds that a single rank needs in place of an allreduce. gamma: seconds to add a byte. copy:
    seconds to move one parameter through shared memory. meeting: seconds for two ranks to meet.
    memory: the link between ranks of the node that send messages.
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
        """Return a rank's work while this many ranks compute on the node."""
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
    """One step: micro-batches in its minibatch (a fraction if the last is smaller), parameters."""

    microbatches: float
    parameters: int

    @property
    def most_ranks(self) -> int:
        """The number of ranks that can have a micro-batch each."""
        return math.ceil(self.microbatches)


def compute(task: Task, node: Node, ranks: int, ranks_per_node: int) -> float:
    """Return the seconds of a step's computing, on the slowest rank.

    Micro-batches are never split, so the busiest rank has the most of them. With more ranks than
    cores, a node's cores share the work of all its ranks.
    """
    work = node.work(ranks_per_node)
    busiest = min(task.microbatches, math.ceil(task.most_ranks / ranks))
    work_of_node = ranks_per_node * (work.step + task.microbatches / ranks * work.microbatch)
    return max(work.step + busiest * work.microbatch, work_of_node / node.cores)


def shared(task: Task, node: Node, ranks: int) -> float:
    """Return the seconds of dpcnn's allreduce on this many ranks of one node."""
    meetings = SHARED_MEETINGS * (ranks - 1) * node.meeting
    adding = (ranks - 1) / ranks * task.parameters * UP * node.gamma
    return (meetings + adding + task.parameters * node.copy) * node.crowding(ranks)


def direct(task: Task, node: Node, link: Link, ranks: int, ranks_per_node: int) -> float:
    """Return the seconds of dpcnn's allreduce by messages; a node's ranks share its link."""
    size = task.parameters * (UP + DOWN)
    meetings = MEETINGS * (link.latency + (ranks - 2) * node.memory.latency)
    outside = ranks_per_node * (ranks - ranks_per_node) / ranks * size / link.bandwidth
    inside = (ranks_per_node - 1) / ranks * size / node.memory.bandwidth
    adding = (ranks - 1) / ranks * task.parameters * UP * node.gamma
    return meetings + outside + inside + adding


def ring(size: float, link: Link, gamma: float, ranks: int) -> float:
    """Return the seconds of a ring allreduce of `size` bytes."""
    part = (ranks - 1) / ranks * size
    return 2 * (ranks - 1) * link.latency + 2 * part / link.bandwidth + part * gamma


def tree(size: float, link: Link, gamma: float, ranks: int) -> float:
    """Return the seconds of a reduce and a broadcast of `size` bytes, in binomial trees."""
    levels = math.ceil(math.log2(ranks))
    return levels * (2 * (link.latency + size / link.bandwidth) + size * gamma)


@dataclass(frozen=True)
class Prediction:
    """Seconds of a step on these ranks and nodes.

    compute: of its computing alone. step: of the whole step with dpcnn's allreduce. ring, tree:
    of the whole step with those allreduces instead.
    """

    ranks: int
    nodes: int
    compute: float
    step: float
    ring: float
    tree: float


def on_node(task: Task, node: Node, ranks: int) -> float:
    """Return the seconds of a step on this many ranks of one node, which may exceed its cores."""
    reduction = node.cast if ranks == 1 else shared(task, node, ranks)
    return compute(task, node, ranks, ranks) + reduction


def on_nodes(task: Task, node: Node, link: Link, ranks: int) -> Prediction:
    """Return the prediction for nodes like this one, with this link and a rank on each core."""
    per_node = min(ranks, node.cores)
    nodes = math.ceil(ranks / node.cores)
    computing = compute(task, node, ranks, per_node)
    if ranks == 1:
        return Prediction(1, 1, computing, *[computing + node.cast] * 3)
    size = task.parameters * UP
    if nodes == 1:
        ring_link, reduction = node.memory, shared(task, node, ranks)
    else:
        ring_link, reduction = link, direct(task, node, link, ranks, per_node)
    # A tree first joins the ranks of each node, then one rank of each.
    inside = computing + tree(size, node.memory, node.gamma, per_node)
    return Prediction(
        ranks,
        nodes,
        compute=computing,
        step=computing + reduction,
        ring=computing + ring(size, ring_link, node.gamma, ranks),
        tree=inside + tree(size, link, node.gamma, nodes),
    )


def best(task: Task, node: Node, link: Link) -> Prediction:
    """Return the prediction with the shortest step, over all numbers of ranks that have work."""
    predictions = (on_nodes(task, node, link, ranks) for ranks in range(1, task.most_ranks + 1))
    return min(predictions, key=lambda prediction: prediction.step)
