"""What the doctor says of inventories that no test machine has: hosts that differ, too little."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dpcnn.doctor import checks
from dpcnn.doctor.__main__ import main
from dpcnn.doctor.clocks import clocks, compared
from dpcnn.doctor.directory import Mount, mount
from dpcnn.doctor.finding import COLUMNS, FAILURE, OK, WARNING, Finding, size_text, time_text
from dpcnn.doctor.inventory import checksum, inventory, shared_memory
from dpcnn.doctor.limits import has_infiniband, limits, numa_nodes
from dpcnn.parallel.communicator import Communicator

HERE = inventory(Communicator(), threads=1)
PLENTY = {"open_files": 1 << 20, "locked_memory": None, "memory": None}


def rank(number: int, host: str = "a", **changed: object) -> dict:
    """The inventory of a rank on a host of four cores, bound to none of them."""
    same = {"bound": [0, 1, 2, 3], "host_cores": 4, "quota": None, "shared_memory": 1 << 30}
    same |= {"numa_nodes": [[0, 1, 2, 3]], "limits": PLENTY, "infiniband": False}
    return HERE | {"rank": number, "host": host} | same | changed


def blas(**changed: object) -> dict:
    return HERE["blas"] | changed


def test_equal_hosts_are_well() -> None:
    ranks = [rank(0), rank(1), rank(2, "b"), rank(3, "b")]
    for check in (
        checks.placement, checks.packages, checks.cpus, checks.cores, checks.blas,
        checks.shared_memory, checks.limits, checks.numa,
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


@pytest.mark.parametrize(
    ("changed", "cure"),
    [
        ({"open_files": 100}, "ulimit -n 136 (open files), before"),
        ({"memory": 1 << 30}, "ulimit -v unlimited (address space), before"),
        ({"locked_memory": 1 << 16}, "ulimit -l unlimited (locked memory, which InfiniBand"),
    ],
)
def test_a_limit_that_is_too_low_is_a_warning_with_its_ulimit(changed: dict, cure: str) -> None:
    ranks = [rank(n, limits=PLENTY | changed, infiniband=True) for n in range(2)]
    [finding] = checks.limits([*ranks])
    assert (finding.state, cure in finding.cure) == (WARNING, True), finding
    [finding] = checks.limits([rank(0, limits=PLENTY | {"locked_memory": 1 << 16})])
    expected = "a: 1,048,576 open files, 64 KB of locked memory, unlimited address space"
    assert finding == Finding(OK, expected)


def test_ranks_that_may_leave_their_memory_are_a_warning() -> None:
    nodes = [[0, 1], [2, 3]]
    [finding] = checks.numa([rank(0, numa_nodes=nodes), rank(1, numa_nodes=nodes, bound=[0, 1])])
    assert finding.state == WARNING
    assert finding.text == "a: 2 NUMA nodes, and 1 rank may move from one to another"
    bound = [rank(n, numa_nodes=nodes, bound=nodes[n]) for n in range(2)]
    assert checks.numa(bound) == [Finding(OK, "a: 2 NUMA nodes")]
    assert checks.numa([rank(0, numa_nodes=nodes)])[0].state == OK
    assert checks.numa([rank(0, numa_nodes=[])]) == [Finding(OK, "a: 1 NUMA node")]


def test_the_cores_of_numa_nodes_are_read_from_lists(tmp_path: Path) -> None:
    for name, text in (("node0", "0-2,8\n"), ("node1", "3\n"), ("node2", "\n")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "cpulist").write_text(text)
    assert numa_nodes(tmp_path) == [[0, 1, 2, 8], [3]]
    assert numa_nodes(tmp_path / "none") == []
    assert has_infiniband(tmp_path)
    assert not has_infiniband(tmp_path / "none")
    assert limits().keys() == PLENTY.keys()


def test_clocks_that_differ_are_a_warning_that_names_the_host() -> None:
    hosts = ["a", "a", "b", "c"]
    [finding] = compared(hosts, [0, 0.001, 2.5, -90])
    assert finding.state == WARNING
    assert finding.text.startswith("b is 2,500 ms ahead of a, c is 90 s behind a: the times of ")
    assert compared(hosts, [0, 5, 0.25, -0.25]) == [Finding(OK, "3 hosts, 500 ms apart or less")]
    assert clocks(Communicator()) == [Finding(OK, "one host, one clock")]


def test_numbers_are_whole_and_have_units() -> None:
    sizes = [8, 10_239, 10_240, 185_930 * 8, 1 << 30, 10 << 30, 200 << 40]
    texts = ["8 bytes", "10,239 bytes", "10 KB", "1,453 KB", "1,024 MB", "10 GB", "200 TB"]
    assert [*map(size_text, sizes)] == texts
    seconds = [12, 9.5, 0.01, 0.0095, 1.5e-6]
    assert [*map(time_text, seconds)] == ["12 s", "9,500 ms", "10 ms", "9,500 us", "1,500 ns"]


def test_json_has_the_findings_and_what_each_rank_has(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    assert main(["--json", "--run_dir", str(tmp_path / "file")]) == 1
    report = json.loads(capsys.readouterr().out)
    states = [finding["state"] for finding in report["findings"]]
    assert report["failures"] == states.count(FAILURE) == 1
    assert report["warnings"] == states.count(WARNING)
    [failed] = [finding for finding in report["findings"] if finding["state"] == FAILURE]
    assert failed["check"] == "run directory"
    assert failed["cure"].startswith("name another directory with --run_dir")
    assert [each["rank"] for each in report["ranks"]] == [0]
    assert report["ranks"][0]["limits"].keys() == PLENTY.keys()
