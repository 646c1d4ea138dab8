"""The plan of a run's network, checked before any memory is taken for it.

The network is the user's own, the one a checkpoint's config gives, or the tutorial's.
"""

from __future__ import annotations

import copy
import itertools
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from dpcnn.errors import CheckpointError, OptionError
from dpcnn.models.user import Make, check_layers, users_code
from dpcnn.models.zoo import TUTORIAL, zoo_layers
from dpcnn.nn import Layer
from dpcnn.nn.checks import check_array
from dpcnn.nn.config import Config, check_config, from_config, own_layers, to_config
from dpcnn.nn.convolution.algorithm import size_error
from dpcnn.nn.layer import Array, Shape
from dpcnn.nn.plan import Plan
from dpcnn.options import NETWORK, Options

# What decides, beside the network, how much memory training takes.
SIZES = (
    "num_channel", "img_height", "img_width", "num_class", "minibatch_size", "microbatch_size",
)  # fmt: skip


def plan_network(
    options: Options,
    config: Config | None = None,
    own: Sequence[Layer] | Make | None = None,
) -> Plan:
    """Return the plan of a run's network, of new layers that lead from images to classes.

    config: a checkpoint's, from anyone: nothing that it names is imported or run. own: the user's
    layers, which are copied, or what makes them. Without either it is the tutorial's network.
    Raises OptionError where the layers do not fit each other, the images or the classes;
    CheckpointError where the config is not sound, not that of `own`, or needs layers that are not
    dpcnn's.
    """
    if own is not None:
        layers = own(options) if callable(own) else own
        plan = _plan_own(options, config, layers)
    elif config is not None:
        plan = _plan(options, _checkpoint_layers(config))
    else:
        plan = _plan(options, zoo_layers(TUTORIAL, options))
    _check_output(options, plan)
    return plan


def check_memory(options: Options, plan: Plan, images: int, ranks: int, vectors: int = 0) -> None:
    """Raise OptionError if training on so many images takes more memory than the machine has.

    vectors: how many as long as the parameters are kept besides: of the optimizer, averages.
    Nothing is allocated: Linux promises more memory than there is, and kills who comes to use it.
    """
    images = min(images, options.minibatch_size, options.microbatch_size or images)
    values = vectors * (plan.parameter_count + plan.state_count)
    needed = ranks * (plan.bytes_needed(images) + 4 * values)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if needed > memory:
        names = (*SIZES, *NETWORK) if _is_tutorial(options, plan.layers) else SIZES
        sizes = ", ".join(f"--{name} {getattr(options, name)}" for name in names)
        raise OptionError(
            f"{sizes}: training on {ranks} rank{'s' * (ranks > 1)} takes about"
            f" {needed / 2**30:,.1f} GiB of memory, expected at most the"
            f" {memory / 2**30:,.1f} GiB of this machine"
        )


def check_microbatch(options: Options, plan: Plan) -> None:
    """Raise OptionError that names a layer which a run's micro-batches are too small for."""
    images = min(options.minibatch_size, options.microbatch_size or options.minibatch_size)
    name = "minibatch_size" if images == options.minibatch_size else "microbatch_size"
    try:
        plan.check_microbatch(images)
    except OptionError as error:
        raise OptionError(f"--{name} {images}: {error}") from error


def check_arrays(
    options: Options,
    plan: Plan,
    model: Mapping[str, Mapping[str, Array]],
    average: Mapping[str, Mapping[str, Array]],
    slots: Mapping[str, Array],
) -> None:
    """Raise CheckpointError unless a checkpoint's arrays are what a run's options and plan ask for.

    They have the plan's shapes, and finite values, from 0 where no others are possible. model:
    layer name -> parameter name -> array; average: the same, if the run keeps it; slots: the
    optimizer's, name -> vector.
    """
    arrays = _flat(model) | {f"average/{key}": array for key, array in _flat(average).items()}
    shapes = {key: array.shape for key, array in arrays.items()}
    shapes |= {f"optimizer/{slot}": vector.shape for slot, vector in slots.items()}
    averaged = options.averages
    expected = {f"{slot.layer.name}/{slot.key}": slot.shape for slot in plan.slots}
    expected |= {f"average/{key}": shape for key, shape in expected.items() if averaged}
    expected |= {f"optimizer/{slot}": (plan.parameter_count,) for slot in slots}
    for key in sorted(shapes.keys() | expected.keys()):
        if shapes.get(key) != expected.get(key):
            raise CheckpointError(
                f"the checkpoint's {key}: found {_words(shapes.get(key))}, expected"
                f" {_words(expected.get(key))}"
            ).on_all_ranks()
    never_negative = {
        f"{slot.layer.name}/{slot.key}"
        for slot in plan.slots
        if slot.key in slot.layer.never_negative
    }
    for key, array in arrays.items():
        check_values(key, array, key.removeprefix("average/") in never_negative)


def check_values(name: str, array: Array, never_negative: bool) -> None:
    """Raise CheckpointError if a checkpoint's array of that name has a value that cannot be."""
    try:
        check_array(f"the checkpoint's {name}", array, never_negative)
    except OptionError as error:
        raise CheckpointError(str(error)).on_all_ranks() from error


def _plan_own(options: Options, config: Config | None, own: Sequence[Layer]) -> Plan:
    """Return the plan of copies of the user's layers."""
    layers = check_layers(own)
    with users_code("the network"):
        plan = _plan(options, copy.deepcopy(layers))
    if config is not None:
        _check_same(to_config(plan.layers), config)  # built: with the algorithms that were chosen
    return plan


def _check_same(own: Config, config: Config) -> None:
    """Raise CheckpointError that names the first layer of the user's that is not the config's."""
    pairs = itertools.zip_longest(own, config, fillvalue="nothing")
    for number, (layer, expected) in enumerate(pairs, 1):
        if layer != expected:
            inner, other = _innermost([layer], [expected])
            raise CheckpointError(
                f"layer {number} of the network: found {inner!s:.300}, expected {other!s:.300}"
                " as in the checkpoint"
            ).on_all_ranks()


def _innermost(layer: Any, expected: Any) -> tuple[Any, Any]:
    """Return two configs that differ; of layers made of layers, the first of these that differ."""
    pairs: Iterable[tuple[Any, Any]] = []
    if isinstance(layer, list):
        pairs = zip(layer, expected, strict=False)
    elif layer["layer"] == expected["layer"]:
        pairs = ((layer[key], expected[key]) for key in layer if key in expected)
    for inner, other in pairs:
        if inner != other and _has_layers(inner) and _has_layers(other):
            return _innermost(inner, other)
    return layer, expected


def _has_layers(value: Any) -> bool:
    return isinstance(value, dict) or (
        isinstance(value, list) and bool(value) and isinstance(value[0], dict)
    )


def _plan(options: Options, layers: list[Layer]) -> Plan:
    """Return the plan of these layers; an error with the tutorial's names the options to change."""
    is_tutorial = _is_tutorial(options, layers)
    try:
        if is_tutorial:
            _check_whole_outputs(options)
        return Plan(layers, options.image_shape)
    except OptionError as error:
        if not is_tutorial:
            raise
        names = ", ".join(f"--{name}" for name in ("img_height", "img_width", *NETWORK))
        raise OptionError(f"{error}: choose another {names}") from error


def _checkpoint_layers(config: Config) -> list[Layer]:
    """Return new layers from a checkpoint's config."""
    try:
        check_config(config)
        own = own_layers(config)
        if own:
            raise CheckpointError(
                f"the checkpoint's network has layers that are not dpcnn's ({', '.join(own)}),"
                " expected --model MODULE:FUNCTION, or network= from Python, to make them"
            ).on_all_ranks()
        return from_config(config)
    except ValueError as error:
        raise CheckpointError(f"the checkpoint's network: {error}").on_all_ranks() from error


def _check_whole_outputs(options: Options) -> None:
    """Raise OptionError, with the formula and its numbers, for an output size that is not whole.

    The tutorial's options were chosen by that formula: rounding down, as the layer does, would
    train another network than the one that was meant.
    """
    _, height, width = options.image_shape
    for name, size, filter_size in (
        ("height", height, options.h_filter),
        ("width", width, options.w_filter),
    ):
        if (size - filter_size + 2 * options.padding) % options.stride:
            raise size_error(name, size, filter_size, options.padding, options.stride)


def _is_tutorial(options: Options, layers: Sequence[Layer]) -> bool:
    return to_config(layers) == to_config(zoo_layers(TUTORIAL, options))


def _check_output(options: Options, plan: Plan) -> None:
    """Raise OptionError unless the network has a value for each class, and something to train.

    A layer that is fitted to the images must be the first.
    """
    if plan.output_shape != (options.num_class,):
        raise OptionError(
            f"the network's output is {plan.output_shape}, expected ({options.num_class},), a value"
            " for each class (--num_class)"
        )
    for name, layer in [*plan.leaves.items()][1:]:
        if layer.fits_images:
            raise OptionError(f"{name}, {layer!r}, is fitted to the images: put it first")
    if plan.parameter_count == 0:
        raise OptionError("the network has no parameters, expected some to train")


def _flat(layers: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return layer name -> parameter name -> value as layer/parameter -> value."""
    return {f"{layer}/{name}": v for layer, values in layers.items() for name, v in values.items()}


def _words(shape: Shape | None) -> str:
    return "no array" if shape is None else f"shape {shape}"
