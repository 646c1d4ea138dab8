"""predict: scans and photos of digits, files of every kind, broken ones among them."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import h5py
import numpy as np
import pytest

from dpcnn.data.formats import picture, registry
from dpcnn.data.formats.raw import Wanted
from dpcnn.errors import DataError
from dpcnn.inference.model import load
from tests.launching import ROOT, run

pytest.importorskip("PIL", reason="Pillow is not installed (extra images)")
from PIL import Image, ImageFilter

from tests.data.formats import photos

DIGITS = 20
PICTURES = 6  # of each kind


@pytest.fixture(scope="module")
def mnist_run(mnist, tmp_path_factory):
    """A network trained on MNIST for 600 steps."""
    cwd = tmp_path_factory.mktemp("mnist")
    options = ("--dataroot", mnist, "--max_steps", 600, "--lr", 0.05, "--run_dir", "run")
    options += ("--test_limit", 100)
    assert run(2, *options, cwd=cwd).returncode == 0
    return cwd / "run"


@pytest.fixture(scope="module")
def mnist_digits(mnist):
    """The first MNIST test images (N, 28, 28) uint8, and their labels."""
    with h5py.File(mnist) as file:
        images = np.rint(file["x_test"][:DIGITS].reshape(-1, 28, 28) * 255).astype(np.uint8)
        return images, file["y_test"][:DIGITS].ravel()


@pytest.fixture(scope="module")
def small_run(small, tmp_path_factory):
    """The run directory of an epoch with a smaller network than the default."""
    cwd = tmp_path_factory.mktemp("small")
    options = ("--dataroot", small, "--epochs", 1, "--n_filter", 4, "--run_dir", "run")
    assert run(None, *options, cwd=cwd).returncode == 0
    return cwd / "run"


@pytest.fixture(scope="module")
def images(small):
    """Test images (N, 28, 28) uint8 in the form of the training."""
    return registry.read(small, Wanted((1, 28, 28), 10)).test.images[:, 0]


def predict(trained, *arguments, cwd=None, ranks=None):
    return run(ranks, trained, *arguments, cwd=cwd or trained.parent, module="dpcnn.predict")


def classes(result, code=0):
    """Return the second column of a result."""
    assert result.returncode == code, result.stderr
    return [int(line.split("\t")[1]) for line in result.stdout.splitlines()]


def photo(digit, rng, shadow):
    """A photo of a digit on paper: turned, off the middle, noisy, in a shadow, as JPEG has it."""
    ink = Image.new("L", (400, 300))
    large = Image.fromarray(digit).resize((220, 220), Image.Resampling.BICUBIC)
    large = large.rotate(rng.uniform(-12, 12), Image.Resampling.BICUBIC)
    ink.paste(large, (int(rng.integers(0, 180)), int(rng.integers(0, 80))))
    cover = np.asarray(ink.filter(ImageFilter.GaussianBlur(1)), float)[..., None] / 255
    colours = np.array([0.93, 0.90, 0.84]) * (1 - cover) + np.array([0.12, 0.14, 0.35]) * cover
    y, x = np.mgrid[-1:1:300j, -1:1:400j]
    along = np.cos(rng.uniform(0, 7)) * x + np.sin(rng.uniform(0, 7)) * y
    light = np.where(along > 0.2, 1, 0.55) if shadow == "hard" else 0.75 + 0.2 * along
    pixels = colours * light[..., None] + rng.normal(0, 0.04, colours.shape)
    return Image.fromarray((pixels.clip(0, 1) * 255).astype(np.uint8))


def test_mnist_digits_scanned_in_black_on_white_are_read(mnist_run, mnist_digits, tmp_path):
    digits, labels = mnist_digits
    for number, digit in enumerate(digits):
        large = Image.fromarray(digit).resize((200, 200), Image.Resampling.BICUBIC)
        Image.fromarray(255 - np.asarray(large)).save(tmp_path / f"{number:02}.png")
    found = classes(predict(mnist_run, tmp_path))
    assert np.sum(found == labels) >= 18


@pytest.mark.parametrize("shadow", ["soft", "hard"])
def test_mnist_digits_on_photos_with_shadows_are_read(mnist_run, mnist_digits, tmp_path, shadow):
    digits, labels = mnist_digits
    for number, digit in enumerate(digits):
        path = tmp_path / f"{number:02}.jpg"
        photo(digit, np.random.default_rng(number), shadow).save(path, quality=60)
    found = classes(predict(mnist_run, tmp_path))
    assert np.sum(found == labels) >= 17


@pytest.fixture(scope="module")
def sure(mnist_run, mnist_digits):
    """The network, and the digits of which it is sure: what fails then is the preparation."""
    model = load(mnist_run)
    digits, labels = mnist_digits
    probabilities = model.probabilities(digits[:, None])
    clear = probabilities[np.arange(DIGITS), labels] > 0.9
    return model, digits[clear], labels[clear]


def seen(image, tmp_path):
    image.save(tmp_path / "a.png", compress_level=0)
    return picture.read(tmp_path / "a.png", (1, 28, 28), prepare="digit")


@pytest.mark.parametrize("kind", photos.KINDS)
def test_digits_on_photos_and_scans_of_this_kind_are_read(sure, tmp_path, kind):
    model, digits, labels = sure
    number = list(photos.KINDS).index(kind)
    taken = [
        seen(photos.KINDS[kind](digits[k], np.random.default_rng([number, k])), tmp_path)
        for k in range(PICTURES)
    ]
    assert np.sum(model.predict(np.stack(taken)) == labels[:PICTURES]) >= PICTURES - 2


def test_several_digits_are_said_to_be_several(mnist_digits, tmp_path):
    digits, _ = mnist_digits
    found = []
    for count in (2, 3, 4, 5) * 3:
        rng = np.random.default_rng(len(found))
        image = photos.several(list(rng.permutation(digits)[:count]), rng)
        with pytest.raises(DataError, match=r"several digits \(\d+ found\)") as error:
            seen(image, tmp_path)
        found.append(f"({count} found)" in str(error.value))
    assert sum(found) >= 9


@pytest.mark.parametrize("sheet", [photos.blank, photos.blank_ruled])
def test_on_a_sheet_of_paper_is_nothing(tmp_path, sheet):
    for seed in range(12):
        with pytest.raises(DataError, match="nothing on it"):
            seen(sheet(np.random.default_rng(seed)), tmp_path)


def test_images_in_the_form_of_the_training_pass_unchanged(small_run, images, tmp_path):
    expected = load(small_run).probabilities(images[:4])
    for number, image in enumerate(images[:4]):
        Image.fromarray(image).save(tmp_path / f"{number}.png")
    np.save(tmp_path / "4.npy", images[:4])
    with h5py.File(tmp_path / "5.h5", "w") as file:
        file["x_test"] = images[:4].reshape(4, -1) / 255
    result = predict(small_run, "--json", tmp_path)
    assert result.returncode == 0, result.stderr
    lines = list(map(json.loads, result.stdout.splitlines()))
    found = np.array([line["probabilities"] for line in lines])
    np.testing.assert_allclose(found, np.tile(expected, (3, 1)), rtol=1e-5)
    assert [line["class"] for line in lines[:4]] == expected.argmax(axis=1).tolist()
    assert [line.get("index") for line in lines] == [None] * 4 + [0, 1, 2, 3] * 2
    assert lines[2]["file"] == str(tmp_path / "2.png")
    assert lines[2]["probability"] == max(lines[2]["probabilities"])


def test_the_rest_go_on_where_a_file_is_broken(small_run, images, tmp_path):
    good = Image.fromarray(images[0])
    good.save(tmp_path / "a.png")
    good.save(tmp_path / "z.jpg", quality=95)
    whole = (tmp_path / "a.png").read_bytes()
    (tmp_path / "b.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "c.jpeg").write_bytes(b"\xff\xd8\xff" + b"x" * 500)
    (tmp_path / "d.npy").write_bytes(b"nothing")
    np.save(tmp_path / "e.npy", np.array([object()]), allow_pickle=True)
    np.save(tmp_path / "f.npy", np.zeros((3, 5, 5), np.uint8))
    (tmp_path / "g.h5").write_bytes(b"nothing")
    Image.new("L", (100, 100), 200).save(tmp_path / "h.png")
    os.mkfifo(tmp_path / "i.png")
    (tmp_path / "notes.txt").write_text("is no image")
    how = ("--prepare", "digit")
    result = predict(small_run, tmp_path, "missing.png", tmp_path / "z.jpg", *how)
    names = [line.split("\t")[0] for line in result.stdout.splitlines()]
    assert names == [str(tmp_path / name) for name in ("a.png", "z.jpg", "z.jpg")]
    assert result.returncode == 1
    _, *told = result.stderr.splitlines()
    left_out = told.pop(-2)
    assert left_out == f"{tmp_path}: left out 1 of no kind that is read (notes.txt)"
    assert [line.split(": ")[2].split("/")[-1] for line in told] == [
        *("b.png", "c.jpeg", "d.npy", "e.npy", "f.npy", "g.h5", "h.png", "i.png", "missing.png")
    ]
    assert "nothing on it" in told[6]


def test_a_picture_of_too_many_pixels_is_refused_before_it_is_decoded(small_run, tmp_path):
    for side in (9_000, 20_000):  # Pillow's own limit, a warning and an error, is between
        Image.new("1", (side, side)).save(tmp_path / f"{side}.png")
    result = predict(small_run, tmp_path)
    assert result.returncode == 1
    assert result.stdout == ""
    assert "9,000 x 9,000 pixels" in result.stderr
    assert result.stderr.count("\n") == 3


def test_an_image_is_drawn_with_its_three_best_classes(small_run, images, tmp_path):
    Image.fromarray(images[3]).save(tmp_path / "seen.png")
    probabilities = load(small_run).probabilities(images[3:4])[0]
    result = predict(small_run, "--show", "seen.png", cwd=tmp_path)
    head, *lines = result.stdout.splitlines()
    best = np.argsort(-probabilities)[:3]
    words = ", ".join(f"{each} ({probabilities[each]:.4f})" for each in best)
    assert head == f"seen.png: {words}"
    drawn = np.array([list(line.ljust(56)) for line in lines[:28]])[:, ::2]
    np.testing.assert_array_equal(drawn != " ", np.rint(images[3] / 255 * 9) > 0)


def test_grey_pictures_that_are_no_digits_are_only_scaled(tmp_path):
    """The run has recorded that it was not trained on MNIST or the built-in digits."""
    rng = np.random.default_rng(0)
    things = rng.integers(0, 256, (20, 28, 28)).astype(np.uint8)
    with h5py.File(tmp_path / "data.h5", "w") as file:
        for part in ("train", "test"):
            file[f"x_{part}"], file[f"y_{part}"] = things, np.arange(20) % 2
    network = ("--n_filter", 2, "--dataroot", "data.h5", "--max_steps", 1, "--run_dir", "run")
    assert run(None, *network, cwd=tmp_path).returncode == 0
    Image.fromarray(things[0]).save(tmp_path / "a.png")
    result = predict(tmp_path / "run", "--json", "a.png")
    assert result.stderr == "pictures are prepared by resize: scaled, and cropped to the middle\n"
    expected = load(tmp_path / "run").probabilities(things[:1])[0]
    np.testing.assert_allclose(json.loads(result.stdout)["probabilities"], expected, rtol=1e-5)
    result = predict(tmp_path / "run", "--prepare", "digit", "a.png")
    assert result.stderr.startswith("pictures are prepared by digit: ")
    Image.fromarray(things[0]).resize((30, 28)).save(tmp_path / "b.png")
    result = predict(tmp_path / "run", "--prepare", "none", "b.png")
    assert "b.png: 30 x 28 pixels, expected 28 x 28 (--prepare resize" in result.stderr


def test_a_network_of_colours_gets_pictures_in_colours(tmp_path):
    rng = np.random.default_rng(0)
    with h5py.File(tmp_path / "data.h5", "w") as file:
        for part in ("train", "test"):
            file[f"x_{part}"] = rng.integers(0, 256, (20, 3, 8, 10)).astype(np.uint8)
            file[f"y_{part}"] = np.arange(20) % 2
    sizes = ("--num_channel", 3, "--img_height", 8, "--img_width", 10, "--num_class", 2)
    network = ("--n_filter", 2, "--h_filter", 3, "--w_filter", 3)
    options = (*sizes, *network, "--dataroot", "data.h5", "--max_steps", 1, "--run_dir", "run")
    assert run(None, *options, cwd=tmp_path).returncode == 0
    colours = rng.integers(0, 256, (8, 10, 3)).astype(np.uint8)
    Image.fromarray(colours).save(tmp_path / "a.png")
    Image.fromarray(colours).resize((40, 32), Image.Resampling.NEAREST).save(tmp_path / "b.png")
    result = predict(tmp_path / "run", "--json", "a.png", "b.png")
    assert result.returncode == 0, result.stderr
    expected = load(tmp_path / "run").probabilities(colours.transpose(2, 0, 1)[None])[0]
    for line, tolerance in zip(result.stdout.splitlines(), (1e-5, 0.05), strict=True):
        found = json.loads(line)["probabilities"]
        np.testing.assert_allclose(found, expected, atol=tolerance)


def test_a_named_array_is_read_and_no_link_is_followed(small_run, images, tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["mine"] = images[:3]
        file["linked"] = h5py.ExternalLink("a.h5", "/mine")
    predicted = classes(predict(small_run, "--array", "mine", tmp_path / "a.h5"))
    assert predicted == load(small_run).predict(images[:3]).tolist()
    result = predict(small_run, "--array", "linked", tmp_path / "a.h5")
    assert result.returncode == 1
    assert "a.h5: linked is a link to another file, expected" in result.stderr


MEMORY = """
import sys
from dpcnn.predict import main
code = main(sys.argv[1:])
status = open("/proc/self/status").read().split()
print(code, status[status.index("VmHWM:") + 1], file=sys.stderr)
"""


def test_memory_does_not_grow_with_the_number_of_files(small_run, images, tmp_path):
    read = []
    for count in (20, 220):
        folder = tmp_path / str(count)
        folder.mkdir()
        Image.fromarray(images[0]).resize((50, 50)).save(tmp_path / "one.png")
        for number in range(count):
            os.link(tmp_path / "one.png", folder / f"{number}.png")
        command = [sys.executable, "-c", MEMORY, str(small_run), str(folder)]
        result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
        assert result.stdout.count("\n") == count
        code, peak = map(int, result.stderr.split()[-2:])
        assert code == 0
        read.append(peak)
    assert read[1] - read[0] < 2 * 1024, f"KiB at most: {read}"


def test_without_pillow_only_pictures_cannot_be_read(small_run, images, tmp_path):
    (tmp_path / "PIL.py").write_text("raise ImportError('none here')")
    np.save(tmp_path / "a.npy", images[0])
    Image.fromarray(images[0]).save(tmp_path / "b.png")
    path = f"{tmp_path}{os.pathsep}{ROOT}"
    for name, code in (("a.npy", 0), ("b.png", 2)):
        result = run(None, small_run, name, cwd=tmp_path, module="dpcnn.predict", PYTHONPATH=path)
        assert result.returncode == code
    assert "pip install dpcnn[images]" in result.stderr
    assert result.stderr.count("\n") == 2


@pytest.mark.parametrize(
    ("arguments", "words", "ranks"),
    [
        ((), "FILE", None),
        (("a.png", "--json", "--show"), "not allowed with", None),
        (("a.png",), "found 2 ranks, expected one process", 2),
    ],
)
def test_a_wrong_command_is_one_line(small_run, arguments, words, ranks):
    result = predict(small_run, *arguments, ranks=ranks)
    assert result.returncode == 2
    assert words in result.stderr
    assert result.stderr.count("\n") == 1
