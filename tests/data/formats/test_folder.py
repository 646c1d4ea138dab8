"""Folders of pictures: what kinds there are, what is left out, and that they are decoded once."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("PIL", reason="Pillow is not installed (extra images)")
from PIL import Image

from dpcnn.data import cache as caches
from dpcnn.data.formats import picture, registry
from dpcnn.data.formats.raw import Wanted
from dpcnn.errors import DataError
from dpcnn.evaluate import main as evaluate
from dpcnn.predict import main as predict
from dpcnn.training.api import main as train

RNG = np.random.default_rng(0)
COLOURS = RNG.integers(0, 256, (24, 8, 10, 3)).astype(np.uint8)
GREY = COLOURS[..., 0]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DPCNN_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def save(images: Any, folder: Path, suffix: str = ".png", **how: Any) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for number, image in enumerate(images):
        Image.fromarray(image).save(folder / f"{number:03}{suffix}", **how)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder with a training and a test set of two classes, in colour."""
    root = tmp_path / "pictures"
    save(COLOURS[:10], root / "train" / "cat 10")
    save(COLOURS[10:18], root / "train" / "cat 9")
    save(COLOURS[18:20], root / "test" / "cat 10")
    save(COLOURS[20:24], root / "test" / "cat 9")
    return root


def test_a_folder_a_class_is_read(root: Path) -> None:
    dataset = registry.read(root)
    assert dataset.class_names == ("cat 10", "cat 9")
    images = COLOURS.transpose(0, 3, 1, 2)
    np.testing.assert_array_equal(dataset.train.images, images[:18], strict=True)
    np.testing.assert_array_equal(dataset.test.images, images[18:], strict=True)
    assert dataset.train.labels.tolist() == [0] * 10 + [1] * 8
    assert dataset.test.labels.tolist() == [0] * 2 + [1] * 4
    assert dataset.source == str(root)
    assert dataset.warnings == ()


def test_it_is_decoded_once(root: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = registry.read(root).fingerprint()
    monkeypatch.setattr(picture, "decode", lambda *_: pytest.fail("decoded again"))
    assert registry.read(root).fingerprint() == first
    scratch = root.parent / "scratch"
    scratch.mkdir()
    assert registry.read(root, folder=scratch).fingerprint() == first
    assert len([*cache.rglob("*.hdf5")]) == 1
    monkeypatch.undo()
    monkeypatch.setenv("DPCNN_CACHE", str(cache))
    Image.fromarray(COLOURS[0]).save(root / "train" / "cat 9" / "more.png")
    assert len(registry.read(root).train) == 19


def test_without_a_cache_it_is_decoded_each_time(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = registry.read(root).fingerprint()
    monkeypatch.setenv("DPCNN_CACHE", "/dev/null/none")
    assert registry.read(root).fingerprint() == digest


def test_kinds_of_pictures_are_mixed_and_brought_to_a_size(tmp_path: Path) -> None:
    root = tmp_path / "kinds"
    tall = np.zeros((40, 20, 3), np.uint8)
    tall[:20] = 255, 0, 0
    for name in ("a", "b"):
        save([tall], root / name, ".bmp")
        save([tall], root / name, ".gif")
        save([tall], root / name, ".tiff")
        save([tall], root / name, ".webp", lossless=True)
        save([tall[..., 0]], root / name, ".png")
        lying = Image.fromarray(tall).transpose(Image.Transpose.ROTATE_90)
        exif = Image.Exif()
        exif[0x0112] = 6
        lying.save(root / name / "turned.jpg", exif=exif, quality=95)
        Image.fromarray(tall).convert("P").save(root / name / "palette.png")
        clear = np.dstack([tall, np.full(tall.shape[:2], 255, np.uint8)])
        Image.fromarray(clear).save(root / name / "clear.png")
    wanted = Wanted(size=(12, 6), test_fraction=0.25)
    dataset = registry.read(root, wanted)
    images = np.concatenate([dataset.train.images, dataset.test.images]).astype(int)
    assert images.shape == (16, 3, 12, 6)
    assert (images[:, 0, :4] > 200).all()
    assert (images[:, :, 8:] < 60).all()
    grey = registry.read(root, Wanted(size=(12, 6), grey=True, test_fraction=0.25))
    assert grey.train.shape == (1, 12, 6)
    with pytest.raises(DataError, match=r"no test set"):
        registry.read(root, Wanted(size=(12, 6)))


def test_grey_pictures_have_one_channel(tmp_path: Path) -> None:
    for name, images in (("a", GREY[:5]), ("b", GREY[5:10])):
        save(images, tmp_path / "grey" / name)
    dataset = registry.read(tmp_path / "grey", Wanted(test_fraction=0.2))
    assert dataset.train.shape == (1, 8, 10)


def test_what_cannot_be_read_is_named_and_the_rest_goes_on(root: Path) -> None:
    cats = root / "train" / "cat 9"
    (cats / "broken.png").write_bytes((cats / "000.png").read_bytes()[:60])
    (cats / "notes.txt").write_text("no picture")
    outside = root.parent / "outside.png"
    Image.fromarray(COLOURS[0]).save(outside)
    (cats / "link.png").symlink_to(outside)
    (cats / "e\x1b[2Jscape.png").write_bytes(b"")
    for _ in range(2):  # decoded, and from the cache
        dataset = registry.read(root)
        assert len(dataset.train) == 18
        [warning] = dataset.warnings
        assert "3 files left out (" in warning
        assert "broken.png cannot be read" in warning
        assert "link.png is a link out of the folder" in warning
        assert warning.isprintable()
        assert "1 file left out, which are no pictures (notes.txt)" in dataset.notes
    for number in range(9):
        (cats / f"more{number}.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"12 files cannot be read \(.* of \d+"):
        registry.read(root)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda root: save(COLOURS[:3], root / "a"), "1 class folder with 3 pictures"),
        (lambda root: [(root / name).mkdir() for name in "ab"], "2 class folders with 0 pictures"),
        (
            lambda root: [save(COLOURS[:3], root / "a"), save(COLOURS[:3, :5], root / "b")],
            r"b/000.png has 5x10 pixels, others 8x10: expected --size such as 32",
        ),
        (
            lambda root: [
                *(save(COLOURS[:2], root / "train" / name) for name in "ab"),
                save(COLOURS[:2], root / "test" / "c"),
            ],
            r"test: class 'c', expected one of those to train on: a, b",
        ),
    ],
)
def test_what_is_no_set_of_classes_is_refused(make: Any, message: str, tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    make(root)
    with pytest.raises(DataError, match=message) as caught:
        registry.read(root)
    assert "\n" not in str(caught.value)


def test_a_bomb_takes_no_memory(root: Path) -> None:
    bomb = root / "train" / "cat 9" / "bomb.png"
    Image.new("1", (10_000, 10_000)).save(bomb)
    assert os.path.getsize(bomb) < 1 << 20
    [warning] = registry.read(root).warnings
    assert "bomb.png 10,000 x 10,000 pixels, expected at most" in warning


def test_a_folder_is_evaluated_and_its_pictures_predicted_by_name(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The classes get the numbers they had in training, also where some are not there."""
    out = root.parent / "run"
    network = ("--n_filter", "2", "--h_filter", "3", "--w_filter", "3", "--epochs", "3")
    options = ("--dataroot", str(root), *network, "--run_dir", str(out), "--progress", "silent")
    assert train(options) == 0
    labelled = root.parent / "labelled"
    for name, images in (("cat 9", COLOURS[:7]), ("a", COLOURS[7:9])):
        save(np.repeat(np.repeat(images, 2, axis=1), 2, axis=2), labelled / name)
    assert evaluate([str(out), "--dataroot", str(labelled)]) == 2
    assert "class 'a'" in capsys.readouterr().err.replace("label 'a'", "class 'a'")
    (labelled / "a").rename(labelled / "cat 10")
    assert evaluate([str(out), "--dataroot", str(labelled)]) == 0
    table = capsys.readouterr().out
    assert "9 test images" in table
    rows = [line.split() for line in table.splitlines() if " cat " in line]
    assert [row[:4] for row in rows] == [["0", "cat", "10", "2"], ["1", "cat", "9", "7"]]
    assert predict([str(out), str(root / "test" / "cat 9")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4
    assert {line.split("\t")[1] for line in lines} <= {"cat 9", "cat 10"}


def test_other_folders_make_room_in_the_cache(
    root: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry.read(root, Wanted(size=(8, 8)))
    [first] = (cache / "folders").iterdir()
    for descriptor in caches._held:  # as if that process had ended
        os.close(descriptor)
    caches._held.clear()
    monkeypatch.setattr(caches, "MOST", 1)
    registry.read(root, Wanted(size=(9, 9)))
    [second] = (cache / "folders").iterdir()
    assert second != first
    registry.read(root, Wanted(size=(10, 10)))
    assert second.exists(), "it is in use"


def test_pictures_that_are_not_read_and_links_to_folders_are_told(root: Path) -> None:
    (root / "train" / "cat 9" / "a.heic").touch()
    (root / "train" / "cat 9" / "b.HEIC").touch()
    os.symlink("/etc", root / "train" / "dogs")
    os.symlink("..", root / "train" / "cat 9" / "again")
    links, heic = registry.read(root).warnings
    assert "2 files left out (again is a link to a folder; dogs is a link to a folder)" in links
    assert "2 files of HEIC, which is not read: save as JPEG or PNG (a.heic; b.HEIC)" in heic


def test_a_folder_of_pictures_that_are_not_read_says_so(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / name).mkdir()
        (tmp_path / name / "1.heic").touch()
    with pytest.raises(DataError, match="with 0 pictures, 2 files of HEIC, which is not read"):
        registry.read(tmp_path)
