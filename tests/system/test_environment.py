"""environment.json: enough to know what the bits depend on, and nothing private."""

from __future__ import annotations

import json
import platform

import h5py
import numpy as np
import pytest

from dpcnn.system.environment import collect


def test_it_says_what_the_bits_depend_on() -> None:
    environment = collect("1.2", ["a", "a", "b"], "MPICH 9", 2)
    assert environment["dpcnn"] == "1.2"
    assert environment["hosts"] == ["a", "a", "b"]
    assert environment["mpi"] == "MPICH 9"
    assert environment["blas_threads"] == 2
    assert environment["python"] == platform.python_version()
    assert environment["packages"]["numpy"] == np.__version__
    assert environment["packages"]["h5py"] == h5py.__version__
    assert environment["cpu"]
    assert environment["cores"] >= 1
    assert environment["blas"]["name"]


def test_it_is_json() -> None:
    environment = collect("1.2", ["a"], "", 1)
    assert json.loads(json.dumps(environment)) == environment


def test_of_the_environment_only_blas_variables_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.setenv("SECRET_TOKEN", "hidden")
    environment = collect("1.2", ["a"], "", 1)
    assert environment["blas_environment"]["OMP_NUM_THREADS"] == "7"
    assert "hidden" not in json.dumps(environment)
