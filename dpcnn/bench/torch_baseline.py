"""The same training in PyTorch, for comparison: prints a line of JSON.

Runs one process with --threads threads, or --ranks single-threaded processes that use
DistributedDataParallel over gloo. Network, minibatch, optimizer and data are the same as dpcnn's.
PyTorch is imported only here, and only once training starts.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from typing import Any

from dpcnn.data.sources import find

WARM_UP = 10  # steps before timing starts


def main() -> int:
    """Run the command line; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m dpcnn.bench.torch_baseline")
    parser.add_argument("--dataroot", required=True)
    parser.add_argument("--minibatch", type=int, required=True)
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--ranks", type=int, default=1)
    arguments = parser.parse_args()
    if arguments.ranks == 1:
        _train(0, arguments, "")
        return 0
    import torch.multiprocessing

    with tempfile.TemporaryDirectory() as folder:
        init_method = f"file://{folder}/rendezvous"
        torch.multiprocessing.spawn(_train, (arguments, init_method), nprocs=arguments.ranks)
    return 0


def _train(rank: int, arguments: argparse.Namespace, init_method: str) -> None:
    """Train on this rank's part of each minibatch; rank 0 prints the figures.

    init_method: where DistributedDataParallel's ranks meet; empty for one process without it.
    """
    import torch
    from torch import nn

    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    x, y, test_images = _data(arguments.dataroot)
    model: Any = nn.Sequential(
        nn.Conv2d(1, 32, 7, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(32 * 24 * 24, 10)
    )
    network = model
    if init_method:
        torch.distributed.init_process_group("gloo", init_method, None, arguments.ranks, rank)
        model = nn.parallel.DistributedDataParallel(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    seconds = []
    for step in range(WARM_UP + arguments.steps):
        first = step * arguments.minibatch % (len(x) - arguments.minibatch)
        part = slice(first + rank, first + arguments.minibatch, arguments.ranks)
        started = time.perf_counter()
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x[part]), y[part]).backward()
        optimizer.step()
        seconds.append(time.perf_counter() - started)
    if rank == 0:
        figures = {
            "step_seconds": statistics.median(seconds[WARM_UP:]),
            "inference_seconds_per_image": _inference(network, test_images),
            "torch": torch.__version__,
        }
        print(json.dumps(figures), flush=True)
    if init_method:
        torch.distributed.destroy_process_group()


def _data(dataroot: str) -> tuple[Any, Any, Any]:
    """Return as tensors the training images (N, 1, 28, 28) and labels, and the test images."""
    import torch

    dataset = find.load(dataroot)
    train_images = torch.from_numpy(dataset.train.images[:] / 255).float()
    test_images = torch.from_numpy(dataset.test.images[:] / 255).float()
    return train_images, torch.from_numpy(dataset.train.labels).long(), test_images


def _inference(network: Any, images: Any) -> float:
    """Return the seconds per image of computing the logits of the images."""
    import torch

    with torch.inference_mode():
        network(images[:64])
        started = time.perf_counter()
        for first in range(0, len(images), 64):
            network(images[first : first + 64])
        return (time.perf_counter() - started) / len(images)


if __name__ == "__main__":
    sys.exit(main())
