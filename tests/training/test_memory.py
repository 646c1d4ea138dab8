"""What a rank takes in memory beside the imports and the dataset, and that steps take no more."""

from __future__ import annotations

import subprocess
import sys

from tests.launching import ROOT

MOST = 60  # MiB over imports and dataset, at the tutorial's network and minibatch

SCRIPT = """
import sys
from pathlib import Path
from dpcnn.options import Options
from dpcnn.parallel.communicator import Communicator
from dpcnn.training.console import Console
from dpcnn.training.datasets import open_dataset
from dpcnn.training.measure import silent_trainer

def resident():
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("VmRSS")))

options = Options(dataroot=sys.argv[1], microbatch_size=16, minibatch_size=int(sys.argv[2]))
comm = Communicator()
dataset = open_dataset(options, comm, comm, Console())
imported = resident()
trainer = silent_trainer(options, dataset, comm)
trainer.attach()
read = []
for steps in (10, 40):
    for _ in range(steps):
        trainer.step(next(trainer.loader.minibatches(1)))
    trainer.evaluate()
    read.append(resident() - imported)
print(*read)
"""


def resident(small, minibatch):
    """Return the KiB taken after 10 steps and an evaluation, and after 40 more steps."""
    command = [sys.executable, "-c", SCRIPT, str(small), str(minibatch)]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return map(int, result.stdout.split())


def test_a_rank_takes_little_memory_and_steps_take_no_more(small):
    first, later = resident(small, 64)
    assert 2 * 1024 < first < MOST * 1024  # less than its buffers would be a wrong reading
    assert later - first < 1024


def test_memory_does_not_grow_with_the_minibatch(small):
    (_, narrow), (_, wide) = resident(small, 64), resident(small, 512)
    assert abs(wide - narrow) < 2 * 1024
