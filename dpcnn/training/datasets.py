"""The dataset of a run: found by rank 0, read once a node, compared between the nodes."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

from dpcnn.data.dataset import Dataset, Mapped, check, check_classes, write_mapped
from dpcnn.data.formats.raw import Wanted
from dpcnn.data.normalize import Normalization, standard
from dpcnn.data.sources import find
from dpcnn.data.split import with_validation
from dpcnn.errors import CheckpointError, DataError
from dpcnn.inference.model import recorded_normalization
from dpcnn.options import Options
from dpcnn.parallel.communicator import Communicator
from dpcnn.run.checkpoint import Checkpoint
from dpcnn.system.terminal import on_terminal
from dpcnn.training.console import Console

# What reads a dataset as the user wants it; with a folder, its images stay on the disk.
Read = Callable[[Wanted, Path | None], Dataset]

# Start scripts set it to 0 where nobody would see the warning that there is no MNIST.
FALL_BACK = "DPCNN_FALL_BACK"
# And this, where nobody would see which dataset was found for a run that names none.
AUTO = "DPCNN_AUTO"


def wanted(options: Options) -> Wanted:
    """Return what the options say of the dataset."""
    height, _, width = (options.size or "").partition("x")
    return Wanted(
        shape=(options.num_channel, options.img_height, options.img_width),
        num_class=options.num_class,
        layout=options.layout,
        keys=options.keys,
        size=(int(height), int(width or height)) if height else None,
        grey=options.grey,
        test_fraction=options.test_fraction,
        seed=options.seed,
    )


def open_dataset(
    options: Options,
    comm: Communicator,
    node: Communicator,
    console: Console,
    may_fall_back: bool = False,
    class_names: tuple[str, ...] = (),
    test_alone: bool = False,
    read: Read | None = None,
) -> Dataset:
    """Return the dataset, one copy of it for all ranks of a node; collective.

    Rank 0 finds or downloads it; the first rank of each node reads it and writes the arrays to a
    file that its neighbours map. With --stream it stays on the disk, where each rank has it open.
    read: what reads it, where that is not for --dataroot to say. may_fall_back: whether the
    built-in digits may take the place of MNIST, unless the start script forbids it.
    class_names, test_alone: as for Wanted. Raises DataError.
    """
    if read is None:
        read = _found(options, comm, console, may_fall_back)
    choice = replace(wanted(options), class_names=class_names, test_alone=test_alone)

    with find.scratch(options.stream) as folder:

        def load() -> Dataset:
            stored = folder if options.stream else None
            dataset = read(choice, stored)
            if not test_alone:
                check_classes(dataset)
            dataset = dataset.limited(options.train_limit, options.test_limit)
            check(dataset, choice.shape, comm.size)
            return dataset

        dataset = comm.on_all(lambda: load() if node.rank == 0 else None)
        if comm.rank == 0 and dataset is not None:
            for warning in dataset.warnings:
                console.warn(warning)
        if node.size == 1:
            assert dataset is not None, "the only rank of the node has read it"
            return dataset
        return _share(dataset, node, None if options.stream else folder / "dataset")


def _found(options: Options, comm: Communicator, console: Console, may_fall_back: bool) -> Read:
    """Return what reads the dataset of --dataroot, which rank 0 finds or downloads; collective."""
    fall_back = may_fall_back and os.environ.get(FALL_BACK) != "0"
    progress = options.progress == "bar" or (options.progress == "auto" and on_terminal())
    word, mirror = options.dataroot, options.mirror
    if may_fall_back and word == find.AUTO and os.environ.get(AUTO) == "0":
        raise DataError(
            "found no --dataroot, expected the dataset of a batch job by its name: add --dataroot"
            " mnist, or another name or path"
        ).on_all_ranks()
    root = comm.on_root(lambda: find.resolve(word, mirror, progress, console.warn, fall_back))
    return partial(find.load, root)


def root_of(options: Options) -> str:
    """Return the absolute path of --dataroot, "" for a word such as mnist."""
    named = options.dataroot
    return os.path.abspath(named) if os.path.exists(named) and not find.is_word(named) else ""


def located(options: Options, checkpoint: Checkpoint) -> Options:
    """Return a run's options, its --dataroot found again if that is relative to another directory.

    For rank 0, which tells the others.
    """
    root = checkpoint.dataset.get("root", "")
    if root and os.path.exists(root) and not os.path.exists(options.dataroot):
        return replace(options, dataroot=root)
    return options


def marked(
    dataset: Dataset, options: Options, named: frozenset[str], checkpoint: Checkpoint | None
) -> Dataset:
    """Return the dataset, its source marked where it is the built-in digits that nobody named.

    checkpoint: of the run that goes on, whose digits may have been named when it began.
    """
    before = None if checkpoint is None else checkpoint.dataset["source"]
    by_name = "dataroot" in named and options.dataroot == find.DIGITS
    if dataset.source != find.DRAWN or by_name or before == find.DRAWN:
        return dataset
    return replace(dataset, source=find.UNNAMED)


def fitted(options: Options, dataset: Dataset) -> Options:
    """Return the options with the image size and the number of classes that the dataset has.

    Also with `digits` in place of `auto` where it came to that: the run is resumed on the same.
    """
    channels, height, width = dataset.train.shape
    drawn = dataset.source in (find.DRAWN, find.UNNAMED)
    return replace(
        options,
        dataroot=find.DIGITS if drawn else options.dataroot,
        num_class=dataset.classes,
        num_channel=channels,
        img_height=height,
        img_width=width,
    )


def split(dataset: Dataset, options: Options, world_size: int) -> Dataset:
    """Return a run's dataset with the validation set that its options ask for set apart.

    Raises OptionError.
    """
    return with_validation(dataset, options.validation, options.seed, world_size)


def _share(dataset: Dataset | None, node: Communicator, path: Path | None) -> Dataset:
    """Return on all ranks of the node the dataset that its first rank has read; collective.

    dataset: what this rank has read, None on all but the first. path: a new file to write the
    arrays to, for all to map; None if they are on the disk already.
    """
    with contextlib.ExitStack() as stack:
        if path is None:
            shared = node.bcast(dataset)
        else:
            mapped = node.bcast(None if dataset is None else _write(dataset, path, stack))
            shared = None if mapped is None else mapped.open()
        assert shared is not None, "the first rank of the node has read it"
        node.allgather(None)  # all have it open: its file may go, the contents stay
        return shared


def _write(dataset: Dataset, path: Path, stack: contextlib.ExitStack) -> Mapped:
    """Write the arrays to a new file, or to memory where there is no room for it.

    The file goes with its directory, the memory with the stack.
    """
    try:
        return write_mapped(dataset, path)
    except OSError:
        path.unlink(missing_ok=True)
        memory = os.memfd_create("dpcnn-dataset")
        stack.callback(os.close, memory)
        return write_mapped(dataset, Path(f"/proc/{os.getpid()}/fd/{memory}"))


def fingerprint(dataset: Dataset, comm: Communicator, node: Communicator) -> str:
    """Return the fingerprint that the dataset has on all nodes; collective.

    Raises DataError, on all ranks, that names a host with another dataset.
    """
    fingerprints = comm.allgather(dataset.fingerprint() if node.rank == 0 else "")
    for host, other in zip(comm.hosts, fingerprints, strict=True):
        if other not in ("", fingerprints[0]):
            raise DataError(
                f"{dataset.source} on {host}: fingerprint {other[:12]}, expected"
                f" {fingerprints[0][:12]} as on {comm.hosts[0]}: copy the dataset there"
            ).on_all_ranks()
    return fingerprints[0]


def prepared(
    dataset: Dataset, options: Options, checkpoint: Checkpoint | None, comm: Communicator
) -> Dataset:
    """Return a run's dataset, its validation set apart and its images normalised; collective.

    After the dataset's fingerprint has been taken, which is that of the whole. The statistics are
    the checkpoint's or, without one, those of the images that are trained on, which rank 0 finds
    for all. Raises OptionError or CheckpointError, on all ranks.
    """
    dataset = comm.on_all(lambda: split(dataset, options, comm.size))
    if checkpoint is not None:
        return dataset.normalized(recorded_normalization(checkpoint, options))
    if options.normalize == "standard":
        return dataset.normalized(comm.on_root(lambda: standard(dataset.train.blocks())))
    return dataset.normalized(Normalization(options.normalize))


def check_dataset(checkpoint: Checkpoint, fingerprint: str, source: str) -> None:
    """Raise CheckpointError if a checkpoint is of another dataset than this one."""
    if checkpoint.dataset["fingerprint"] != fingerprint:
        raise CheckpointError(
            f"--dataroot {source}: not the data of the checkpoint, which was trained on"
            f" {checkpoint.dataset['source']}"
        )
