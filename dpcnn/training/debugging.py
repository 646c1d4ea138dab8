"""A run for debugging: every layer checked at every step, NumPy's warnings as the user wants them.

`python -m pdb -m dpcnn.train --debug ...` stops where an exception came from.
"""

from __future__ import annotations

import contextlib

from dpcnn.data.loader import Microbatch
from dpcnn.nn.contract import checked
from dpcnn.nn.losses import LossSums
from dpcnn.training.trainer import Trainer


class DebugTrainer(Trainer):
    """Looks at all that each layer does at every step; NumPy warns, or raises, as it was told.

    The bits are those of any other run.
    """

    def warnings(self) -> contextlib.AbstractContextManager[object]:
        """Return the context of a run: np.seterr is the user's."""
        return contextlib.nullcontext()

    def compute(self, microbatch: Microbatch, minibatch_size: int) -> LossSums:
        """Compute a micro-batch; raises ContractError that names a layer and what it did."""
        with checked(self.network):
            return super().compute(microbatch, minibatch_size)


TRAINERS = {False: Trainer, True: DebugTrainer}  # by --debug
