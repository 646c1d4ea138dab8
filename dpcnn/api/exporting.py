"""Writing a trained network for other programs, by the name of the file: ONNX or .npz."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from dpcnn.errors import OptionError
from dpcnn.inference.model import Model, load
from dpcnn.inference.onnx import npz, onnx
from dpcnn.models.user import Make
from dpcnn.nn.layer import Layer
from dpcnn.system.files import write_atomically

FORMS = {".onnx": onnx, ".npz": npz}


def export(
    run: str | Path,
    out: str | Path,
    *,
    best: bool = False,
    network: Sequence[Layer] | Make | None = None,
) -> Path:
    """Write a run or checkpoint as NAME.onnx or NAME.npz, as `python -m dpcnn.export` does.

    best: the run's best epoch instead of its newest. network: the layers, needed if some are your
    own. Returns the path of the file; raises DpcnnError.
    """
    check_name(Path(out))
    write(load(run, network, best), Path(out))
    return Path(out)


def check_name(out: Path) -> None:
    """Raise OptionError for a file name that tells no form."""
    if out.suffix.lower() not in FORMS:
        names = " or ".join(f"NAME{suffix}" for suffix in FORMS)
        raise OptionError(f"found {out} to write, expected {names}")


def write(model: Model, out: Path) -> int:
    """Write the file whole, or leave what is there; return its bytes. Raises DpcnnError."""
    check_name(out)
    content = FORMS[out.suffix.lower()](model)
    try:
        write_atomically(out, content)
    except OSError as error:
        raise OptionError(f"{out}: {error.strerror}, expected a file to write") from error
    return len(content)
