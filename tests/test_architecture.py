"""The house as DESIGN draws it: who imports whom, how long files are, what is documented."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import dpcnn

PACKAGE = Path(dpcnn.__file__).parent
FILES = sorted(path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py"))
ROOMS = ("nn", "optim", "data", "parallel", "run")
LONGEST = 400

# What a room or a file may import of the package, wherever in the file the import stands.
ALLOWED = {
    "errors": set(),
    "files": set(),
    "blas": set(),
    "outcome": set(),
    "__init__": {"blas", "errors", "training", "model", "nn"},
    "options": {"errors"},
    "commandline": {"errors", "files", "options"},
    "nn": {"errors", "nn"},
    "optim": {"errors", "optim"},
    "untrusted": set(),
    "data": {"errors", "untrusted", "data"},
    "parallel": {"errors", "parallel"},
    "run": {"errors", "blas", "outcome", "untrusted", "run"},
    "job": {"errors", "blas", "outcome", "parallel"},
    "position": {"errors"},
    "spending": {"parallel"},
    "confusion": set(),
    "tables": {"confusion"},
    "evaluation": {"nn", "data", "parallel"},
    "custom": {"errors", "options", "nn", "run"},
    "building": {"errors", "options", "custom", "nn", "run"},
    "model": {"errors", "options", "building", "evaluation", "nn", "data", "run"},
    "exchange": {"__init__", "building", "errors", "model", "nn"},
    "train": {"__init__", "training"},
    "training": {"commandline", "job", "model", "nn", "start", "trainer"},
    "rescue": {"parallel", "run", "trainer"},
    "trainer": {
        *("errors", "options", "outcome", "building", "position", "spending", "evaluation"),
        "rescue",
        *ROOMS,
    },
    "start": {"__init__", "building", "custom", "errors", "options", "rescue", "trainer", *ROOMS},
    "report": {
        *("errors", "options", "outcome", "untrusted", "building", "model", "confusion", "start"),
        *("data", "parallel", "run", "report"),
    },
}
# Every other file at the top is an entry file, with a main(): the command line comes first, and
# what needs NumPy is imported when that is read; bench's PyTorch needs a dataset and no trainer.
ENTRY = {"errors", "options", "commandline", "job"}
ENTRY_LATER = {
    "start", "trainer", "building", "custom", "model", "position", "evaluation", "confusion",
    "tables", "exchange", "run", "data", "report",
}  # fmt: skip
# Two commands have a folder each, whose files are under the same rule; they measure the ranks.
FOLDERS = {"bench": {"bench"}, "doctor": {"doctor", "bench"}}
FOLDERS_LATER = {"__init__", "parallel"}

# What is imported before the BLAS threads are set, besides the entry files.
EARLY = ("__init__", "errors", "files", "options", "commandline", "blas", "outcome", "job")
EARLY += ("parallel/launcher", "train", "training")
H5PY = {"untrusted.py", "data/hdf5.py", "run/checkpoint.py"}
DRAWING = {
    f"report/{name}.py"
    for name in ("charts", "figures", "parts", "pictures", "timecharts", "write")
}
OUTSIDE = {"mpi4py": {"parallel/mpi.py"}, "h5py": H5PY, "matplotlib": DRAWING}
EXTRAS = {"PIL": "data/picture.py", "onnx": "exchange.py"}


@cache
def tree(file: str) -> ast.Module:
    return ast.parse((PACKAGE / file).read_text())


def place(file: str) -> str:
    """Return the room of a file, or its own name at the top; an entry of a room has its own."""
    own = "/" not in file or file.endswith("/__main__.py")
    return file.removesuffix(".py") if own else file.split("/")[0]


def entries() -> list[str]:
    return [file for file in FILES if place(file) not in ALLOWED]


def at_import(node: ast.AST) -> Iterator[ast.stmt]:
    """Yield the statements that run when a module is imported."""
    for child in ast.iter_child_nodes(node):
        typing = isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test)
        if typing or isinstance(child, ast.FunctionDef):
            continue
        if isinstance(child, ast.stmt):
            yield child
        yield from at_import(child)


def imports(nodes: Iterator[ast.AST]) -> set[str]:
    """Return the dotted names of what these nodes import."""
    names = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports name the whole path"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def own(names: set[str]) -> set[str]:
    """Return the places in the package that dotted names lie in."""
    parts = (name.split(".") for name in names if name.startswith("dpcnn."))
    return {
        p[1] if (PACKAGE / p[1]).exists() or f"{p[1]}.py" in FILES else "__init__" for p in parts
    }


def outside(names: set[str]) -> set[str]:
    return {name.split(".")[0] for name in names} - {"dpcnn"}


def test_the_reader_of_imports_sees_them_all() -> None:
    code = "import a.b\nif x:\n    from dpcnn.nn import c\ndef f():\n    import d"
    assert imports(ast.walk(ast.parse(code))) == {"a.b", "dpcnn.nn.c", "d"}
    assert imports(at_import(ast.parse(code))) == {"a.b", "dpcnn.nn.c"}
    assert own({"a.b", "dpcnn.nn.c", "dpcnn.options.parse", "dpcnn.__version__"}) == {
        "nn",
        "options",
        "__init__",
    }


@pytest.mark.parametrize("file", [file for file in FILES if place(file) in ALLOWED])
def test_a_file_imports_only_what_its_room_may(file: str) -> None:
    assert own(imports(ast.walk(tree(file)))) <= ALLOWED[place(file)]


@pytest.mark.parametrize("file", entries())
def test_an_entry_file_reads_its_command_line_before_it_imports_the_rest(file: str) -> None:
    folder = FOLDERS.get(file.split("/")[0], set())
    assert own(imports(at_import(tree(file)))) <= ENTRY | folder
    later = folder | FOLDERS_LATER if folder else set()
    assert own(imports(ast.walk(tree(file)))) <= ENTRY | ENTRY_LATER | later


@pytest.mark.parametrize("file", FILES)
def test_mpi4py_h5py_and_matplotlib_are_imported_in_their_places_only(file: str) -> None:
    used = outside(imports(ast.walk(tree(file))))
    assert {name for name in OUTSIDE if name in used and file not in OUTSIDE[name]} == set()


@pytest.mark.parametrize("file", FILES)
def test_extras_are_imported_in_one_file_each_and_only_when_they_are_needed(file: str) -> None:
    used = outside(imports(ast.walk(tree(file)))) & EXTRAS.keys()
    assert used == {name for name, place in EXTRAS.items() if place == file}
    assert not used & outside(imports(at_import(tree(file))))


@pytest.mark.parametrize(
    "file",
    [f"{name}.py" for name in EARLY] + entries(),
)
def test_numpy_is_not_imported_before_the_threads_are_set(file: str) -> None:
    assert not outside(imports(at_import(tree(file)))) & {"numpy", "h5py", "mpi4py", "tqdm"}


@pytest.mark.parametrize("room", ["nn", "optim"])
def test_the_math_needs_numpy_alone(room: str) -> None:
    standard = {
        "__future__",
        "collections",
        "dataclasses",
        "math",
        "typing",
        "abc",
        "functools",
        "inspect",
        "operator",
    }
    used = [outside(imports(ast.walk(tree(file)))) for file in FILES if place(file) == room]
    assert set().union(*used) <= {"numpy"} | standard


@pytest.mark.parametrize("file", FILES)
def test_no_file_is_too_long_to_read(file: str) -> None:
    assert len((PACKAGE / file).read_text().splitlines()) <= LONGEST


@pytest.mark.parametrize("file", FILES)
def test_a_file_says_in_its_first_line_what_lives_there(file: str) -> None:
    if tree(file).body:
        first = (ast.get_docstring(tree(file)) or "").partition("\n")[0]
        assert len(first.split()) >= 3
        assert first.endswith((".", ":"))


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
