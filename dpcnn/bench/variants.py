"""What a user of PyTorch can choose between, and which CPU both sides are held to."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Variant(NamedTuple):
    """A way to run PyTorch: arguments of the baseline, and variables of its environment."""

    name: str
    arguments: tuple[str, ...]
    environment: dict[str, str]


# glibc gives large arrays back to the system when they are freed, and takes a page fault for every
# page of the next ones; with these, free memory is kept.
TUNED = {"MALLOC_MMAP_THRESHOLD_": str(1 << 30), "MALLOC_TRIM_THRESHOLD_": str(1 << 32)}

VARIANTS = [
    Variant(layout + suffix, arguments, environment)
    for layout, arguments in (("NCHW", ()), ("channels-last", ("--channels-last",)))
    for suffix, environment in (("", {}), (", tuned", TUNED))
]

AVX2 = "avx2"


def held_to(isa: str | None) -> dict[str, str]:
    """Return the variables that hold NumPy, OpenBLAS and PyTorch to that instruction set.

    isa: AVX2, or None for what the CPU has.
    """
    if isa is None:
        return {}
    beyond = np.show_config(mode="dicts")["SIMD Extensions"]["found"]
    beyond = [name for name in beyond if name == "X86_V4" or name.startswith("AVX512")]
    return {
        "OPENBLAS_CORETYPE": "Haswell",
        "ONEDNN_MAX_CPU_ISA": "AVX2",
        "MKL_ENABLE_INSTRUCTIONS": "AVX2",
        "ATEN_CPU_CAPABILITY": AVX2,
        **({"NPY_DISABLE_CPU_FEATURES": " ".join(beyond)} if beyond else {}),
    }
