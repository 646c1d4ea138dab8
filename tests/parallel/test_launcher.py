"""Who started this process: the variables of each launcher, and what proves nothing."""

from __future__ import annotations

import pytest

from dpcnn.parallel.launcher import HYDRA, OPEN_MPI, PMI, SLURM, Launch, command, detect


def open_mpi(rank: str = "3", size: str = "4", local: str = "2") -> dict[str, str]:
    return {
        "OMPI_COMM_WORLD_RANK": rank,
        "OMPI_COMM_WORLD_SIZE": size,
        "OMPI_COMM_WORLD_LOCAL_SIZE": local,
    }


def hydra(rank: str = "3", size: str = "4", local: str = "2") -> dict[str, str]:
    return {"PMI_RANK": rank, "PMI_SIZE": size, "MPI_LOCALNRANKS": local}


def slurm(rank: str = "3", size: str = "4", local: str = "2(x2)") -> dict[str, str]:
    return {
        "SLURM_PROCID": rank,
        "SLURM_STEP_NUM_TASKS": size,
        "SLURM_STEP_TASKS_PER_NODE": local,
        "SLURM_NTASKS": "64",
    }


@pytest.mark.parametrize(
    ("environment", "launcher"),
    [(open_mpi(), OPEN_MPI), (hydra(), HYDRA), (slurm(), SLURM)],
)
def test_each_launcher_is_known(environment: dict[str, str], launcher: str) -> None:
    assert detect(environment) == Launch(launcher, rank=3, size=4, local_size=2)


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"SLURM_NTASKS": "8", "SLURM_PROCID": "0"},
        {"PMIX_RANK": "1"},
        {"PMI_RANK": "1"},
        {"OMPI_COMM_WORLD_SIZE": "4"},
        {"SLURM_STEP_NUM_TASKS": "4"},
    ],
)
def test_half_the_variables_prove_nothing(environment: dict[str, str]) -> None:
    assert detect(environment) == Launch(None, rank=0, size=1, local_size=1)


def test_an_mpirun_inside_a_slurm_step_is_what_counts() -> None:
    assert detect(slurm("0", "1", "1") | open_mpi()).launcher == OPEN_MPI
    assert detect(slurm("0", "1", "1") | hydra()).launcher == HYDRA


def test_srun_is_itself_also_where_it_sets_the_variables_of_pmi() -> None:
    pmi = {"PMI_RANK": "3", "PMI_SIZE": "4"}
    assert detect(slurm() | pmi) == Launch(SLURM, rank=3, size=4, local_size=2)
    assert detect(slurm("0", "1", "1") | pmi) == Launch(PMI, rank=3, size=4, local_size=4)


@pytest.mark.parametrize(
    ("local", "size"), [("4", 4), ("4(x2)", 4), ("3,2", 3), ("2(x3),1", 2), ("", 8), ("x", 8)]
)
def test_the_local_size_in_slurms_spelling(local: str, size: int) -> None:
    assert detect(slurm(size="8", local=local)).local_size == size


def test_without_a_local_size_all_ranks_may_be_on_this_node() -> None:
    environment = hydra()
    del environment["MPI_LOCALNRANKS"]
    assert detect(environment).local_size == 4


@pytest.mark.parametrize("garbage", ["", "x", "-1", "1.5", "²", "0"])
def test_garbage_is_one_process(garbage: str) -> None:
    found = detect(open_mpi(garbage, garbage, garbage))
    assert (found.rank, found.size, found.local_size) == (0, 1, 1)


@pytest.mark.parametrize(
    ("launcher", "library", "foreign"),
    [
        (OPEN_MPI, "Open MPI v5.0.8", False),
        (OPEN_MPI, "MPICH 5.0", True),
        (OPEN_MPI, "Intel(R) MPI Library 2021", True),
        (HYDRA, "MPICH 5.0", False),
        (HYDRA, "Intel(R) MPI Library 2021", False),
        (HYDRA, "Open MPI v5.0.8", True),
        (SLURM, "MPICH 5.0", False),
        (SLURM, "Open MPI v5.0.8", False),
        (OPEN_MPI, "an MPI nobody knows", False),
    ],
)
def test_only_what_is_certain_is_foreign(launcher: str, library: str, foreign: bool) -> None:
    assert Launch(launcher, 0, 2, 2).is_foreign_to(library) is foreign


@pytest.mark.parametrize(
    ("size", "environment", "words"),
    [
        (1, {}, "python -m dpcnn.train"),
        (4, hydra(), "mpirun -n 4 python -m dpcnn.train"),
        (4, slurm(), "srun -n 4 python -m dpcnn.train"),
        (2, open_mpi() | {"DPCNN_COMMAND": "launch/elastic -n 4"}, "launch/elastic -n 4"),
    ],
)
def test_the_command_that_goes_on_is_the_one_that_was_typed(
    size: int, environment: dict[str, str], words: str
) -> None:
    assert command(size, environment) == words
