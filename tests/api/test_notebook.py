"""A real notebook, run without a browser: arrays, a callback, the estimator, what is shown."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Trained
from tests.launching import ROOT

CELLS = [
    """
import dpcnn
digits = dpcnn.read(r"{small}", train_limit=256)
class Watch(dpcnn.Callback):
    epochs = 0
    def on_epoch(self, metrics):
        self.epochs += 1
watch = Watch()
""",
    """
run = dpcnn.train(
    None, digits.train.images, digits.train.labels, x_test=digits.test.images,
    y_test=digits.test.labels, epochs=2, callbacks=[watch], run_dir="run",
)
""",
    "run",
    """
assert watch.epochs == 2
sets = digits.train.images, digits.train.labels, digits.test.images, digits.test.labels
dpcnn.Classifier(epochs=2).fit(*sets).model_.weights_sha256
""",
]


def test_a_notebook_trains_to_the_bits_of_the_command_and_shows_them(
    alone: Callable[..., Trained], small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nbclient = pytest.importorskip("nbclient", reason="nbclient is missing (extra notebook)")
    pytest.importorskip("ipykernel", reason="ipykernel is missing (extra notebook)")
    nbformat = pytest.importorskip("nbformat")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    cells = [nbformat.v4.new_code_cell(code.replace("{small}", str(small))) for code in CELLS]
    notebook = nbformat.v4.new_notebook(cells=cells)
    resources = {"metadata": {"path": str(tmp_path)}}
    nbclient.NotebookClient(
        notebook, timeout=200, startup_timeout=200, kernel_name="python3", resources=resources
    ).execute()
    _, trained, shown, fitted = (cell["outputs"] for cell in notebook.cells)
    sha256 = alone("--train_limit", 256, "--epochs", 2)[1]
    text = "".join(output["text"] for output in trained if output["output_type"] == "stream")
    lines = text.splitlines()
    assert lines[-1] == f"Weights SHA-256: {sha256}"
    assert all(line.startswith("Epoch ") for line in lines[-6:-4])
    assert sum(line.startswith("Epoch ") for line in lines) == 2
    assert all(letter.isprintable() or letter == "\n" for letter in text)
    assert "data:image/png" in shown[0]["data"]["text/html"] or not has_matplotlib()
    assert sha256[:16] in shown[0]["data"]["text/html"]
    assert fitted[0]["data"]["text/plain"] == repr(sha256)


def has_matplotlib() -> bool:
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        return False
    return True
