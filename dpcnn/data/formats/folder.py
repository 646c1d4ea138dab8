"""Datasets as folders of pictures: a folder a class, perhaps under train/ and test/ or val/.

The pictures are decoded once, in threads, and kept as one HDF5 file in the user's cache, under a
name that follows from the names, sizes and times of all files, so that any change makes a new one.
Those that were not used for longest make room for others.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dpcnn.data import cache
from dpcnn.data.cache import cache_directory
from dpcnn.data.dataset import Dataset, Images
from dpcnn.data.formats import hdf5, picture, pixels, signature
from dpcnn.data.formats.labels import clean, natural
from dpcnn.data.formats.raw import Part, Raw, Wanted
from dpcnn.errors import DataError
from dpcnn.system.memory import check_fits
from dpcnn.system.text import one_line

Array = NDArray[Any]

TRAIN, TEST = ("train", "training"), ("test", "testing", "val", "valid", "validation")
MOST_BROKEN = 0.1  # of the files: with more of them something else is wrong
FEW_BROKEN = 3  # of the files never stop the others
REMEMBERED = 30_000  # characters about files that are broken
SHOWN = 3  # names of files in a message
PIECE, PIECES = 16, 6  # pictures that a thread decodes at a time; pieces that are decoded ahead


class Listed(NamedTuple):
    """A picture: its file and the number of its class."""

    path: Path
    label: int


@dataclass
class Listing:
    """The pictures of a folder by set, the names of the classes, and what is left out.

    others: files that are no pictures; unread: pictures of kinds that are not read; broken: what
    cannot be read.
    """

    classes: list[str]
    sets: dict[str, list[Listed]]
    others: list[str] = field(default_factory=list)
    unread: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)


def recognises(path: Path) -> bool:
    """Tell whether a folder holds folders."""
    with os.scandir(path) as entries:
        return any(entry.is_dir() for entry in entries)


@contextlib.contextmanager
def open_raw(path: Path, wanted: Wanted) -> Iterator[Raw]:
    """Open a folder of pictures, decoding them if that has not been done; raises DataError."""
    picture.check_installed(path)
    listing = list_pictures(path)
    kept = _cached(path, listing, wanted)
    if not cache.hold(kept):
        arrays = _decode_all(path, listing, wanted)
        if not _write(kept, arrays, listing):
            yield _raw(path, listing, arrays)
            return
    else:
        listing.broken = hdf5.read_text(kept, "broken").splitlines()
    with hdf5.open_raw(kept, Wanted()) as raw:
        yield replace(
            raw,
            where=f"{path}: ",
            test=raw.test if listing.sets["test"] else None,
            layout="chw",
            class_names=tuple(listing.classes),
            notes=_notes(listing),
            warnings=_warnings(path, listing),
        )


def list_pictures(path: Path) -> Listing:
    """Return the pictures of a folder by set and class; raises DataError if it has no classes."""
    folders = _folders(path)
    train = next((folders[name] for name in folders if name.lower() in TRAIN), None)
    test = next((folders[each] for name in TEST for each in folders if each.lower() == name), None)
    if train is None:
        train, test = path, None
    names = sorted(_folders(train), key=natural)
    listing = Listing([clean(name) for name in names], {"train": [], "test": []})
    for part, folder in (("train", train), ("test", test)):
        if folder is None:
            continue
        for name, inside in sorted(_folders(folder).items()):
            if name not in names:
                raise DataError(
                    f"{folder}: class {clean(name)!r}, expected one of those to train on:"
                    f" {one_line(', '.join(names))}"
                )
            _walk(path, inside, names.index(name), listing, listing.sets[part])
    links = [each.name for each in os.scandir(train) if each.is_symlink() and each.is_dir()]
    listing.broken += [f"{name} is a link to a folder" for name in sorted(links)]
    if len(names) < 2 or not listing.sets["train"]:
        left = "".join(f", {line}" for line in _left_out(listing))
        raise DataError(
            f"{path}: {len(names)} class folder{'s' * (len(names) != 1)} with"
            f" {len(listing.sets['train'])} pictures{left}, expected a folder of pictures for each"
            " of at least 2 classes"
        )
    return listing


def _folders(path: Path) -> dict[str, Path]:
    """Return the folders in a folder, but hidden ones and links."""
    with os.scandir(path) as entries:
        return {
            entry.name: Path(entry.path)
            for entry in entries
            if entry.is_dir(follow_symlinks=False) and not entry.name.startswith((".", "__"))
        }


def _walk(root: Path, folder: Path, label: int, listing: Listing, found: list[Listed]) -> None:
    """Append the pictures in a folder and its folders; no link that leaves the root is followed."""
    inside = f"{os.path.realpath(root)}{os.sep}"
    for place, folders, names in os.walk(folder):
        folders.sort()
        links = [name for name in folders if os.path.islink(os.path.join(place, name))]
        listing.broken += [f"{name} is a link to a folder" for name in links]
        for name in sorted(names):
            path = Path(place, name)
            if path.suffix.lower() in signature.UNREAD:
                listing.unread.append(name)
            elif not name.lower().endswith(picture.SUFFIXES) or name.startswith("."):
                listing.others.append(name)
            elif path.is_symlink() and not os.path.realpath(path).startswith(inside):
                listing.broken.append(f"{path.relative_to(root)} is a link out of the folder")
            else:
                found.append(Listed(path, label))


def _cached(path: Path, listing: Listing, wanted: Wanted) -> Path:
    """Return where the decoded pictures are kept."""
    digest = hashlib.sha256(
        repr((wanted.size, wanted.grey, wanted.shape[0], listing.classes)).encode()
    )
    for part, pictures in listing.sets.items():
        for each in pictures:
            try:
                status = each.path.stat()
                facts = status.st_size, status.st_mtime_ns
            except OSError:
                facts = 0, 0
            name = os.fsencode(each.path.relative_to(path))
            digest.update(repr((part, name, each.label, *facts)).encode())
    return cache_directory() / "folders" / f"{digest.hexdigest()[:32]}.hdf5"


def _decode_all(path: Path, listing: Listing, wanted: Wanted) -> dict[str, Array]:
    """Return the arrays of both sets; files that cannot be read are taken from the listing."""
    size, channels = wanted.size, wanted.shape[0]
    arrays: dict[str, Array] = {}
    for part, pictures in listing.sets.items():
        images, labels, size = _decode(path, pictures, size, wanted.grey or channels == 1, listing)
        arrays |= {f"x_{part}": images, f"y_{part}": labels}
    count = sum(map(len, listing.sets.values()))
    if len(listing.broken) > max(FEW_BROKEN, MOST_BROKEN * count):
        raise DataError(f"{path}: {_shown(listing.broken, 'cannot be read')} of {count}")
    grey = channels != 3 and all(not _coloured(arrays[f"x_{part}"]) for part in listing.sets)
    if grey:
        arrays |= {f"x_{part}": arrays[f"x_{part}"][:, :1] for part in listing.sets}
    return arrays


def _decode(
    root: Path,
    pictures: list[Listed],
    size: tuple[int, int] | None,
    grey: bool,
    listing: Listing,
) -> tuple[Array, Array, tuple[int, int] | None]:
    """Return images (N, 3, H, W) uint8, labels (N,), and the size (H, W) that all have."""
    from tqdm import tqdm  # late: every rank would import it at its start, and few decode pictures

    images: Array | None = None
    labels, count = np.zeros(len(pictures), np.int64), 0
    workers = len(os.sched_getaffinity(0))
    with ThreadPoolExecutor(workers) as pool:
        decoded = _ordered(pool, pictures, partial(_decoded, size=size, grey=grey))
        bar = tqdm(decoded, "pictures", len(pictures), disable=None, leave=False)
        for each, image in zip(pictures, bar, strict=True):
            name = one_line(each.path.relative_to(root))
            if isinstance(image, DataError):
                listing.broken.append(f"{name} {image}")
                continue
            size = size or image.shape[1:]
            if image.shape[1:] != size:
                found, first = ("x".join(map(str, s)) for s in (image.shape[1:], size))
                raise DataError(
                    f"{root}: {name} has {found} pixels, others {first}: expected --size such as"
                    " 32, to bring all to that"
                )
            if images is None:
                images = _new(len(pictures), size, root)
            images[count], labels[count] = image, each.label
            count += 1
    shape = (0, 3, *(size or (1, 1)))
    kept = np.empty(shape, np.uint8) if images is None else images[:count]
    return kept, labels[:count], size


def _ordered(pool: ThreadPoolExecutor, pictures: list[Listed], work: Any) -> Iterator[Any]:
    """Yield what the threads make of the pictures, in their order, a few pieces ahead."""
    pieces = (pictures[first : first + PIECE] for first in range(0, len(pictures), PIECE))
    ahead: deque[Future[list[Any]]] = deque()
    for piece in pieces:
        ahead.append(pool.submit(lambda piece: [*map(work, piece)], piece))
        if len(ahead) > PIECES:
            yield from ahead.popleft().result()
    while ahead:
        yield from ahead.popleft().result()


def _new(count: int, size: tuple[int, ...], root: Path) -> Array:
    """Return an array (N, 3, H, W) for the pictures; raises DataError where memory is too small."""
    where = f"{root}: a set of {count:,} pictures of {size[0]}x{size[1]} pixels"
    check_fits(3 * count * size[0] * size[1], where, ": --size such as 64 makes them smaller")
    return np.empty((count, 3, *size), np.uint8)


def _decoded(each: Listed, size: tuple[int, int] | None, grey: bool) -> Array | DataError:
    try:
        return picture.decode(each.path, size, grey)
    except DataError as error:
        return error


def _coloured(images: Array) -> bool:
    """Tell whether any of the images (N, 3, H, W) is not grey."""
    return any(bool((images[part, :1] != images[part, 1:]).any()) for part in pixels.blocks(images))


def _write(path: Path, arrays: dict[str, Array], listing: Listing) -> bool:
    """Keep the arrays in the cache, atomically; tell whether that could be done."""
    train, test = (Images(arrays[f"x_{part}"], arrays[f"y_{part}"]) for part in ("train", "test"))
    broken = {"broken": "\n".join(listing.broken)[:REMEMBERED]} if listing.broken else {}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=cache.BEGUN, dir=path.parent) as folder:
            temporary = Path(folder) / path.name
            hdf5.write(temporary, Dataset(train, test, "", len(listing.classes)), attributes=broken)
            temporary.replace(path)
        cache.hold(path)
        cache.prune(path.parent)
    except (OSError, RuntimeError):  # h5py raises either for a full disk
        return False
    return True


def _raw(path: Path, listing: Listing, arrays: dict[str, Array]) -> Raw:
    """Return the decoded pictures, from memory."""
    train, test = (
        Part(arrays[f"x_{part}"], arrays[f"y_{part}"], f"pictures to {part} on", f"{part} labels")
        for part in ("train", "test")
    )
    return Raw(
        f"{path}: ",
        train,
        test if listing.sets["test"] else None,
        tuple(listing.classes),
        "chw",
        _notes(listing),
        _warnings(path, listing),
    )


def _notes(listing: Listing) -> tuple[str, ...]:
    notes = [f"{len(listing.classes)} classes, a folder each"]
    if listing.others:
        notes.append(_shown(listing.others, "left out, which are no pictures"))
    return tuple(notes)


def _warnings(path: Path, listing: Listing) -> tuple[str, ...]:
    lines = [f"{path}: {line}" for line in _left_out(listing)]
    used = {each.label for each in listing.sets["train"]}
    if empty := [name for label, name in enumerate(listing.classes) if label not in used]:
        lines.append(f"{path}: no picture of class {', '.join(empty)}")
    return tuple(lines)


def _left_out(listing: Listing) -> list[str]:
    """Return what is said of files that ought to be read, as it seems."""
    lines = [_shown(listing.broken, "left out")] if listing.broken else []
    if listing.unread:
        kinds = {signature.UNREAD[Path(name).suffix.lower()] for name in listing.unread}
        cure = f"of {' and '.join(sorted(kinds))}, which is not read: save as JPEG or PNG"
        lines.append(_shown(listing.unread, cure))
    return lines


def _shown(names: list[str], what: str) -> str:
    """Return how many files are so, and the first of them."""
    some = "; ".join(map(one_line, names[:SHOWN])) + "; ..." * (len(names) > SHOWN)
    return f"{len(names)} file{'s' * (len(names) > 1)} {what} ({some})"
