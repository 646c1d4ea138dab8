"""BLAS threads: how many, and that they are set before NumPy loads its BLAS."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy  # noqa: F401  (its BLAS)
import pytest
import threadpoolctl

from dpcnn.system import blas

CORES = len(os.sched_getaffinity(0))


def python(code: str, **environment: str) -> str:
    """Return what a fresh Python prints, in an environment without BLAS variables but these."""
    clean = {name: value for name, value in os.environ.items() if name not in blas.VARIABLES}
    command = [sys.executable, "-c", code]
    done = subprocess.run(
        command, env=clean | environment, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


@pytest.fixture
def unset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blas, "USERS", None)


@pytest.mark.parametrize("exact", [True, False])
def test_a_requested_number_wins(exact: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blas, "USERS", "5")
    assert blas.threads(3, exact=exact, local_size=2) == 3


@pytest.mark.parametrize("exact", [True, False])
def test_the_users_variable_comes_next(exact: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blas, "USERS", "5")
    assert blas.threads(None, exact=exact, local_size=2) == 5


@pytest.mark.usefixtures("unset")
def test_the_exact_reduction_takes_one() -> None:
    assert blas.threads(None, exact=True, local_size=1) == 1


@pytest.mark.usefixtures("unset")
@pytest.mark.parametrize("local_size", [1, 2, 1000])
def test_the_fast_reduction_shares_out_the_cores(local_size: int) -> None:
    assert blas.threads(None, exact=False, local_size=local_size) == max(1, CORES // local_size)


@pytest.mark.parametrize("users", ["many", "4,2", "-1", "²"])
def test_a_variable_that_is_no_number_does_not_count(
    users: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blas, "USERS", users)
    assert blas.threads(None, exact=True, local_size=1) == 1


SHOW = f"import dpcnn, os; print(*(os.environ[name] for name in {blas.VARIABLES}))"


def test_importing_the_package_sets_one_thread() -> None:
    assert python(SHOW) == "1 1 1"


@pytest.mark.parametrize("name", blas.VARIABLES)
def test_any_of_the_users_variables_is_respected(name: str) -> None:
    assert python(SHOW, **{name: "3"}) == "3 3 3"


@pytest.mark.parametrize(
    "module", ["dpcnn", "dpcnn.options", "dpcnn.parallel.launcher", "dpcnn.train"]
)
def test_what_is_imported_before_the_threads_are_set_imports_no_numpy(module: str) -> None:
    assert python(f"import sys, {module}; print('numpy' in sys.modules)") == "False"


def test_the_loaded_blas_is_what_an_independent_reader_finds() -> None:
    [expected] = threadpoolctl.threadpool_info() or [{}]
    if expected.get("user_api") != "blas":
        pytest.skip("NumPy has no BLAS here that tells of itself")
    assert blas.loaded() == {
        "kernels": expected["architecture"],
        "threads": expected["num_threads"],
    }
