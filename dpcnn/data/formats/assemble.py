"""From the arrays that a reader has found to a dataset: shapes, values and labels, all checked."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from dpcnn.data.dataset import Dataset, Images
from dpcnn.data.disk_array import StoredArray
from dpcnn.data.formats import labels, pixels
from dpcnn.data.formats.raw import Array, Part, Raw, Wanted
from dpcnn.data.shapes import Form, recognise, smoother
from dpcnn.data.split import stratified
from dpcnn.errors import DataError, OptionError

SAMPLED = 64  # images by which the order of the axes of rows is told


def assemble(raw: Raw, wanted: Wanted, folder: Path | None = None) -> Dataset:
    """Return the dataset of what a reader has found, its images as (N, C, H, W).

    With a folder the images stay on the disk: in their file, or unpacked into new files in the
    folder, which may be deleted once the dataset is open. Raises DataError, naming the file and the
    array, for anything that cannot be trained on, OptionError for an option that does not fit.
    """
    for part in filter(None, (raw.train, raw.test)):
        _check_counts(part, raw.where)
    read = labels.read(raw, wanted)
    layout = raw.layout if wanted.layout == "auto" and raw.layout else wanted.layout
    form, warnings = _form(raw.train, raw.where, replace(wanted, layout=layout))
    at, copy = f"{raw.where}{raw.train.x_name}", folder and folder / "x_train"
    x, encoding = pixels.training_images(raw.train, at, form, copy)
    warnings += pixels.doubts(raw.train, at)
    train = Images(x, read.train)
    notes = [*raw.notes, *([form.note] if form.note else []), *read.notes]
    notes += [encoding.note] if encoding.note else []
    if raw.test is None and wanted.test_alone:
        test = train
    elif raw.test is None:
        train, test = _parted(train, raw, wanted, folder)
        notes.append(f"{wanted.test_fraction:g} of the images set apart as the test set")
    else:
        if wanted.test_fraction is not None:
            raise OptionError(
                f"--test_fraction is {wanted.test_fraction:g}, expected none: {raw.where}has a"
                " test set"
            )
        assert read.test is not None, "there is a test set"
        at, copy = f"{raw.where}{raw.test.x_name}", folder and folder / "x_test"
        x = pixels.images(raw.test, at, _alike(raw.test, at, form), encoding, copy)
        test = Images(x, read.test)
    source = raw.where.removesuffix(": ")
    return Dataset(
        train, test, source, read.classes, class_names=read.names, notes=tuple(notes),
        warnings=(*raw.warnings, *warnings),
    )  # fmt: skip


def _form(part: Part, where: str, wanted: Wanted) -> tuple[Form, list[str]]:
    """Return how the training images lie in their array, and warnings; raises DataError."""
    at = f"{where}{part.x_name}"
    _check_array(part, at)
    try:
        form = recognise(part.x.shape, wanted.shape, wanted.layout)
    except DataError as error:
        raise DataError(f"{at} has {error}") from None
    if form.sure:
        return form, []
    if part.x.dtype.kind in "fiub":
        sample = np.asarray(part.x[0 : min(SAMPLED, part.x.shape[0])])
        form = smoother(sample, form)
    order = "channels last" if form.last else "channels first"
    return form, [
        f"{at} has rows of {part.x.shape[1]:,} values, read as {order} by how smooth the images are"
        " then: --layout chw or hwc says it for certain"
    ]


def _check_array(part: Part, at: str) -> None:
    if part.x.shape is None:
        raise DataError(f"{at} has shape None, expected an array of images")
    if part.x.shape[:1] == (0,):
        raise DataError(f"{at} is empty, expected at least one image")


def _alike(part: Part, at: str, form: Form) -> Form:
    """Return how the test images lie in their array: of the shape and layout of the training's."""
    _check_array(part, at)
    try:
        return recognise(part.x.shape, form.shape, "hwc" if form.last else "chw")
    except DataError as error:
        raise DataError(f"{at} has {error}") from None


def _check_counts(part: Part, where: str) -> None:
    """Raise DataError unless there is a label for each image."""
    images, labels = (array.shape and array.shape[0] for array in (part.x, part.y))
    has_rows = len(part.x.shape or ()) > 1 and len(part.y.shape or ()) in (1, 2)
    if has_rows and images and images != labels:
        raise DataError(
            f"{where}{images} images in {part.x_name}, {labels} labels in {part.y_name},"
            " expected a label for each image"
        )


def _parted(images: Images, raw: Raw, wanted: Wanted, folder: Path | None) -> tuple[Images, Images]:
    """Return the images without, and those of, a test set of the share that is asked for."""
    if wanted.test_fraction is None:
        raise DataError(
            f"{raw.where}no test set, expected one: --test_fraction 0.2 sets images apart"
        )
    count = round(wanted.test_fraction * len(images))
    if not 0 < count < len(images):
        raise DataError(
            f"{raw.where}--test_fraction {wanted.test_fraction:g} of {len(images)} images is"
            f" {count}, expected at least 1 to train on and 1 to test on"
        )
    chosen = stratified(images.labels, count, wanted.seed)
    others = np.delete(np.arange(len(images)), chosen)
    return tuple(  # type: ignore[return-value]
        Images(_rows(images, rows, folder and folder / name), images.labels[rows])
        for rows, name in ((others, "x_trained"), (chosen, "x_tested"))
    )


def _rows(images: Images, chosen: Any, path: Path | None) -> Array | StoredArray:
    """Return a copy of some images, in memory or in a new file."""
    if path is None:
        return images.rows(chosen)
    stored = StoredArray.create(path, (len(chosen), *images.shape), images.images.dtype)
    for part in pixels.blocks(stored):
        stored[part] = images.rows(chosen[part])
    return stored
