"""Who tells of a run after rank 0 is gone: what it says of the beginning is what was recorded."""

from __future__ import annotations

from pathlib import Path

import pytest

from dpcnn.models.build import plan_network
from dpcnn.nn import Dense, Flatten
from dpcnn.nn.network import Network
from dpcnn.options import Options
from dpcnn.parallel.communicator import Communicator
from dpcnn.run import events
from dpcnn.run.directory import RunDirectory
from dpcnn.training.log import StandbyLog
from dpcnn.training.optimization import make_optimizer
from dpcnn.training.state import Identity, Progress, State
from tests.networks import of_mnist


@pytest.mark.parametrize(("recorded", "told"), [(True, "Trained 40 steps"), (False, "Trained 5")])
def test_a_replacement_rank_that_becomes_rank_0_tells_of_the_whole_run(
    recorded: bool, told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without the run directory, on another host, it tells of its own steps."""
    options: Options = of_mnist(progress="none")
    plan = plan_network(options, own=[Flatten(), Dense(10)])
    identity = Identity(options.as_dict(), {"source": "digits"}, [])
    state = State(Network(plan), make_optimizer(options, plan), identity)
    state.progress = Progress(step=35, epoch=2, epoch_step=5)
    if recorded:
        events.append(tmp_path, "start", step=0)
    directory = RunDirectory(Path("runs/lost"))
    directory.join(tmp_path)
    log = StandbyLog(options, directory).attach(Communicator(), state)
    state.progress.step = 40
    assert log.finish(state, True) == 0
    assert told in capsys.readouterr().out
