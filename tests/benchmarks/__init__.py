"""Benchmarks, left out of the default run: python -m pytest tests/benchmarks/bench_layers.py

Each file measures a fast path against the plain way to do the same, on one BLAS thread; a pytest
that was told to load NumPy first needs OPENBLAS_NUM_THREADS=1 in its environment.
"""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
