"""How fast the ranks add up a vector, and make a step."""

from __future__ import annotations

import math

from dpcnn.data.dataset import Dataset, Images
from dpcnn.data.sampler import AUTO_MICROBATCH
from dpcnn.data.sources import synthetic
from dpcnn.doctor.finding import OK, WARNING, Finding, size_text, time_text
from dpcnn.parallel.communicator import Communicator
from dpcnn.parallel.measure import allreduce_seconds, measured_link
from dpcnn.training.measure import options_for, silent_trainer, time_steps

LENGTHS = (1, 1 << 10, 1 << 14, 185_930, 1 << 20)  # float64; 185,930 is the tutorial's gradient
REPEATS = 15
MINIBATCH = 64  # the tutorial's; more ranks than it has micro-batches get one each
STEPS = 20
SECONDS = 5.0  # to spend on them at most, where that leaves a few: a step may take seconds
MOSTLY = 0.5  # share of a step below which computing is too little of it
SLOW = 1.5  # times the fastest rank's time to compute


def allreduce(comm: Communicator) -> list[Finding]:
    """Measure how long an allreduce takes, by the size of its vector; collective."""
    if comm.size == 1:
        return [Finding(OK, "none, with one rank")]
    seconds = [allreduce_seconds(comm, length, True, REPEATS) for length in LENGTHS]
    times = (
        f"{size_text(length * 8)} in {time_text(time)}"
        for length, time in zip(LENGTHS, seconds, strict=True)
    )
    bandwidth = (LENGTHS[-1] - LENGTHS[0]) * 8 / (seconds[-1] - seconds[0])
    return [Finding(OK, f"{', '.join(times)} ({bandwidth / 1e6:,.0f} MB/s)")]


def message(comm: Communicator) -> list[Finding]:
    """Measure latency and bandwidth between two ranks, as the prediction of bench takes them."""
    if comm.size != 2:  # more ranks share the link of a host, or each other's cores
        return []
    short, long = LENGTHS[0], LENGTHS[-1]
    seconds = (
        allreduce_seconds(comm, short, False, REPEATS),
        allreduce_seconds(comm, long, False, REPEATS),
    )
    link = measured_link((short, long), seconds, comm.size, gamma=0.0)
    given = f"--latency {link.latency * 1e6:.2g} --bandwidth {link.bandwidth / 1e9:.2g}"
    predict = f"python -m dpcnn.bench --predict N {given}"
    text = f"{time_text(link.latency)} and {link.bandwidth / 1e6:,.0f} MB/s between the two ranks"
    return [Finding(OK, f"{text} (to predict steps on such a network: {predict})")]


def step(comm: Communicator) -> list[Finding]:
    """Time steps of the tutorial's network on the built-in digits; collective."""
    shared_out = AUTO_MICROBATCH * comm.size
    minibatch = shared_out * math.ceil(MINIBATCH / shared_out)  # every rank has the same to do
    images, labels = synthetic.draw(minibatch, seed=0)
    digits = Images(images[:, None], labels)
    dataset = Dataset(digits, digits, "digits", synthetic.CLASSES)
    trainer = silent_trainer(options_for(minibatch), dataset, comm)
    first = comm.bcast(time_steps(trainer, 1, warm_up=1)["step_seconds"])
    steps = min(STEPS, max(3, int(SECONDS / first)))
    ranks = comm.allgather(time_steps(trainer, steps, warm_up=steps // 2))
    seconds = ranks[0]["step_seconds"]
    computing = sum(rank["compute_share"] for rank in ranks) / comm.size
    text = f"{time_text(seconds)} at minibatch {minibatch}, {minibatch / seconds:,.0f} images"
    text = f"{text} per second; {computing:.0%} of it computing"
    if computing < MOSTLY:
        cure = "a larger --minibatch_size or fewer ranks: see python -m dpcnn.bench --predict"
        findings = [Finding(WARNING, text, cure)]
    else:
        findings = [Finding(OK, text)]
    return findings + _slow_ranks(comm, [rank["compute_seconds"] for rank in ranks])


def _slow_ranks(comm: Communicator, seconds: list[float]) -> list[Finding]:
    """Compare the slowest rank with the fastest."""
    slowest = max(range(comm.size), key=seconds.__getitem__)
    fastest = min(range(comm.size), key=seconds.__getitem__)
    if seconds[slowest] <= SLOW * seconds[fastest]:
        return []
    cure = "see what else runs there, and whether ranks share its cores: all ranks wait for it"
    text = f"{comm.members[slowest]} computes for {time_text(seconds[slowest])}"
    text = f"{text}, {comm.members[fastest]} for {time_text(seconds[fastest])}"
    return [Finding(WARNING, text, cure)]
