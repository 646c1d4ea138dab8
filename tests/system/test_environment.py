"""environment.json: enough to know what the bits depend on, and nothing private."""

from __future__ import annotations

import json
import platform

import h5py
import numpy as np
import pytest

from dpcnn.system.environment import describe


def test_it_says_what_the_bits_depend_on() -> None:
    facts = describe("1.2", ["a", "a", "b"], "MPICH 9", 2)
    assert facts["dpcnn"] == "1.2"
    assert facts["hosts"] == ["a", "a", "b"]
    assert facts["mpi"] == "MPICH 9"
    assert facts["blas_threads"] == 2
    assert facts["python"] == platform.python_version()
    assert facts["packages"]["numpy"] == np.__version__
    assert facts["packages"]["h5py"] == h5py.__version__
    assert facts["cpu"]
    assert facts["cores"] >= 1
    assert facts["blas"]["name"]


def test_it_is_json() -> None:
    facts = describe("1.2", ["a"], "", 1)
    assert json.loads(json.dumps(facts)) == facts


def test_of_the_environment_only_blas_variables_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.setenv("SECRET_TOKEN", "hidden")
    facts = describe("1.2", ["a"], "", 1)
    assert facts["blas_environment"]["OMP_NUM_THREADS"] == "7"
    assert "hidden" not in json.dumps(facts)
