"""The cost model: the paper's formulas, whole micro-batches, shared cores."""

from __future__ import annotations

import math

import numpy as np
import pytest

from dpcnn.bench import cost
from dpcnn.bench.calibration import FEW, LONG, MANY, SHORT
from dpcnn.bench.cost import Node, Task, Work
from dpcnn.bench.prediction import MICROBATCH, measured_node
from dpcnn.data import sampler
from dpcnn.parallel.measure import Link

ALPHA, BANDWIDTH, GAMMA = 1e-5, 1e9, 1e-10
LINK = Link(ALPHA, BANDWIDTH)
PARAMETERS = 1000
NODE = Node(
    cores=2,
    alone=Work(step=1e-4, microbatch=1e-3),
    busy=Work(step=2e-4, microbatch=1.5e-3),
    cast=5e-5,
    gamma=GAMMA,
    copy=2e-9,
    meeting=1e-5,
    memory=Link(2e-6, 5e9),
)
TASK = Task(microbatches=4, parameters=PARAMETERS)


def close(value: float) -> object:
    return pytest.approx(value, rel=1e-12)


def test_micro_batches_are_those_of_training() -> None:
    assert MICROBATCH == sampler.AUTO_MICROBATCH


@pytest.mark.parametrize("ranks", [1, 2, 3, 4, 7])
@pytest.mark.parametrize("minibatch", [64, 100, 1024])
def test_the_busiest_rank_has_the_longest_shard_of_the_sampler(minibatch: int, ranks: int) -> None:
    images = np.arange(minibatch)
    longest = max(len(sampler.shard(images, MICROBATCH, rank, ranks)) for rank in range(ranks))
    task = Task(minibatch / MICROBATCH, PARAMETERS)
    many = Node(64, *[Work(0.0, 1.0)] * 2, cast=0, gamma=0, copy=0, meeting=0, memory=LINK)
    assert cost.compute(task, many, ranks, ranks) == close(min(longest, minibatch / MICROBATCH))


def test_the_ring_costs_what_the_paper_says() -> None:
    expected = 2 * 3 * ALPHA + 2 * 3 / 4 * 8000 / BANDWIDTH + 3 / 4 * 8000 * GAMMA
    assert cost.ring(8000, LINK, GAMMA, 4) == close(expected)


@pytest.mark.parametrize(("ranks", "levels"), [(1, 0), (2, 1), (4, 2), (5, 3), (8, 3)])
def test_the_tree_costs_what_the_paper_says(ranks: int, levels: int) -> None:
    expected = levels * (2 * (ALPHA + 8000 / BANDWIDTH) + 8000 * GAMMA)
    assert cost.tree(8000, LINK, GAMMA, ranks) == close(expected)


def test_messages_of_two_ranks_carry_float64_up_and_float32_down() -> None:
    half = PARAMETERS / 2
    expected = 3 * ALPHA + half * (8 + 4) / BANDWIDTH + half * 8 * GAMMA
    assert cost.direct(TASK, NODE, LINK, 2, ranks_per_node=1) == close(expected)


def test_the_ranks_of_a_node_share_its_link_and_latencies_overlap() -> None:
    latency = 3 * (ALPHA + 2 * NODE.memory.latency)
    outside = 2 * 2 / 4 * PARAMETERS * 12 / BANDWIDTH
    inside = 1 / 4 * PARAMETERS * 12 / NODE.memory.bandwidth
    expected = latency + outside + inside + 3 / 4 * PARAMETERS * 8 * GAMMA
    assert cost.direct(TASK, NODE, LINK, 4, ranks_per_node=2) == close(expected)


def test_one_rank_computes_all_and_sends_nothing() -> None:
    assert cost.on_node(TASK, NODE, 1) == close(1e-4 + 4 * 1e-3 + 5e-5)
    assert cost.on_nodes(TASK, NODE, LINK, 1).step == cost.on_node(TASK, NODE, 1)


def test_two_ranks_compute_half_each_at_the_speed_of_busy_cores() -> None:
    shared = 2 * 1e-5 + PARAMETERS * (8 * GAMMA / 2 + 2e-9)
    assert cost.on_node(TASK, NODE, 2) == close(2e-4 + 2 * 1.5e-3 + shared)


def test_four_ranks_on_two_cores_take_turns() -> None:
    shared = 2 * (2 * 3 * 1e-5 + PARAMETERS * (8 * GAMMA * 3 / 4 + 2e-9))
    assert cost.on_node(TASK, NODE, 4) == close(2 * (2e-4 + 1.5e-3) + shared)


def test_each_further_busy_core_slows_a_rank_by_its_share() -> None:
    wide = Node(5, NODE.alone, NODE.busy, 0, 0, 0, 0, NODE.memory)
    assert [wide.work(ranks).microbatch for ranks in (1, 2, 3, 5, 9)] == [
        close(seconds) for seconds in (1e-3, 1.125e-3, 1.25e-3, 1.5e-3, 1.5e-3)
    ]


def test_ranks_fill_nodes_one_per_core() -> None:
    assert [cost.on_nodes(TASK, NODE, LINK, n).nodes for n in (1, 2, 3, 4)] == [1, 1, 2, 2]


def test_the_best_has_the_shortest_step_and_no_rank_without_work() -> None:
    task = Task(16, PARAMETERS)
    predictions = [cost.on_nodes(task, NODE, LINK, ranks) for ranks in range(1, 17)]
    assert cost.best(task, NODE, LINK).step == min(prediction.step for prediction in predictions)
    assert cost.best(task, NODE, Link(10.0, BANDWIDTH)).nodes == 1
    free = Node(1, *[Work(0.0, 1.0)] * 2, 0, 0, 0, 0, Link(0.0, math.inf))
    assert cost.best(task, free, free.memory).ranks == 16


def test_a_node_is_recovered_from_the_figures_predicted_for_it() -> None:
    """Calibration figures computed from a node lead back to that node."""

    def figures(work: Work) -> dict[str, float]:
        return {
            "few_seconds": work.step + FEW * work.microbatch,
            "many_seconds": work.step + MANY * work.microbatch,
            "cast_seconds": NODE.cast,
            "adding_seconds": LONG * 8 * NODE.gamma,
        } | {
            f"{way}_{name}_seconds": seconds(Task(1, length))
            for name, length in (("short", SHORT), ("long", LONG))
            for way, seconds in (
                ("shared", lambda task: cost.shared(task, NODE, 2)),
                ("sent", lambda task: cost.direct(task, NODE, NODE.memory, 2, ranks_per_node=1)),
            )
        }

    node = measured_node(figures(NODE.alone), figures(NODE.busy), ranks=2, cores=2)
    for name in ("copy", "meeting", "gamma", "cast"):
        assert getattr(node, name) == pytest.approx(getattr(NODE, name), rel=1e-2), name
    for name in ("alone", "busy"):
        assert getattr(node, name).step == pytest.approx(getattr(NODE, name).step)
        assert getattr(node, name).microbatch == pytest.approx(getattr(NODE, name).microbatch)
    assert node.memory.latency == pytest.approx(NODE.memory.latency, rel=0.1)
    assert node.memory.bandwidth == pytest.approx(NODE.memory.bandwidth, rel=1e-2)
