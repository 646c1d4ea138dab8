"""Train a network:

    mpirun -n 4 python -m dpcnn.train                  data-parallel
    python -m dpcnn.train                              one process, no MPI needed
    mpirun -n 4 python -m dpcnn.train --resume auto    resume the newest run

`--help` lists the options.
"""

import sys

import dpcnn
from dpcnn.training.api import main

if __name__ == "__main__":
    sys.exit(main())

# Importing a module binds its name in its package, where dpcnn.train is a function: keep it that.
sys.modules[__name__] = dpcnn.train  # type: ignore[assignment]
