"""The files of a run directory, which may be damaged, still being written, or hostile."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dpcnn.run import validation
from dpcnn.system.files import UnsafeFileError, open_inside
from dpcnn.system.text import one_line

LIMIT = 64 << 20  # bytes of a file that is read
DEEPEST = 8  # levels of objects and lists within each other
NEWEST = 5000  # lines of a file that are shown
TAIL = 10_000  # characters of a text that are shown, its last ones
TEXTS = 20  # that are shown

Object = dict[str, Any]


class Files:
    """Reads files of a directory; `missing` says in sentences what could not be read, and why."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.missing: list[str] = []

    def object(self, name: str, content: str) -> Object:
        """Return the JSON object in a file, an empty one if it cannot be read.

        content: what the file holds, such as "the options".
        """
        try:
            value = _parse(self._bytes(name))
            if not isinstance(value, dict):
                raise ValueError("not a JSON object")
        except (OSError, ValueError, RecursionError) as error:
            self.missing.append(f"{_trouble(name, error)}; {content} cannot be shown.")
            return {}
        return value

    def lines(self, name: str, usable: Callable[[Object], bool]) -> list[Object]:
        """Return the newest usable JSON objects of a file with one in each line."""
        try:
            lines = self._last_bytes(name).splitlines()
        except (OSError, ValueError) as error:
            self.missing.append(f"{_trouble(name, error)}.")
            return []
        objects = {place: _object(line) for place, line in enumerate(lines, 1) if line.strip()}
        sound = [value for value in objects.values() if value is not None and usable(value)]
        broken = [place for place, value in objects.items() if value is None or not usable(value)]
        if len(sound) > NEWEST:
            self.missing.append(
                f"{name}: only the last {NEWEST:,} of {len(sound):,} lines are shown."
            )
        if broken:
            places = ", ".join(map(str, broken[:10])) + ", ..." * (len(broken) > 10)
            self.missing.append(f"{name}: line {places} cannot be read and is left out.")
        return sound[-NEWEST:]

    def texts(self, pattern: str) -> dict[str, str]:
        """Return the ends of the text files of a pattern such as errors/*.txt, by their names."""
        texts = {}
        for path in sorted(self.directory.glob(pattern))[:TEXTS]:
            name = path.relative_to(self.directory).as_posix()
            try:
                texts[name] = self._bytes(name).decode(errors="replace")[-TAIL:]
            except (OSError, ValueError) as error:
                self.missing.append(f"{_trouble(name, error)}.")
        return texts

    def _last_bytes(self, name: str) -> bytes:
        """Return the last lines of a file, as many as are read at most; raises as `_bytes` does."""
        with open_inside(self.directory, name) as file:
            begin = os.fstat(file.fileno()).st_size - LIMIT
            if begin > 0:
                file.seek(begin)
                file.readline()
            content: bytes = file.read(LIMIT)
        return content

    def _bytes(self, name: str) -> bytes:
        """Return the contents of a regular file; raises UnsafeFileError or OSError."""
        with open_inside(self.directory, name) as file:
            size = os.fstat(file.fileno()).st_size
            if size > LIMIT:
                raise UnsafeFileError(f"{size:,} bytes, expected at most {LIMIT:,}")
            content: bytes = file.read()
        return content


def as_line(value: Any) -> str:
    """Return a JSON value as one line: as it would be given on a command line, ? for null."""
    if isinstance(value, list):
        return one_line(", ".join(map(as_line, value)))
    if isinstance(value, dict):
        return one_line(", ".join(f"{key}: {as_line(value[key])}" for key in value))
    if value is None:
        return "?"
    return str(value).lower() if isinstance(value, bool) else one_line(value)


def _parse(content: bytes) -> Any:
    """Return the value of a JSON text; raises ValueError or RecursionError for an unusable one."""
    value = validation.parse(content)
    if not _is_shallow(value, DEEPEST):
        raise ValueError("nested too deep")
    return value


def _object(line: bytes) -> Object | None:
    """Return the JSON object of a line, None for anything else."""
    try:
        value = _parse(line)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _is_shallow(value: Any, levels: int) -> bool:
    """Tell whether objects and lists are nested at most this deep."""
    if not isinstance(value, dict | list):
        return True
    inner = value.values() if isinstance(value, dict) else value
    return levels > 0 and all(_is_shallow(element, levels - 1) for element in inner)


def _trouble(name: str, error: Exception) -> str:
    """Return what is wrong with a file, which is named first."""
    strerror = getattr(error, "strerror", None) or ""
    if strerror.startswith(name):
        return one_line(strerror)
    return f"{name}: {one_line(strerror.lower() or error)}"
