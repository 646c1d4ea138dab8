"""export: an ONNX runtime gives the probabilities of the network, NumPy reads its parameters."""

from __future__ import annotations

import json
import os

import numpy as np
import pytest

from dpcnn.data.formats import registry
from dpcnn.data.formats.raw import Wanted
from dpcnn.data.sources import synthetic
from dpcnn.export import main
from dpcnn.inference.model import load
from tests import networks
from tests.launching import ROOT, run

onnx = pytest.importorskip("onnx", reason="onnx is not installed (extra onnx)")
onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed (extra test)")


def trained(data, cwd, *options):
    """Return the run directory of a training with these options."""
    arguments = ("--dataroot", data, "--epochs", 1, "--run_dir", "run", *options)
    result = run(None, *arguments, cwd=cwd, PYTHONPATH=str(ROOT))
    assert result.returncode == 0, result.stderr
    return cwd / "run"


@pytest.fixture(scope="module")
def tutorial(small, tmp_path_factory):
    """An epoch of the default network."""
    return trained(small, tmp_path_factory.mktemp("tutorial"))


def export(directory, *arguments, ranks=None, **environment):
    return run(
        ranks, directory, *arguments, cwd=directory.parent, module="dpcnn.export", **environment
    )


def exported(directory, name):
    """Return the path of what was exported under that name."""
    result = export(directory, name)
    assert result.returncode == 0, result.stderr
    path = directory.parent / name
    assert result.stdout == f"{name}: {path.stat().st_size:,} bytes\n"
    return path


def check_parity(session, model, images):
    """Check that ONNX's answers for (N, C, H, W) uint8 are the model's."""
    found = session.run(["probabilities"], {"images": (images / 255).astype(np.float32)})[0]
    expected = model.probabilities(images)
    assert np.abs(found - expected).max() < 1e-5
    np.testing.assert_array_equal(found.argmax(axis=1), expected.argmax(axis=1))


def test_onnx_gives_the_classes_and_probabilities_of_a_thousand_images(tutorial):
    session = onnxruntime.InferenceSession(exported(tutorial, "a.onnx"))
    images = synthetic.draw(1000, seed=5)[0][:, None]
    check_parity(session, load(tutorial), images)
    [given] = session.get_inputs()
    assert (given.name, given.type, given.shape) == ("images", "tensor(float)", ["N", 1, 28, 28])
    outputs = {each.name: each.shape for each in session.get_outputs()}
    assert outputs == {"logits": ["N", 10], "probabilities": ["N", 10]}
    one = images[:1].astype(np.float32) / 255
    logits, probabilities = session.run(["logits", "probabilities"], {"images": one})
    exponentials = np.exp(logits - logits.max())
    np.testing.assert_allclose(probabilities, exponentials / exponentials.sum(), rtol=1e-4)


def test_onnx_gives_the_same_on_a_thousand_test_images_of_mnist(mnist, tmp_path):
    directory = trained(mnist, tmp_path, "--max_steps", 300, "--lr", 0.05)
    session = onnxruntime.InferenceSession(exported(directory, "a.onnx"))
    images = registry.read(mnist, Wanted((1, 28, 28), 10)).test.images[:1000]
    check_parity(session, load(directory), np.asarray(images))


def test_every_layer_of_dpcnn_is_exported(small, tmp_path):
    directory = trained(small, tmp_path, "--model", "tests.networks:two_convolutions")
    session = onnxruntime.InferenceSession(exported(directory, "a.onnx"))
    check_parity(session, load(directory), synthetic.draw(100, seed=6)[0][:, None])


def test_strides_and_padding_are_exported(small, tmp_path):
    sizes = ("--h_filter", 6, "--w_filter", 4, "--stride", 2, "--padding", 2, "--n_filter", 5)
    directory = trained(small, tmp_path, *sizes, "--max_steps", 3)
    session = onnxruntime.InferenceSession(exported(directory, "a.onnx"))
    check_parity(session, load(directory), synthetic.draw(100, seed=7)[0][:, None])


def test_a_users_layer_is_named_and_goes_into_npz(small, tmp_path):
    model = ("--model", "tests.networks:with_swish")
    directory = trained(small, tmp_path, *model, "--max_steps", 3)
    result = export(directory, "a.onnx", *model)
    assert result.returncode == 1
    assert "swish1 is Swish(" in result.stderr
    assert result.stderr.count("\n") == 1
    assert not (tmp_path / "a.onnx").exists()
    assert export(directory, "a.npz", *model).returncode == 0
    layers = load(directory, networks.with_swish()).network.named_values()
    np.testing.assert_array_equal(np.load(tmp_path / "a.npz")["dense1/W"], layers["dense1"]["W"])


def test_plain_arrays_are_read_without_pickle(tutorial):
    arrays = np.load(exported(tutorial, "a.npz"), allow_pickle=False)
    parameters = load(tutorial).network.named_values()
    names = {f"{layer}/{name}": array for layer in parameters for name, array in
             parameters[layer].items()}  # fmt: skip
    assert set(arrays) == {*names, "metadata"}
    for name, array in names.items():
        assert arrays[name].dtype == np.float32
        np.testing.assert_array_equal(arrays[name], array)


def test_both_files_tell_what_the_network_is(tutorial, small):
    *_, last = map(json.loads, (tutorial / "metrics.jsonl").read_text().splitlines())
    graph = onnx.load(exported(tutorial, "b.onnx"))
    told = {each.key: each.value for each in graph.metadata_props}
    assert told["weights_sha256"] == last["weights_sha256"]
    assert float(told["test_accuracy"]) == last["test_accuracy"]
    assert told["dataset"] == small.name
    assert json.loads(told["network"]) == load(tutorial).checkpoint.network
    assert json.loads(str(np.load(exported(tutorial, "b.npz"))["metadata"])) == told


def test_a_checkpoint_within_an_epoch_claims_no_accuracy(small, tmp_path):
    directory = trained(small, tmp_path, "--epochs", 2, "--max_steps", 20)
    told = json.loads(str(np.load(exported(directory, "a.npz"))["metadata"]))
    assert told["step"] == "20"
    assert "test_accuracy" not in told


def test_the_old_file_stays_where_the_new_one_cannot_be_written(tutorial, tmp_path):
    out = tmp_path / "a.npz"
    out.write_bytes(b"old")
    limited = ["bash", "-c", 'ulimit -f 100; exec "$@"', "bash"]
    result = run(None, tutorial, out, cwd=tmp_path, module="dpcnn.export", under=limited)
    assert result.returncode == 2
    assert "a.npz: File too large" in result.stderr
    assert out.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a.npz"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["a.pt"], "found a.pt to write, expected NAME.onnx or NAME.npz"),
        (["a"], "found a to write"),
        ([], "OUT"),
        (["nowhere/a.npz"], "nowhere/a.npz: No such file or directory"),
    ],
)
def test_what_cannot_be_exported_is_one_line(tutorial, arguments, words, monkeypatch, capsys):
    monkeypatch.chdir(tutorial.parent)
    assert main([str(tutorial), *arguments]) == 2
    err = capsys.readouterr().err
    assert words in err
    assert err.count("\n") == 1


def test_several_ranks_are_refused_in_one_line(tutorial):
    result = export(tutorial, "a.npz", ranks=2)
    assert result.returncode == 2
    assert "found 2 ranks, expected one process" in result.stderr
    assert result.stderr.count("\n") == 1


def test_without_onnx_the_extra_is_named_and_npz_is_written(tutorial, tmp_path):
    (tmp_path / "onnx.py").write_text("raise ImportError('none here')")
    path = f"{tmp_path}{os.pathsep}{ROOT}"
    result = export(tutorial, "c.onnx", PYTHONPATH=path)
    assert result.returncode == 2
    assert "pip install dpcnn[onnx]" in result.stderr
    assert result.stderr.count("\n") == 1
    assert export(tutorial, "c.npz", PYTHONPATH=path).returncode == 0
