"""Chunks of 23 digits and windows of 161, so that a small file has many; run, the module of RUN."""

from __future__ import annotations

import os
import runpy

import dpcnn  # noqa: F401  (one BLAS thread, before NumPy)

from dpcnn.data import sampler  # isort: skip

sampler.CHUNK = 23 * 784
sampler.WINDOW = 161 * 784
if __name__ == "__main__":
    runpy.run_module(os.environ.get("RUN", "dpcnn.train"), run_name="__main__", alter_sys=True)
