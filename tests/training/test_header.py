"""The table of layers before a run: short enough to read, whatever the network."""

from __future__ import annotations

from typing import Any

import pytest

from dpcnn.models.build import plan_network
from dpcnn.models.user import import_network
from dpcnn.nn.network import Network
from dpcnn.training.console import PlainConsole
from dpcnn.training.header import MOST_ROWS, layer_table
from tests.networks import of_mnist


def table_of(name: str) -> list[tuple[str, str, str, str]]:
    return layer_table(Network(plan_network(of_mnist(), own=import_network(name))))


def test_a_layer_of_layers_has_one_row_with_all_its_parameters() -> None:
    table = table_of("resnet8")
    assert [row[0] for row in table][3:6] == ["residual1", "relu2", "residual2"]
    assert table[3] == ("residual1", "Residual of 5 layers", "16x28x28", "4,672")
    parameters = sum(int(row[3].replace(",", "")) for row in table)
    assert parameters == plan_network(of_mnist(), own=import_network("resnet8")).parameter_count


def test_of_many_rows_alike_neighbours_are_one() -> None:
    table = table_of("resnet56")
    assert [row[:2] for row in table[2:5]] == [
        ("residual1-9", "9 x Residual of 5 layers"),
        ("residual10", "Residual of 7 layers"),
        ("residual11-18", "8 x Residual of 5 layers"),
    ]
    assert table[2][2:] == ("16x28x28", f"{9 * 4672:,}")
    assert len(table) == 8


@pytest.mark.parametrize("name", ["tutorial", "vgg", "resnet20", "wideresnet16x4", "mobilenet"])
def test_the_table_fits_on_a_terminal(name: str, capsys: Any) -> None:
    table = table_of(name)
    assert len(table) <= MOST_ROWS
    PlainConsole().header({"model": name}, table)
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    assert len({len(line) for line in lines[2:-1]}) == 1
