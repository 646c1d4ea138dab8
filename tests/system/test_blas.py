"""BLAS threads: how many a rank has, one as loaded, and any number afterwards."""

from __future__ import annotations

import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy  # noqa: F401  (its BLAS)
import pytest
import threadpoolctl

from dpcnn.system import blas
from tests.launching import run

CORES = len(os.sched_getaffinity(0))


def blas_infos() -> list[dict[str, Any]]:
    """Return what threadpoolctl finds of NumPy's BLAS; another test may have loaded SciPy's too."""
    found = [info for info in threadpoolctl.threadpool_info() if info["user_api"] == "blas"]
    return [info for info in found if "scipy.libs" not in info["filepath"]]


tells = pytest.mark.skipif(not blas_infos(), reason="NumPy's BLAS here tells nothing of itself")


def python(code: str, *arguments: Any, **environment: str) -> str:
    """Return what a fresh Python prints, in an environment without BLAS variables but these."""
    clean = {name: value for name, value in os.environ.items() if name not in blas.VARIABLES}
    command = [sys.executable, "-c", code, *map(str, arguments)]
    done = subprocess.run(
        command, env=clean | environment, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


@pytest.fixture(autouse=True)
def unset(monkeypatch: pytest.MonkeyPatch) -> None:
    """No variable of the user's says how many threads."""
    for name in blas.VARIABLES:
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("exact", [True, False])
def test_a_requested_number_wins(exact: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    assert blas.threads(3, exact=exact, local_size=2) == 3


@pytest.mark.parametrize("exact", [True, False])
@pytest.mark.parametrize("name", blas.VARIABLES)
def test_the_users_variable_comes_next(
    name: str, exact: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, "5")
    assert blas.threads(None, exact=exact, local_size=2) == 5


def test_the_exact_reduction_takes_one() -> None:
    assert blas.threads(None, exact=True, local_size=1) == 1


@pytest.mark.parametrize("local_size", [1, 2, 1000])
def test_the_fast_reduction_shares_out_the_cores(local_size: int) -> None:
    assert blas.threads(None, exact=False, local_size=local_size) == max(1, CORES // local_size)


@pytest.mark.parametrize("value", ["many", "4,2", "-1", "²", ""])
def test_a_variable_that_is_no_number_does_not_count(
    value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", value)
    assert blas.threads(None, exact=True, local_size=1) == 1


SHOW = "from dpcnn.system import blas; print(blas.loaded()['threads'])"


@tells
def test_importing_the_package_starts_one_thread_and_no_other() -> None:
    count = "import os; print(len(os.listdir('/proc/self/task')))"
    assert python(SHOW) == "1"
    assert python(f"import dpcnn; {count}") == "1"
    if CORES > 1:  # NumPy by itself starts one a core, which is too many where ranks share them
        assert int(python(f"import numpy; {count}")) > 1


@tells
@pytest.mark.parametrize("name", blas.VARIABLES)
def test_any_of_the_users_variables_is_respected(name: str) -> None:
    assert python(SHOW, **{name: "3"}) == "3"


@tells
def test_a_new_process_can_be_given_the_threads_of_this_one() -> None:
    with blas.limited(3):
        variables = blas.as_variables()
    assert python(SHOW, **variables) == "3"


def test_the_environment_is_afterwards_what_the_user_has_set() -> None:
    show = f"import os, dpcnn; print(*(os.environ.get(name) for name in {blas.VARIABLES}))"
    assert python(show) == "None None None"
    assert python(show, OMP_NUM_THREADS="3") == "None 3 None"


@tells
def test_a_numpy_that_was_imported_before_keeps_its_threads() -> None:
    before = "import numpy, threadpoolctl; [info] = threadpoolctl.threadpool_info()"
    show = f"print(info['num_threads'], end=' '); {SHOW}"
    first, second = python(f"{before}; {show}").split()
    assert first == second


@pytest.mark.parametrize("mpi", [None, "mpich", "openmpi"])
def test_a_number_set_after_loading_is_the_number_of_threads_that_compute(
    mpi: str | None, tmp_path: Path
) -> None:
    start: dict[str, Any] = {"cwd": tmp_path, "module": "tests.system.blas_threads"}
    result = run(None, **start) if mpi is None else run(2, "mpi", mpi=mpi, **start)
    assert result.returncode == 0, result.stderr
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert lines == [[[1, 1], [4, 4], [1, 1]]] * (1 if mpi is None else 2)


PRODUCTS = """
import hashlib, numpy
from dpcnn.system import blas
rng = numpy.random.default_rng(0)
with blas.limited(2):
    for shape in ((32, 49, 9216), (10, 18432, 16), (300, 300, 300)):
        a, b = rng.standard_normal(shape[:2]), rng.standard_normal(shape[1:])
        print(hashlib.sha256((a.astype("f4") @ b.astype("f4")).tobytes()).hexdigest())
"""


def test_the_bits_depend_on_the_number_and_not_on_when_it_was_set() -> None:
    assert python(f"import dpcnn; {PRODUCTS}") == python(PRODUCTS, OPENBLAS_NUM_THREADS="2")


@tells
def test_the_loaded_blas_is_what_an_independent_reader_finds() -> None:
    for count in (1, 3):
        with blas.limited(count):
            [info] = blas_infos()
            assert blas.loaded() == {"kernels": info["architecture"], "threads": count}
            assert info["num_threads"] == count


def test_threads_are_given_back_after_an_error() -> None:
    before = blas.loaded()
    with pytest.raises(ValueError, match="of the work"), blas.limited(3):
        raise ValueError("of the work")
    assert blas.loaded() == before


STAND_IN = """
static int count = 2;
void MKL_Set_Num_Threads(int number) { count = number; }
int MKL_Get_Max_Threads(void) { return count; }
"""
MKL = """
import ctypes, sys
library = ctypes.CDLL(sys.argv[1])
from dpcnn.system import blas
library.MKL_Set_Num_Threads(2)
with blas.limited(1):
    print(library.MKL_Get_Max_Threads(), end=" ")
print(library.MKL_Get_Max_Threads())
"""


def mkl(kind: str, folder: Path) -> Path:
    """Return an MKL, or a library with its functions; skips where it cannot be had."""
    if kind == "a stand-in":
        if shutil.which("cc") is None:
            pytest.skip("found no C compiler cc")
        path = folder / "libmkl_rt.so.2"
        (folder / "mkl.c").write_text(STAND_IN)
        subprocess.run(["cc", "-shared", "-fPIC", "-o", path, folder / "mkl.c"], check=True)
        return path
    try:
        files = importlib.metadata.files("mkl") or []
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("found no package mkl: pip install mkl")
    [path] = (file.locate() for file in files if file.name.startswith("libmkl_rt.so"))
    return Path(path).resolve()


@pytest.mark.parametrize("kind", ["a stand-in", "the real one"])
def test_mkl_is_limited_by_its_own_functions(kind: str, tmp_path: Path) -> None:
    library = mkl(kind, tmp_path)
    assert python(MKL, library, LD_LIBRARY_PATH=str(library.parent)) == "1 2"
