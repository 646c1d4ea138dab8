"""What a file is by its first bytes, where it is not what its name says."""

from __future__ import annotations

import contextlib
from pathlib import Path

from dpcnn.system.files import UnsafeFileError, file_size

# Where a file of a kind has which bytes, and what to say of it.
SIGNATURES = (
    (0, b"<!doctype", "an HTML page: download the file itself"),
    (0, b"<html", "an HTML page: download the file itself"),
    (0, b"version https://git-lfs", "a pointer of Git LFS: fetch the file with git lfs pull"),
    (0, b"pk\x03\x04", "a zip archive: unpack it, or name it .npz if NumPy has written it"),
    (0, b"\x93numpy", "an array of NumPy: name it .npy"),
    (0, b"\x1f\x8b", "packed with gzip: unpack it with gunzip"),
    (0, b"bzh", "packed with bzip2: unpack it with bunzip2"),
    (0, b"\xfd7zxz", "packed with xz: unpack it with unxz"),
    (257, b"ustar", "a tar archive: unpack it with tar -xf"),
    (0, b"par1", "Parquet: write its images as .npz or as a folder of pictures"),
    (16, b"\xde\xc0\xef\xbe", "LMDB: write its images as .npz or as a folder of pictures"),
    (0, b"matlab 5.0", "MATLAB's format of version 5: save it with -v7.3, or as .npz with SciPy"),
    (0, b"\x89png", "a picture: --dataroot takes a folder with a folder of pictures a class"),
    (0, b"\xff\xd8\xff", "a picture: --dataroot takes a folder with a folder of pictures a class"),
    (0, b"\x80\x02", "a pickle, which may run any program: write its images as .npz"),
    (0, b"\x80\x03", "a pickle, which may run any program: write its images as .npz"),
    (0, b"\x80\x04", "a pickle, which may run any program: write its images as .npz"),
    (0, b"\x80\x05", "a pickle, which may run any program: write its images as .npz"),
)
SUFFIXES = {
    ".tfrecord": "TFRecord: write its images as .npz or as a folder of pictures",
    ".tfrecords": "TFRecord: write its images as .npz or as a folder of pictures",
}
# Pictures that Pillow does not read, or only with more packages.
UNREAD = {
    ".heic": "HEIC", ".heif": "HEIC", ".avif": "AVIF", ".jxl": "JPEG XL", ".svg": "SVG",
    ".psd": "PSD", ".pdf": "PDF", ".dng": "a raw photo", ".cr2": "a raw photo",
    ".nef": "a raw photo", ".arw": "a raw photo",
}  # fmt: skip
BRANDS = {b"ftypheic": "HEIC", b"ftypheix": "HEIC", b"ftypmif1": "HEIC", b"ftypavif": "AVIF"}
LENGTH = 512  # bytes


def describe(path: Path, expected: bytes = b"\x89HDF") -> str:
    """Return what a file is and what to do, "" if it is as expected or nothing known.

    expected: how a file of the right kind begins.
    """
    head = b""
    with contextlib.suppress(UnsafeFileError, OSError):
        file_size(path)
        with path.open("rb") as file:
            head = file.read(LENGTH)
        if not head:
            return "it is empty"
    if head.startswith(expected):
        return ""
    lower = head.lower()
    for place, signature, words in SIGNATURES:
        if lower[place:].lstrip().startswith(signature):
            return words
    return SUFFIXES.get(path.suffix.lower(), "")


def picture_kind(path: Path) -> str:
    """Return which picture a file is that is not read, by name or first bytes, "" if none known."""
    head = b""
    with contextlib.suppress(UnsafeFileError, OSError):
        file_size(path)
        with path.open("rb") as file:
            head = file.read(12)
    kind = BRANDS.get(head[4:], "") or UNREAD.get(path.suffix.lower(), "")
    return f"{kind}, which is not read: save it as JPEG or PNG" if kind else ""
