"""What is told before a run begins: what is trained, on what, where, and the layers."""

from __future__ import annotations

import os
from itertools import groupby
from string import ascii_lowercase

from dpcnn.data.dataset import Dataset
from dpcnn.data.normalize import Normalization
from dpcnn.data.sampler import StreamOrder, auto_microbatch_size
from dpcnn.nn.network import Network
from dpcnn.nn.plan import Row
from dpcnn.options import OPTIONS, Differences, Options
from dpcnn.parallel.communicator import Communicator
from dpcnn.system import cores
from dpcnn.training.optimization import summary
from dpcnn.training.trainer import Trainer

MOST_ROWS = 24  # of the layer table: as many lines as a small terminal has


def header(
    options: Options,
    trainer: Trainer,
    comm: Communicator,
    threads: int,
    directory: str,
    resumed: str = "",
) -> dict[str, str]:
    """Return what is about to be trained, in words by name; collective.

    threads: of a rank's BLAS; resumed: where the run goes on, "" for a new one.
    """
    dataset = trainer.dataset
    steps = trainer.loader.steps
    shape = " x ".join(map(str, dataset.train.shape))
    facts = {
        "dataset": dataset.source,
        **({"read as": "; ".join(dataset.notes)} if dataset.notes else {}),
        "images": f"{_images(dataset)}, {shape}",
        **_streaming(trainer),
        **({"augmentation": options.augment} if options.augment else {}),
        **_normalization(dataset.train.normalization),
        **_ranks(comm, threads),
        "minibatch": f"{options.minibatch_size} images, in micro-batches of"
        f" {options.microbatch_size}; {steps:,} step{'s' * (steps != 1)} an epoch",
        **_last_minibatch(trainer),
        **_smaller_microbatch(options, comm.size),
        **({"reduction": options.reduce} if comm.size > 1 or options.reduce != "exact" else {}),
        **summary(options),
        **({"model": options.model} if options.model else {}),
        "parameters": f"{trainer.network.parameters.size:,}",
        "run directory": directory,
    }
    if resumed:
        facts["resumed"] = resumed
    return facts


def changed(differences: Differences) -> dict[str, str]:
    """Return a line if the run goes on with other learning rates: what has been changed."""
    texts = [
        f"{name} from {OPTIONS[name].text(before)} to {OPTIONS[name].text(after)}"
        for name, (before, after) in differences.items()
    ]
    return {"changed": ", ".join(texts)} if texts else {}


def _ranks(comm: Communicator, threads: int) -> dict[str, str]:
    """Return who trains where: of one process without a word of MPI; collective."""
    quota = cores.limited()
    if comm.size == 1:
        return {"BLAS threads": str(threads), **({"cores": quota} if quota else {})}
    hosts = ", ".join(f"{comm.hosts.count(host)} on {host}" for host in dict.fromkeys(comm.hosts))
    mine = comm.members[comm.rank].host, os.sched_getaffinity(0), cores.quota()
    text = cores.shared(comm.allgather(mine)) or quota
    return {
        "ranks": f"{comm.size} ({hosts}), BLAS threads a rank: {threads}",
        **({"cores": text} if text else {}),
        "MPI": comm.library,
    }


def _images(dataset: Dataset) -> str:
    """Return how many images there are to train on, to validate on and to test on."""
    counts = [(dataset.train, "train"), (dataset.validation, "validate"), (dataset.test, "test")]
    return ", ".join(f"{len(part):,} to {verb} on" for part, verb in counts if part is not None)


def _streaming(trainer: Trainer) -> dict[str, str]:
    """Return a line if the images stay on the disk: what their order depends on."""
    order = trainer.loader.order(1)
    if not isinstance(order, StreamOrder):
        return {}
    return {
        "stream": f"read in chunks of {order.chunk:,} images,"
        f" shuffled in windows of {order.chunk * order.window:,}"
    }


def _normalization(normalization: Normalization) -> dict[str, str]:
    """Return a line if the images are normalised: how, and by which statistics."""
    if normalization.kind == "none":
        return {}
    pairs = zip(normalization.mean, normalization.std, strict=True)
    channels = ", ".join(f"{mean:.4f} ± {std:.4f}" for mean, std in pairs)
    return {"normalization": f"{normalization.kind} {channels}".rstrip()}


def _last_minibatch(trainer: Trainer) -> dict[str, str]:
    """Return lines if the rest of an epoch is no step in which each image counts as usual, or if
    the rest of a minibatch is too small to be a micro-batch."""
    loader = trainer.loader
    rest = loader.visited % loader.minibatch_size
    left = len(loader.images) - loader.visited
    lines = {}
    if left:
        lines["last minibatch"] = f"dropped: {left} image{'s' * (left > 1)} an epoch not used"
    elif rest and trainer.config.last_minibatch == "mean":
        lines["last minibatch"] = f"{rest} image{'s' * (rest > 1)}, in a step of full size"
    sizes = (size for size in (loader.minibatch_size, rest) if size > loader.microbatch_size)
    if any(0 < size % loader.microbatch_size < loader.fewest for size in sizes):
        lines["micro-batches"] = f"a rest of less than {loader.fewest} images goes with the last"
    return lines


def _smaller_microbatch(options: Options, size: int) -> dict[str, str]:
    """Return a line if the micro-batch is smaller because there are so many ranks."""
    usual = auto_microbatch_size(options.minibatch_size)
    if options.microbatch_size == usual or options.microbatch_size != auto_microbatch_size(
        options.minibatch_size, size
    ):
        return {}
    return {
        "note": f"micro-batches of {usual} would leave some of {size} ranks without work;"
        f" the bits differ from a run with {usual}"
    }


def layer_table(network: Network) -> list[tuple[str, str, str, str]]:
    """Return a row of words for each layer: name, what it is, output shape, parameters.

    A layer made of layers has one row. Of many rows those without parameters are left out, and
    neighbours that are alike become one.
    """
    rows = network.plan.outline()
    if len(rows) > MOST_ROWS:
        alike = groupby((row for row in rows if row.parameters), key=lambda row: row[1:])
        rows = [_together(list(group)) for _, group in alike]
    return [
        (row.name, row.layer, "x".join(map(str, row.output_shape)), f"{row.parameters:,}")
        for row in rows
    ]


def _together(rows: list[Row]) -> Row:
    """Return the row that stands for neighbours which are alike but for their names."""
    first, count = rows[0], len(rows)
    if count == 1:
        return first
    number = rows[-1].name.lstrip(ascii_lowercase)
    name, what = f"{first.name}-{number}", f"{count} x {first.layer}"
    return Row(name, what, first.output_shape, count * first.parameters)
