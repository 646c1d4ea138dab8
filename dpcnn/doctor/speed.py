"""How fast the ranks add a vector together, and make a step."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from dpcnn.bench.messages import allreduce_seconds
from dpcnn.bench.worker import clock, make_trainer, options_for
from dpcnn.doctor.checks import size_in_words
from dpcnn.doctor.finding import OK, WARNING, Finding

if TYPE_CHECKING:
    from dpcnn.parallel.communicator import Communicator

LENGTHS = (1, 1 << 10, 1 << 14, 185_930, 1 << 20)  # float64; 185,930 is the tutorial's gradient
REPEATS = 15
MINIBATCH = 64  # the tutorial's, or a micro-batch a rank
STEPS = 20
TALKING = 0.5  # share of a step beyond which the ranks talk more than they compute
SLOW = 1.5  # times the fastest rank's time to compute


def allreduce(comm: Communicator) -> list[Finding]:
    """Measure the allreduce against the size of its vector; collective."""
    if comm.size == 1:
        return [Finding(OK, "none, with one rank")]
    seconds = [allreduce_seconds(comm, length, True, REPEATS) for length in LENGTHS]
    words = [
        f"{size_in_words(length * 8)} {each * 1e6:,.0f} us"
        for length, each in zip(LENGTHS, seconds, strict=True)
    ]
    bandwidth = (LENGTHS[-1] - LENGTHS[0]) * 8 / (seconds[-1] - seconds[0])
    return [Finding(OK, f"{', '.join(words)} ({bandwidth / 1e9:.2g} GB/s)")]


def message(comm: Communicator) -> list[Finding]:
    """Measure what a message between two ranks takes, as the prediction wants to know it."""
    from dpcnn.bench.model import measured_link

    if comm.size != 2:  # more share a host's link, or take each other's cores
        return []
    sizes = LENGTHS[0], LENGTHS[-1]
    sent = [allreduce_seconds(comm, length, False, REPEATS) for length in sizes]
    link = measured_link(sizes, (sent[0], sent[1]), comm.size, gamma=0.0)
    return [
        Finding(
            OK,
            f"between the two ranks: {link.latency * 1e6:.2g} us and"
            f" {link.bandwidth / 1e9:.2g} GB/s (to predict steps on such a network: python -m"
            f" dpcnn.bench --predict N --latency {link.latency * 1e6:.2g}"
            f" --bandwidth {link.bandwidth / 1e9:.2g})",
        )
    ]


def step(comm: Communicator) -> list[Finding]:
    """Time the steps of the tutorial's network on the built-in digits; collective."""
    from dpcnn.data.dataset import Dataset, Images
    from dpcnn.data.sampler import AUTO_MICROBATCH
    from dpcnn.data.sources import synthetic

    share = AUTO_MICROBATCH * comm.size  # so that every rank has as much to do
    minibatch = share * math.ceil(MINIBATCH / share)
    images, labels = synthetic.draw(minibatch, seed=0)
    drawn = Images(images[:, None], labels)
    options = options_for(minibatch)
    figures = clock(make_trainer(options, Dataset(drawn, drawn, "digits"), comm), STEPS)
    everyones = comm.allgather(figures)
    computing = [each["compute_seconds"] for each in everyones]
    seconds = everyones[0]["step_seconds"]
    talking = 1 - sum(each["compute_share"] for each in everyones) / comm.size
    what = (
        f"{seconds * 1e3:.2f} ms at minibatch {minibatch}, {minibatch / seconds:,.0f} images/s;"
        f" {1 - talking:.0%} of it computing"
    )
    slowest = max(range(comm.size), key=computing.__getitem__)
    fastest = min(range(comm.size), key=computing.__getitem__)
    findings = [Finding(OK, what)]
    if talking > TALKING:
        cure = "a larger --minibatch_size or fewer ranks: see python -m dpcnn.bench --predict"
        findings = [Finding(WARNING, what, cure)]
    if computing[slowest] > SLOW * computing[fastest]:
        times = computing[slowest] / computing[fastest]
        what = f"{comm.members[slowest]} computes {times:.1f} times as long as"
        cure = "see what else runs there, and whether ranks share its cores: all wait for it"
        findings.append(Finding(WARNING, f"{what} {comm.members[fastest]}", cure))
    return findings
