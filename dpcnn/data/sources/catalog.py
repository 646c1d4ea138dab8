"""The datasets that --dataroot knows by name: where their files are, and their checksums.

Most SHA-256 are of a file's content, so that a mirror may pack it as it likes. Where only that of
the packed file is published, it is of that. Those of MNIST, Fashion-MNIST and CIFAR-10 are of files
whose MD5 is the published one, those of KMNIST, EMNIST and CIFAR-100 are TensorFlow Datasets'.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from pathlib import Path
from string import ascii_lowercase

GZIP = 1 << 16  # bytes; the most that a gzip file may exceed its content by
TAR = 1 << 20  # bytes; the most that an archive may exceed the files in it by


@dataclass(frozen=True)
class Content:
    """A file to read, by its name in its archive, and the bytes it has at most.

    sha256: "" where the archive is checked as it is sent.
    """

    name: str
    size: int
    sha256: str = ""


@dataclass(frozen=True)
class Download:
    """A file on the mirrors, .gz with one content, .tar.gz or .zip with several.

    size: bytes that are sent at most. sent: the SHA-256 of these, "" if each content is checked.
    """

    name: str
    contents: tuple[Content, ...]
    size: int
    sent: str = ""

    def packed(self) -> bool:
        """Tell whether gzip has packed it."""
        return self.name.endswith(".gz")

    def unpacked(self) -> int:
        """Return the bytes that it has at most when gzip has unpacked it, as it is otherwise."""
        contents = sum(each.size for each in self.contents)
        return contents + TAR * (len(self.contents) > 1) if self.packed() else self.size


@dataclass(frozen=True)
class Source:
    """A dataset that is known by name.

    class_names: empty if the files name them, or the numbers are names. installed: where a package
    of the system has the files. transposed: whether they have the columns of an image one after
    another.
    """

    title: str
    mirrors: tuple[str, ...]
    files: tuple[Download, ...]
    class_names: tuple[str, ...] = ()
    installed: Path | None = None
    transposed: bool = False

    def places(self) -> tuple[str, ...]:
        """Return the addresses that are tried in turn."""
        if self.installed is None or not self.installed.is_dir():
            return self.mirrors
        return (self.installed.as_uri(), *self.mirrors)


def idx(name: str, shape: tuple[int, ...], sha256: str = "", sent: str = "") -> Download:
    """Return an IDX file of bytes, packed with gzip; shape: (N, H, W) or (N,)."""
    size = 4 + 4 * len(shape) + prod(shape)
    return Download(f"{name}.gz", (Content(name, size, sha256),), size + GZIP, sent)


def archive(name: str, sent: str, *contents: Content) -> Download:
    """Return an archive, whose size is bounded by that of its contents."""
    return Download(name, contents, sum(each.size for each in contents) + TAR, sent)


# fmt: off
MNIST = Source(
    "MNIST",
    ("https://ossci-datasets.s3.amazonaws.com/mnist/",
     "https://storage.googleapis.com/cvdf-datasets/mnist/"),
    (idx("train-images-idx3-ubyte", (60000, 28, 28),
         "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db"),
     idx("train-labels-idx1-ubyte", (60000,),
         "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5"),
     idx("t10k-images-idx3-ubyte", (10000, 28, 28),
         "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7"),
     idx("t10k-labels-idx1-ubyte", (10000,),
         "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2")),
)

FASHION = Source(
    "Fashion-MNIST",
    ("http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
     "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/"),
    (idx("train-images-idx3-ubyte", (60000, 28, 28),
         "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888"),
     idx("train-labels-idx1-ubyte", (60000,),
         "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9"),
     idx("t10k-images-idx3-ubyte", (10000, 28, 28),
         "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b"),
     idx("t10k-labels-idx1-ubyte", (10000,),
         "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34")),
    ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag",
     "Ankle boot"),
    installed=Path("/usr/share/datasets/fashion-mnist"),  # by Debian's dataset-fashion-mnist
)

KMNIST = Source(
    "Kuzushiji-MNIST",
    ("http://codh.rois.ac.jp/kmnist/dataset/kmnist/",),
    (idx("train-images-idx3-ubyte", (60000, 28, 28),
         sent="51467d22d8cc72929e2a028a0428f2086b092bb31cfb79c69cc0a90ce135fde4"),
     idx("train-labels-idx1-ubyte", (60000,),
         sent="e38f9ebcd0f3ebcdec7fc8eabdcdaef93bb0df8ea12bee65224341c8183d8e17"),
     idx("t10k-images-idx3-ubyte", (10000, 28, 28),
         sent="edd7a857845ad6bb1d0ba43fe7e794d164fe2dce499a1694695a792adfac43c5"),
     idx("t10k-labels-idx1-ubyte", (10000,),
         sent="20bb9a0ef54c7db3efc55a92eef5582c109615df22683c380526788f98e42a1c")),
    ("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo"),
)

LETTERS = tuple(
    Content(f"gzip/emnist-letters-{part}-ubyte.gz", size)
    for part, size in (("train-images-idx3", 100 << 20), ("train-labels-idx1", 1 << 20),
                       ("test-images-idx3", 20 << 20), ("test-labels-idx1", 1 << 20))
)
EMNIST_LETTERS = Source(
    "EMNIST Letters",
    ("https://biometrics.nist.gov/cs_links/EMNIST/",
     "https://www.itl.nist.gov/iaui/vip/cs_links/EMNIST/"),
    (Download("gzip.zip", LETTERS, 561_753_746,
              "fb9bb67e33772a9cc0b895e4ecf36d2cf35be8b709693c3564cea2a019fcda8e"),),
    tuple(ascii_lowercase),
    transposed=True,
)

TORONTO = ("https://www.cs.toronto.edu/~kriz/", "https://cave.cs.toronto.edu/kriz/")
BATCHES = {
    "data_batch_1": "cee916563c9f80d84e3cc88e17fdc0941787f1244f00a67874d45b261883ada5",
    "data_batch_2": "a591ca11fa1708a91ee40f54b3da4784ccd871ecf2137de63f51ada8b3fa57ed",
    "data_batch_3": "bbe8596564c0f86427f876058170b84dac6670ddf06d79402899d93ceea26f67",
    "data_batch_4": "014e562d6e23c72197cc727519169a60359f5eccd8945ad5a09d710285ff4e48",
    "data_batch_5": "755304fc0b379caeae8c14f0dac912fbc7d6cd469eb67a1029a08a39453a9add",
    "test_batch": "8e2eb146ae340b09e24670f29cabc6326dba54da8789dab6768acf480273f65b",
}
CIFAR10 = Source(
    "CIFAR-10",
    TORONTO,
    (archive("cifar-10-binary.tar.gz", "", *(
        Content(f"cifar-10-batches-bin/{name}.bin", 10_000 * 3073, sha256)
        for name, sha256 in BATCHES.items())),),
    ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
)
CIFAR100 = Source(
    "CIFAR-100",
    TORONTO,
    (archive("cifar-100-binary.tar.gz",
             "58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec",
             Content("cifar-100-binary/train.bin", 50_000 * 3074),
             Content("cifar-100-binary/test.bin", 10_000 * 3074),
             Content("cifar-100-binary/fine_label_names.txt", 1 << 16)),),
)
# fmt: on

# The words of --dataroot.
SOURCES = {
    "mnist": MNIST,
    "fashion": FASHION,
    "kmnist": KMNIST,
    "emnist-letters": EMNIST_LETTERS,
    "cifar10": CIFAR10,
    "cifar100": CIFAR100,
}
