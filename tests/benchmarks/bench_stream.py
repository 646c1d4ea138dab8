"""Streaming from a file five times larger than the memory, against training on it in memory.

    python -m tests.benchmarks.bench_stream --rounds 5 --ranks 2

Writes a file of 3 GB (the built-in digits, repeated) into a new directory in /var/tmp. The streamed
run is in a memory cgroup of 600 MB, which covers all ranks, the page cache and mpirun; this needs
root. Before each run the file is dropped from the page cache, so that the streamed run reads from
the disk; the run in memory has read everything before its first step. Both train on the same number
of images, alternately. Prints the images a second of each run and the ratio of the medians.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dpcnn  # noqa: F401  (one BLAS thread, before NumPy)

import h5py  # isort: skip
import numpy as np

from dpcnn.data.sources import synthetic
from tests.launching import ROOT, launcher

IMAGES = 3_830_000  # of 784 bytes: 3.0 GB
TEST = 1_000
BLOCK = 10_000
LIMIT = 600_000_000  # bytes
STEPS = 3_000  # of 64 images: four and a half windows
CGROUPS = Path("/sys/fs/cgroup")
PEAKS = ("memory.max_usage_in_bytes", "memory.peak")  # cgroup versions 1 and 2


def write(path: Path) -> None:
    """Write the dataset, uint8 and contiguous."""
    images, labels = synthetic.draw(BLOCK, seed=0)
    test_images, test_labels = synthetic.draw(TEST, seed=1)
    with h5py.File(path, "w") as file:
        x = file.create_dataset("x_train", (IMAGES, 784), np.uint8)
        for first in range(0, IMAGES, BLOCK):
            x[first : first + BLOCK] = images.reshape(BLOCK, 784)
        file["y_train"] = np.resize(labels, IMAGES)
        file["x_test"], file["y_test"] = test_images, test_labels


def drop(path: Path) -> None:
    """Drop the file from the page cache."""
    with path.open("r+b") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


@contextmanager
def memory_limit() -> Iterator[Path]:
    """Provide a memory cgroup of LIMIT bytes, version 1 or 2."""
    version_1 = (CGROUPS / "memory").is_dir()
    group = CGROUPS / ("memory/dpcnn-stream" if version_1 else "dpcnn-stream")
    group.mkdir()
    try:
        name = "memory.limit_in_bytes" if version_1 else "memory.max"
        (group / name).write_text(str(LIMIT))
        yield group
    finally:
        group.rmdir()


def train(path: Path, ranks: int, group: Path | None) -> float:
    """Return the training images a second of one run; with a cgroup it is streamed in that."""
    drop(path)
    with tempfile.TemporaryDirectory(dir=path.parent) as cwd:
        options = ["--dataroot", path, "--max_steps", STEPS, "--run_dir", "run"]
        options += ["--stream"] if group else []
        command = [*launcher(ranks), "-m", "tests.benchmarks.bench_stream", "-", *options]
        enter = (
            [] if group is None else ["sh", "-c", f'echo $$ >{group}/cgroup.procs; exec "$@"', "-"]
        )
        done = subprocess.run(
            list(map(str, [*enter, *command])),
            cwd=cwd,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
    return float(json.loads(done.stdout.splitlines()[-1]))


def worker() -> None:
    """Train as dpcnn.train does; rank 0 prints the images a second over all steps."""
    from dpcnn.training import api
    from dpcnn.training.trainer import Trainer

    run = Trainer.run

    def timed(self: Trainer) -> int:
        code = run(self)
        if self.comm.rank == 0:
            print(json.dumps(self.state.progress.images / self.state.progress.seconds))
        return code

    Trainer.run = timed  # type: ignore[method-assign]
    sys.exit(api.main(sys.argv[2:]))


def main() -> None:
    """Run the rounds."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.bench_stream")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--ranks", type=int, default=2)
    arguments = parser.parse_args()
    figures: dict[str, list[float]] = {"in memory": [], "streamed": []}
    with tempfile.TemporaryDirectory(prefix="dpcnn-", dir="/var/tmp") as folder:
        path = Path(folder) / "large.hdf5"
        write(path)
        print(f"{path.stat().st_size:,} bytes, {arguments.ranks} ranks, {STEPS:,} steps")
        with memory_limit() as group:
            for _ in range(arguments.rounds):
                for name, where in (("in memory", None), ("streamed", group)):
                    figures[name].append(train(path, arguments.ranks, where))
                    print(f"{name}: {figures[name][-1]:,.0f} images/s", flush=True)
            peak = next(group / name for name in PEAKS if (group / name).exists())
            print(f"peak memory of the streamed runs: {int(peak.read_text()):,} bytes")
    ratio = statistics.median(figures["streamed"]) / statistics.median(figures["in memory"])
    print(f"streamed / in memory: {ratio:.3f}")


if __name__ == "__main__":
    worker() if sys.argv[1:2] == ["-"] else main()
