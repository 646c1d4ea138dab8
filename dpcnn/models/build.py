"""The network of a run: the user's own, the one that a checkpoint describes, or the tutorial's.

And what has to fit it: the checkpoint, the dataset, the memory.
"""

from __future__ import annotations

import copy
import hashlib
import os
from collections.abc import Sequence
from typing import Any

from numpy.typing import NDArray

from dpcnn.errors import CheckpointError, DataError, OptionError
from dpcnn.models.user import checked, users_code
from dpcnn.models.zoo import tutorial
from dpcnn.nn import Layer
from dpcnn.nn.config import from_config, own_layers, to_config
from dpcnn.nn.network import Network, bytes_needed, parameter_count, shapes
from dpcnn.options import NETWORK, Options
from dpcnn.run.checkpoint import Checkpoint

Array = NDArray[Any]

# What decides, beside the network, how much memory training takes.
SIZES = (
    "num_channel", "img_height", "img_width", "num_class", "minibatch_size", "microbatch_size",
)  # fmt: skip


def image_shape(options: Options) -> tuple[int, int, int]:
    """Return (C, H, W) of the images."""
    return options.num_channel, options.img_height, options.img_width


def choose_layers(
    options: Options, checkpoint: Checkpoint | None = None, own: Sequence[Layer] | None = None
) -> list[Layer]:
    """Return new layers for a run: like `own`, as its checkpoint describes, or the tutorial's.

    What a checkpoint describes is made without running anything that it names. Raises
    OptionError if `own` are none, CheckpointError where it describes other layers than `own`, or
    such as are not dpcnn's.
    """
    if own is None:
        return _tutorial(options) if checkpoint is None else _described(checkpoint)
    layers = copy.deepcopy(checked(own))
    if checkpoint is not None and to_config(layers) != checkpoint.network:
        raise CheckpointError(
            f"the checkpoint is of the network {checkpoint.network}, found {to_config(layers)}"
        ).on_all_ranks()
    return layers


def _tutorial(options: Options) -> list[Layer]:
    filter_size = (options.h_filter, options.w_filter)
    return tutorial(
        options.n_filter, filter_size, options.stride, options.padding, options.num_class
    )


def _described(checkpoint: Checkpoint) -> list[Layer]:
    own = own_layers(checkpoint.network)
    if own:
        raise CheckpointError(
            f"the checkpoint's network has layers that are not dpcnn's ({', '.join(own)}),"
            " expected --model MODULE:FUNCTION, or network= from Python, to make them"
        ).on_all_ranks()
    try:
        return from_config(checkpoint.network)
    except ValueError as error:
        raise CheckpointError(f"the checkpoint's network: {error}").on_all_ranks() from error


def build(
    options: Options,
    checkpoint: Checkpoint | None = None,
    ranks: int = 1,
    own: Sequence[Layer] | None = None,
) -> Network:
    """Return the network of a run, its parameters not drawn yet.

    Before it takes memory for them, raises OptionError where the layers do not fit each other,
    the images or the classes, or `ranks` of them not into the memory, and CheckpointError if a
    checkpoint is not of this network.
    """
    layers = choose_layers(options, checkpoint, own)
    shape = image_shape(options)
    if own is not None:
        with users_code("the network"):
            shapes(layers, shape)
    check_fit(options, layers)
    if checkpoint is not None:
        found = sum(each.size for layer in checkpoint.model.values() for each in layer.values())
        expected = parameter_count(layers, shape)
        if found != expected:
            raise CheckpointError(
                f"the checkpoint holds {found:,} parameters, its network makes {expected:,}"
            ).on_all_ranks()
    check_memory(options, layers, 1, ranks)
    return Network(layers, shape)


def weights_sha256(network: Network) -> str:
    """Return the SHA-256 of the parameters as little-endian float32, in layer order."""
    return hashlib.sha256(network.parameters.astype("<f4").tobytes()).hexdigest()


def check_fit(options: Options, layers: Sequence[Layer]) -> None:
    """Build the layers; raise OptionError unless they lead from images to a value a class."""
    try:
        *_, output = shapes(layers, image_shape(options))
    except OptionError as error:
        if not _is_tutorial(options, layers):
            raise
        names = ", ".join(f"--{name}" for name in ("img_height", "img_width", *NETWORK))
        raise OptionError(f"{error}: choose another {names}") from error
    if output != (options.num_class,):
        raise OptionError(
            f"the network's output is {output}, expected ({options.num_class},), a value for each"
            " class (--num_class)"
        )
    if parameter_count(layers, image_shape(options)) == 0:
        raise OptionError("the network has no parameters, expected some to train")


def _is_tutorial(options: Options, layers: Sequence[Layer]) -> bool:
    return to_config(layers) == to_config(_tutorial(options))


def check_parameters(checkpoint: Checkpoint, network: Network) -> None:
    """Raise CheckpointError, as every rank does, unless its arrays are those of this network."""
    own, flat = _shapes(network.named_parameters()), network.parameters.shape
    found = _shapes(checkpoint.model)
    if found != own or any(slot.shape != flat for slot in checkpoint.optimizer.values()):
        raise CheckpointError(
            f"the checkpoint holds {found}, which is not {network}"
        ).on_all_ranks()


def _shapes(parameters: dict[str, dict[str, Array]]) -> dict[str, dict[str, tuple[int, ...]]]:
    return {
        layer: {name: array.shape for name, array in arrays.items()}
        for layer, arrays in parameters.items()
    }


def common_fingerprint(found: list[str], hosts: list[str], source: str) -> str:
    """Return the fingerprint that the dataset has on all hosts.

    found: what each rank has found there, "" if it did not look. Raises DataError, as every rank
    does, that names a host where it is another dataset.
    """
    for host, fingerprint in zip(hosts, found, strict=True):
        if fingerprint not in ("", found[0]):
            raise DataError(
                f"{source} on {host}: fingerprint {fingerprint[:12]}, expected {found[0][:12]} as"
                f" on {hosts[0]}: copy the dataset there"
            ).on_all_ranks()
    return found[0]


def check_dataset(checkpoint: Checkpoint, fingerprint: str, source: str) -> None:
    """Raise CheckpointError if a checkpoint is of another dataset than this one."""
    if checkpoint.dataset["fingerprint"] != fingerprint:
        raise CheckpointError(
            f"--dataroot {source}: not the data of the checkpoint, which was trained on"
            f" {checkpoint.dataset['source']}"
        )


def check_memory(options: Options, layers: Sequence[Layer], images: int, ranks: int) -> None:
    """Raise OptionError if training on so many images takes more memory than the machine has.

    Nothing is allocated: Linux promises more memory than there is, and kills who comes to use it.
    """
    images = min(images, options.minibatch_size, options.microbatch_size or images)
    needed = ranks * bytes_needed(layers, image_shape(options), images)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if needed > memory:
        names = (*SIZES, *NETWORK) if _is_tutorial(options, layers) else SIZES
        sizes = ", ".join(f"--{name} {getattr(options, name)}" for name in names)
        raise OptionError(
            f"{sizes}: training on {ranks} ranks takes about {needed / 2**30:,.1f} GiB of memory,"
            f" expected at most the {memory / 2**30:,.1f} GiB of this machine"
        )
