"""What the doctor says of inventories that no test machine has: hosts that differ, too little."""

from __future__ import annotations

from pathlib import Path

import pytest

from dpcnn.doctor import checks
from dpcnn.doctor.directory import Mount, mount
from dpcnn.doctor.finding import COLUMNS, FAILURE, OK, WARNING, Finding
from dpcnn.doctor.inventory import checksum, inventory, shared_memory
from dpcnn.parallel.communicator import Communicator

HERE = inventory(Communicator(), threads=1)


def rank(number: int, host: str = "a", **changed: object) -> dict:
    """The inventory of a rank on a host of four cores, bound to none of them."""
    same = {"bound": [0, 1, 2, 3], "host_cores": 4, "quota": None, "shared_memory": 1 << 30}
    return HERE | {"rank": number, "host": host} | same | changed


def blas(**changed: object) -> dict:
    return HERE["blas"] | changed


def test_equal_hosts_are_well() -> None:
    ranks = [rank(0), rank(1), rank(2, "b"), rank(3, "b")]
    for check in (
        checks.placement, checks.packages, checks.cpus, checks.cores, checks.blas,
        checks.shared_memory,
    ):  # fmt: skip
        assert {finding.state for finding in check(ranks)} == {OK}, check


def test_hosts_are_named_with_their_ranks() -> None:
    [finding] = checks.placement([rank(0), rank(1), rank(2, "b")])
    assert finding.text == "3: 2 on a, 1 on b"


def test_another_version_is_a_failure_that_names_both_hosts() -> None:
    other = HERE["packages"] | {"numpy": "1.0"}
    [finding] = checks.packages([rank(0), rank(1), rank(2, "b", packages=other)])
    assert finding.state == FAILURE
    mine = HERE["packages"]["numpy"]
    assert finding.text == f"numpy {mine} on a; numpy 1.0 on b"
    assert f"numpy {mine} of rank 0" in finding.cure


def test_a_package_that_one_host_lacks_is_a_difference() -> None:
    fewer = {name: version for name, version in HERE["packages"].items() if name != "tqdm"}
    for ranks in ([rank(0), rank(1, "b", packages=fewer)], [rank(0, packages=fewer), rank(1)]):
        [finding] = checks.packages(ranks)
        assert finding.state == FAILURE
        assert "tqdm none on " in finding.text


def test_where_ranks_of_one_host_differ_they_are_named() -> None:
    [finding] = checks.packages([rank(0), rank(1, python="3.99"), rank(2, "b")])
    assert finding.text == f"python {HERE['python']} on rank 0 on a, b; python 3.99 on rank 1 on a"


@pytest.mark.parametrize("changed", [{"cpu": "Z80"}, {"blas": blas(kernels="Z80")}])
def test_another_kind_of_cpu_costs_the_same_bits(changed: dict) -> None:
    [finding] = checks.cpus([rank(0), rank(1, "b", **changed)])
    assert finding.state == WARNING
    assert " on a; " in finding.text
    assert "the bits of a result" in finding.text


def test_threads_over_bound_cores_are_a_failure_of_each_such_rank() -> None:
    ranks = [rank(0, bound=[0, 1], blas_threads=2), rank(1, bound=[2], blas_threads=2)]
    failures = [finding for finding in checks.cores(ranks) if finding.state == FAILURE]
    assert [failure.text for failure in failures] == ["rank 1 on a: 2 BLAS threads on 1 core"]


def test_ranks_that_take_turns_are_told_why() -> None:
    def cure(*ranks: dict) -> str:
        [finding] = checks.cores(ranks)
        assert finding.state == WARNING
        return finding.cure

    assert "at most 4 ranks" in cure(*map(rank, range(5)))
    assert "3 cores of a stay idle" in cure(rank(0, bound=[1]), rank(1, bound=[1]))
    assert "may use 1.5 of 4 cores" in cure(rank(0, quota=1.5), rank(1, quota=1.5))


def test_another_blas_is_a_failure_and_other_threads_a_warning() -> None:
    [finding] = checks.blas([rank(0), rank(1, "b", blas=blas(name="mkl"))])
    assert finding.state == FAILURE
    [finding] = checks.blas([rank(0), rank(1, "b", blas=blas(threads=2))])
    assert (finding.state, "but 2 on rank 1 on b" in finding.text) == (WARNING, True)
    [finding] = checks.blas([rank(0, blas_threads=2, blas=blas(threads=2))])
    assert (finding.state, "--threads 1" in finding.cure) == (WARNING, True)


def test_a_containers_small_shared_memory_is_a_warning_where_ranks_need_it() -> None:
    small = 10 << 20
    assert checks.shared_memory([rank(0, shared_memory=small)])[0].state == OK
    [finding] = checks.shared_memory([rank(n, shared_memory=small) for n in range(4)])
    assert (finding.state, "10 MB in /dev/shm" in finding.text) == (WARNING, True)
    [finding] = checks.shared_memory([rank(n, shared_memory=None) for n in range(4)])
    assert finding.state == FAILURE


def test_shared_memory_that_is_not_there_is_none(tmp_path: Path) -> None:
    assert shared_memory(tmp_path / "none") is None


def test_the_checksum_of_the_code_changes_with_any_file(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("x = 1\n")
    before = checksum(tmp_path)
    (tmp_path / "notes.txt").write_text("no code")
    assert checksum(tmp_path) == before
    (tmp_path / "a.py").rename(tmp_path / "b.py")
    assert checksum(tmp_path) != before


MOUNTS = """\
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
30 22 0:25 / /home rw shared:2 master:1 - nfs4 server:/home rw
31 30 0:26 / /home/with\\040space rw - lustre fs rw
32 22 0:27 / /scratch rw - ext4 /dev/sdb1 rw
33 32 0:28 / /scratch rw - tmpfs tmpfs rw
"""


@pytest.mark.parametrize(
    ("path", "point", "kind", "source"),
    [
        ("/usr", "/", "ext4", "/dev/sda1"),
        ("/home/me/runs", "/home", "nfs4", "server:/home"),
        ("/homeless", "/", "ext4", "/dev/sda1"),
        ("/home/with space/x", "/home/with space", "lustre", "fs"),
        ("/scratch/x", "/scratch", "tmpfs", "tmpfs"),
    ],
)
def test_a_path_lies_on_the_last_and_deepest_mount(
    path: str, point: str, kind: str, source: str, tmp_path: Path
) -> None:
    (tmp_path / "mountinfo").write_text(MOUNTS)
    assert mount(Path(path), tmp_path / "mountinfo") == Mount(Path(point), kind, source)


def test_a_finding_is_printed_in_80_columns_with_its_cure() -> None:
    lines = Finding(FAILURE, "word " * 40, "cure " * 40).lines("shared memory")
    assert max(map(len, lines)) <= COLUMNS
    assert lines[0].startswith("failure  shared memory  word word")
    assert sum("cure: cure" in line for line in lines) == 1
