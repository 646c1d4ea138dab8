"""The same training in PyTorch, for comparison: prints a line of JSON.

Runs one process with --threads threads, or --ranks single-threaded processes that use
DistributedDataParallel over gloo. Network, minibatch, optimizer and images are those of dpcnn's
worker; batch normalisation is over the whole minibatch of a process, as it is usual in PyTorch.
Batches are contiguous in memory, in the layout that is measured.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from typing import Any

import numpy as np

from dpcnn.bench import workload
from dpcnn.bench.workload import Workload
from dpcnn.data.sampler import shard_bounds
from dpcnn.nn.network import Network
from dpcnn.parallel.communicator import Communicator

INFERENCE = 64  # images at a time; 32 to 128 take about as long
LEARNING_RATE = 0.01  # as dpcnn trains
TRAIN, TEST = 16_384, 2_048  # images at most: as floats they are more than the caches hold


def main() -> int:
    """Run the command line; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m dpcnn.bench.torch_baseline")
    workload.add_arguments(parser)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--ranks", type=int, default=1)
    parser.add_argument("--channels-last", action="store_true")
    arguments = parser.parse_args()
    if arguments.ranks == 1:
        _train(0, arguments, "")
        return 0
    import torch.multiprocessing

    with tempfile.TemporaryDirectory() as folder:
        init_method = f"file://{folder}/rendezvous"
        # Forked, so that PyTorch, which takes seconds, is imported once for all of them.
        torch.multiprocessing.start_processes(
            _train, (arguments, init_method), arguments.ranks, start_method="fork"
        )
    return 0


def _train(rank: int, arguments: argparse.Namespace, init_method: str) -> None:
    """Train on this rank's part of each minibatch; rank 0 prints the figures.

    init_method: where DistributedDataParallel's ranks meet; empty for one process without it.
    """
    import torch
    from torch import nn

    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    layout = torch.channels_last if arguments.channels_last else torch.contiguous_format
    network, x, y, test_images = _prepare(Workload.of(arguments), layout)
    model = network
    if init_method:
        torch.distributed.init_process_group("gloo", init_method, None, arguments.ranks, rank)
        model = nn.parallel.DistributedDataParallel(network, gradient_as_bucket_view=True)
    first_image, end_image = shard_bounds(arguments.minibatch, rank, arguments.ranks)
    warm_up, seconds = workload.warm_up(arguments.steps), []
    for step in range(warm_up + arguments.steps):
        start = step * arguments.minibatch % max(1, len(x) - arguments.minibatch)
        part = slice(start + first_image, start + end_image)
        started = time.perf_counter()
        network.zero_grad()
        nn.functional.cross_entropy(model(x[part]), y[part]).backward()
        _update(network)
        seconds.append(time.perf_counter() - started)
    figures = {
        "step_seconds": statistics.median(seconds[warm_up:]),
        "torch": torch.__version__,
        "instructions": torch.backends.cpu.get_cpu_capability(),
    }
    if arguments.ranks == arguments.threads == 1:
        count = max(INFERENCE, arguments.steps * arguments.minibatch)
        figures["inference_seconds_per_image"] = _inference(network, test_images[:count])
    if rank == 0:
        print(json.dumps(figures), flush=True)
    if init_method:
        torch.distributed.destroy_process_group()


def _update(network: Any) -> None:
    """Make a step of SGD, with what torch.optim.SGD calls.

    That would import PyTorch's compiler first: two seconds, of each of many processes.
    """
    import torch

    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.requires_grad:
                parameter.add_(parameter.grad, alpha=-LEARNING_RATE)


def _prepare(measured: Workload, layout: Any) -> tuple[Any, Any, Any, Any]:
    """Return the network, training images (N, C, H, W) and labels, and test images, in a layout."""
    import torch

    from dpcnn.bench import torch_network

    dataset = measured.dataset(Communicator()).limited(max(TRAIN, 2 * measured.minibatch), TEST)
    plan = measured.plan(dataset)
    Network(plan).initialize(seed=0)
    network = torch_network.network(plan).to(memory_format=layout)
    train_images, test_images = (
        torch.from_numpy(np.moveaxis(images.load(np.arange(len(images))), -1, 0)).contiguous(
            memory_format=layout
        )
        for images in (dataset.train, dataset.test)
    )
    return network, train_images, torch.from_numpy(dataset.train.labels).long(), test_images


def _inference(network: Any, images: Any) -> float:
    """Return the seconds per image of computing the logits of the images."""
    import torch

    network.eval()
    with torch.inference_mode():
        network(images[:INFERENCE])
        started = time.perf_counter()
        for first in range(0, len(images), INFERENCE):
            network(images[first : first + INFERENCE])
        return (time.perf_counter() - started) / len(images)


if __name__ == "__main__":
    sys.exit(main())
