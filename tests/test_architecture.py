"""The house: who imports whom, how long files and functions are, what is documented."""

from __future__ import annotations

import ast
import statistics
from collections.abc import Iterator
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import dpcnn

PACKAGE = Path(dpcnn.__file__).parent
FILES = sorted(path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py"))
GROUND_FLOOR = 12  # modules
LONGEST_FILE = 400  # lines

# What each room may import of the package, besides itself, errors and version; and of others.
BASE = {"options", "system", "nn", "optim", "metrics", "data", "parallel", "run", "models"}
ROOMS: dict[str, tuple[set[str], set[str]]] = {
    "options": (set(), set()),
    "system": (set(), {"numpy", "h5py"}),
    "nn": (set(), {"numpy"}),
    "optim": (set(), {"numpy"}),
    "metrics": (set(), {"numpy"}),
    "data": ({"system"}, {"numpy", "h5py", "tqdm", "PIL"}),
    "parallel": (set(), {"numpy", "mpi4py"}),
    "run": ({"system"}, {"numpy", "h5py", "tensorboard"}),
    "models": ({"options", "nn"}, set()),
    "cli": ({"options", "system", "parallel", "run.outcome"}, set()),
    "inference": ({"options", "nn", "models", "data", "parallel", "run"}, {"numpy", "onnx"}),
    "training": (BASE | {"cli", "inference"}, {"numpy", "tqdm"}),
    "api": (BASE | {"cli", "inference", "training", "report"}, {"numpy", "matplotlib"}),
}
COMMANDS = {
    "train",
    "evaluate",
    "predict",
    "export",
    "verify",
    "bench",
    "report",
    "doctor",
    "check",
    "convert",
    "look",
}
# The files of a room that import a package which the others leave alone.
ONLY_IN = {
    "mpi4py": ["parallel/mpi.py"],
    "PIL": ["data/formats/picture.py"],
    "onnx": ["inference/onnx.py"],
    "tensorboard": ["run/loggers/tensorboard.py"],
    "torch": ["bench/torch_baseline.py", "bench/torch_network.py"],
}
# Files that are themselves imported only when they are needed.
LATE = ["parallel/mpi.py", "bench/torch_network.py"]
# Packages that not everybody has installed: imported when they are needed, not before.
EXTRAS = {"PIL", "onnx", "tensorboard", "torch", "mpi4py"}
# The engine, and how long its functions are without docstrings: median, 90th percentile, longest.
ENGINE = ("nn", "optim", "parallel", "training")
LINES_OF_FUNCTIONS = (5, 13, 37)


@cache
def tree(file: str) -> ast.Module:
    return ast.parse((PACKAGE / file).read_text())


def module(file: str) -> str:
    """Return the dotted name of a file, without the package's."""
    return file.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


MODULES = {module(file) for file in FILES}


def room(file: str) -> str:
    return file.removesuffix(".py").split("/")[0]


def imports(body: ast.AST) -> set[str]:
    """Return the dotted names of what is imported anywhere in a piece of code."""
    names = set()
    for node in ast.walk(body):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports name the whole path"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def own(names: set[str]) -> set[str]:
    """Return the modules of the package, without its name, that dotted names lie in."""
    found = set()
    for name in names:
        parts = name.split(".")
        if parts[0] == "dpcnn":
            tails = (".".join(parts[1:end]) for end in range(len(parts), 0, -1))
            found.add(next(tail for tail in tails if tail in MODULES or not tail))
    return {name or "__init__" for name in found}


def outside(names: set[str]) -> set[str]:
    return {name.split(".")[0] for name in names} - {"dpcnn"}


def test_the_reader_of_imports_sees_them_all() -> None:
    code = "import a.b\nif x:\n    from dpcnn.nn import pooling\ndef f():\n    import d"
    assert imports(ast.parse(code)) == {"a.b", "dpcnn.nn.pooling", "d"}
    assert own({"a.b", "dpcnn.nn.pooling", "dpcnn.nn.Dense", "dpcnn.options.parse", "dpcnn.x"}) == {
        *("nn.pooling", "nn", "options", "__init__"),
    }


@pytest.mark.parametrize("file", [file for file in FILES if room(file) in ROOMS])
def test_a_room_imports_only_what_it_may(file: str) -> None:
    rooms, packages = ROOMS[room(file)]
    allowed = rooms | {room(file), "errors", "version"}
    if file.endswith("/__main__.py"):
        allowed |= {"cli"}  # it is a command
    for name in own(imports(tree(file))):
        assert {name, name.split(".")[0]} & allowed, f"{file} imports dpcnn.{name}"
    assert outside(imports(tree(file))) & THIRD_PARTY <= packages


THIRD_PARTY = set().union(*(packages for _, packages in ROOMS.values())) | {"torch", "matplotlib"}


@pytest.mark.parametrize("file", [file for file in FILES if room(file) in COMMANDS])
def test_no_command_imports_another(file: str) -> None:
    for name in own(imports(tree(file))) - {"__init__"}:
        assert name.split(".")[0] not in COMMANDS - {room(file)}


@pytest.mark.parametrize("file", FILES)
def test_some_packages_are_imported_in_few_files(file: str) -> None:
    for package in outside(imports(tree(file))) & ONLY_IN.keys():
        assert file in ONLY_IN[package]


@pytest.mark.parametrize("file", FILES)
def test_extras_are_imported_only_when_they_are_needed(file: str) -> None:
    if file in LATE:
        return
    for statement in tree(file).body:
        if isinstance(statement, ast.Import | ast.ImportFrom):
            assert not outside(imports(statement)) & EXTRAS


def test_there_is_no_circle_of_imports() -> None:
    graph = {module(file): own(imports(tree(file))) - {"__init__"} for file in FILES}
    list(TopologicalSorter(graph).static_order())  # raises CycleError, with the circle


def test_the_ground_floor_has_few_modules() -> None:
    assert len([file for file in FILES if "/" not in file]) <= GROUND_FLOOR


@pytest.mark.parametrize("file", FILES)
def test_no_file_is_too_long_to_read(file: str) -> None:
    assert len((PACKAGE / file).read_text().splitlines()) <= LONGEST_FILE


def lines_of(function: ast.FunctionDef) -> int:
    """Return the lines of a function without its docstring and decorators."""
    docstring = function.body[0] if ast.get_docstring(function) else None
    skipped = 0 if docstring is None else docstring.end_lineno - docstring.lineno + 1
    return function.end_lineno - function.lineno + 1 - skipped


def test_the_functions_of_the_engine_are_short() -> None:
    functions = [
        node
        for file in FILES
        if room(file) in ENGINE
        for node in ast.walk(tree(file))
        if isinstance(node, ast.FunctionDef)
    ]
    lengths = sorted(map(lines_of, functions))
    shape = (statistics.median(lengths), lengths[len(lengths) * 9 // 10], lengths[-1])
    for found, limit in zip(shape, LINES_OF_FUNCTIONS, strict=True):
        assert found <= limit, f"median, 90th percentile, longest: {shape}"


@pytest.mark.parametrize("file", FILES)
def test_a_file_says_in_its_first_line_what_lives_there(file: str) -> None:
    if tree(file).body:
        first = (ast.get_docstring(tree(file)) or "").partition("\n")[0]
        assert len(first.split()) >= 3
        assert first.endswith((".", ":"))


# What prints by itself: the end of a process by an alarm, JSON and tables of numbers, and the
# progress bar, which moves the cursor. All other text goes through `say`, which escapes it.
PRINTERS = ("system/text.py", "parallel/", "models/", "bench/", "training/console.py")


@pytest.mark.parametrize("file", FILES)
def test_text_is_printed_by_one_function(file: str) -> None:
    calls = (node.func for node in ast.walk(tree(file)) if isinstance(node, ast.Call))
    prints = [call for call in calls if isinstance(call, ast.Name) and call.id == "print"]
    assert not prints or file.startswith(PRINTERS)


@cache
def classes() -> dict[str, ast.ClassDef]:
    nodes = (node for file in FILES for node in ast.walk(tree(file)))
    return {node.name: node for node in nodes if isinstance(node, ast.ClassDef)}


def documented(owner: str, method: str) -> bool:
    """Tell whether the package's class, or a base of it, documents the method."""
    found = classes().get(owner)
    if found is None:
        return False
    own = (node for node in found.body if isinstance(node, ast.FunctionDef))
    return any(node.name == method and ast.get_docstring(node) for node in own) or any(
        documented(ast.unparse(base), method) for base in found.bases
    )


def undocumented(body: list[ast.stmt], owner: str = "") -> Iterator[str]:
    """Yield the public functions, classes and methods without a docstring."""
    for node in body:
        if not isinstance(node, ast.FunctionDef | ast.ClassDef) or node.name.startswith("_"):
            continue
        if not ast.get_docstring(node) and not documented(owner, node.name):
            yield f"{owner}.{node.name}".lstrip(".")
        if isinstance(node, ast.ClassDef):
            yield from undocumented(node.body, node.name)


@pytest.mark.parametrize("file", FILES)
def test_everything_public_is_documented(file: str) -> None:
    assert list(undocumented(tree(file).body)) == []
