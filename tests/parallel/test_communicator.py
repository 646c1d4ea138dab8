"""One process as the reference of all communicators, connecting, and errors of all ranks."""

from __future__ import annotations

import pickle
import subprocess
import sys
import threading
import types
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from dpcnn import errors
from dpcnn.errors import DataError, LaunchError, OptionError
from dpcnn.parallel.communicator import BugError, Communicator
from dpcnn.parallel.connect import connect
from dpcnn.parallel.launcher import HYDRA, OPEN_MPI, SLURM, Launch
from tests.parallel.ranks import on_ranks

MODULE = "dpcnn.parallel.mpi"


def test_one_process_is_rank_0_of_1_alone_on_its_node() -> None:
    comm = Communicator()
    assert (comm.rank, comm.size, len(comm.hosts)) == (0, 1, 1)
    assert comm.split_by_node() is comm


def test_one_process_exchanges_with_itself() -> None:
    comm = Communicator()
    value = object()
    assert comm.bcast(value) is value
    assert comm.allgather(value) == [value]
    assert comm.abort(3) is None


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_one_process_has_its_own_sum_rounded_once(dtype: Any) -> None:
    values, scalars = np.array([1 / 3, 2, -0.0]), np.array([4.0, 5.0])
    out = np.full(3, 9, dtype)
    Communicator().Allreduce(values, scalars, out)
    np.testing.assert_array_equal(out, values.astype(dtype), strict=True)
    np.testing.assert_array_equal(scalars, [4, 5])


@pytest.mark.parametrize("launch", [Launch(), Launch(HYDRA, 0, 1, 1)])
def test_a_single_process_needs_no_mpi(launch: Launch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, MODULE, None)
    assert type(connect(launch)) is Communicator


def test_the_package_does_not_import_mpi4py_by_itself() -> None:
    code = "import sys, dpcnn.training.setup; print('mpi4py' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_several_ranks_without_mpi4py_are_told_to_install_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, MODULE, None)
    with pytest.raises(LaunchError) as caught:
        connect(Launch(HYDRA, 1, 4, 4))
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    assert all(part in message for part in [HYDRA, "4 ranks", "pip install mpi4py"])


def fake_mpi(size: int | None, library: str) -> types.ModuleType:
    """Return a stand-in for dpcnn.parallel.mpi; a world of None must not be started."""
    module: Any = types.ModuleType(MODULE)

    def world() -> Any:
        assert size is not None, "a foreign MPI is not started"
        return types.SimpleNamespace(size=size)

    module.MPICommunicator = types.SimpleNamespace(world=world)
    module.library_name = lambda: library
    return module


@pytest.mark.parametrize(
    ("launcher", "library"), [(OPEN_MPI, "Open MPI v5.0.8"), (HYDRA, "MPICH 5.0"), (SLURM, "any")]
)
def test_the_world_of_the_launcher_is_the_world(
    launcher: str, library: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, MODULE, fake_mpi(4, library))
    assert connect(Launch(launcher, 1, 4, 4)).size == 4


@pytest.mark.parametrize(
    ("launcher", "library", "size"),
    [
        (OPEN_MPI, "MPICH 5.0", None),
        (HYDRA, "Open MPI v5.0.8", None),
        (SLURM, "MPICH 5.0", 1),
        (OPEN_MPI, "Open MPI v5.0.8", 2),
    ],
)
def test_an_mpirun_of_another_mpi_is_noticed(
    launcher: str, library: str, size: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, MODULE, fake_mpi(size, library))
    with pytest.raises(LaunchError) as caught:
        connect(Launch(launcher, 1, 4, 4))
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    assert all(part in message for part in [launcher, "4 ranks", library, "mpirun of that MPI"])


def on_all(action: Callable[[int], Any]) -> list[Any]:
    """Return what `on_all` returns or raises on each of three ranks."""
    return on_ranks(3, lambda comm: comm.on_all(lambda: action(comm.rank)))


def on_root(action: Callable[[int], Any]) -> list[Any]:
    """Return what `on_root` returns or raises on each of three ranks."""
    return on_ranks(3, lambda comm: comm.on_root(lambda: action(comm.rank)))


def test_on_all_returns_every_ranks_result() -> None:
    assert on_all(lambda rank: rank * 10) == [0, 10, 20]


def test_on_root_runs_on_rank_0_alone_and_returns_its_result_everywhere() -> None:
    ran = []

    def action(rank: int) -> str:
        ran.append(rank)
        return f"of rank {rank}"

    assert on_root(action) == ["of rank 0"] * 3
    assert ran == [0]


def failing(*ranks: int, kind: type[Exception] = DataError) -> Callable[[int], int]:
    def action(rank: int) -> int:
        if rank in ranks:
            raise kind(f"rank {rank} failed")
        return rank

    return action


@pytest.mark.parametrize("ranks", [(0,), (1,), (2,), (1, 2), (0, 1, 2)])
def test_an_error_of_some_is_raised_by_all_and_is_that_of_the_lowest(
    ranks: tuple[int, ...],
) -> None:
    found = on_all(failing(*ranks))
    assert [type(error) for error in found] == [DataError] * 3
    assert {str(error) for error in found} == {f"rank {ranks[0]} failed"}
    assert all(error.collective for error in found)


@pytest.mark.parametrize(
    ("ranks", "message"),
    [((1,), "alpha: rank 1 failed"), ((2,), "beta: rank 2 failed"), ((1, 2), "rank 1 failed")],
)
def test_an_error_that_another_host_has_not_names_its_host(
    ranks: tuple[int, ...], message: str
) -> None:
    def work(comm: Communicator) -> Any:
        return comm.on_all(lambda: failing(*ranks)(comm.rank))

    found = on_ranks(3, work, hosts=("alpha", "alpha", "beta"))
    assert [str(error) for error in found] == [message] * 3


def test_an_error_of_rank_0_alone_is_raised_by_all() -> None:
    found = on_root(failing(0))
    assert [type(error) for error in found] == [DataError] * 3
    assert on_root(failing(1, 2)) == [0, 0, 0]


def test_an_error_of_one_machine_is_left_to_its_own_rank() -> None:
    found = on_all(failing(1, kind=MemoryError))
    assert [type(error) for error in found] == [
        threading.BrokenBarrierError,
        MemoryError,
        threading.BrokenBarrierError,
    ]


def alike(rank: int) -> int:
    if rank == 0:
        return 0
    return 1 // 0 if rank < 3 else {}[rank]


@pytest.mark.parametrize("collective", ["on_all", "fail"])
def test_a_bug_is_raised_by_all_and_told_by_the_lowest_rank_that_has_it(collective: str) -> None:
    def work(comm: Communicator) -> Any:
        if collective == "on_all":
            return comm.on_all(lambda: alike(comm.rank))
        return comm.fail(comm.attempt(lambda: alike(comm.rank)))

    found: list[Any] = on_ranks(4, work)
    assert [type(error) for error in found] == [BugError] * 4
    kinds = [type(None), ZeroDivisionError, ZeroDivisionError, KeyError]
    assert [type(error.error) for error in found] == kinds
    note = "and on 1 more rank\nand rank 3 on here: KeyError: 3"
    assert [error.note for error in found] == [None, note, None, None]


def test_a_bug_is_told_before_an_error_that_explains_itself() -> None:
    def action(rank: int) -> float:
        return failing(0)(rank) if rank == 0 else 1 / 0

    assert [type(error) for error in on_all(action)] == [BugError] * 3


def test_what_no_rank_has_met_is_no_bug() -> None:
    assert on_ranks(2, lambda comm: comm.attempt(lambda: alike(0))) == [None, None]


def test_one_process_raises_what_it_has_met_as_it_is() -> None:
    for call in (Communicator().on_all, Communicator().attempt):
        with pytest.raises(ZeroDivisionError):
            call(lambda: alike(1))


def test_what_has_caused_an_error_stays_with_it() -> None:
    cause = KeyError("why")

    def action() -> None:
        raise OptionError("what") from cause

    with pytest.raises(OptionError) as caught:
        Communicator().on_all(action)
    assert caught.value.__cause__ is cause


@pytest.mark.parametrize("helper", [Communicator.on_all, Communicator.on_root])
def test_the_collective_helpers_in_one_process(helper: Callable[..., Any]) -> None:
    assert helper(Communicator(), lambda: 3) == 3
    with pytest.raises(OptionError) as caught:
        helper(Communicator(), lambda: failing(0, kind=OptionError)(0))
    assert caught.value.collective


@pytest.mark.parametrize(
    "kind",
    [
        each
        for each in vars(errors).values()
        if isinstance(each, type) and issubclass(each, Exception)
    ],
)
def test_every_error_survives_the_way_to_other_ranks(kind: type[errors.DpcnnError]) -> None:
    again = pickle.loads(pickle.dumps(kind("what was found").on_all_ranks()))
    assert type(again) is kind
    assert str(again) == "what was found"
    assert again.collective
    assert again.exit_code in (1, 2)
