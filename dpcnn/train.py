"""Train a network:

    mpirun -n 4 python -m dpcnn.train                  data-parallel
    python -m dpcnn.train                              one process, no MPI needed
    mpirun -n 4 python -m dpcnn.train --resume auto    go on with the newest run

`--help` lists the options.
"""

import sys

import dpcnn
from dpcnn.training.api import main

if __name__ == "__main__":
    sys.exit(main())

# Python binds an imported module's name in its package: let it be what dpcnn.train means there.
sys.modules[__name__] = dpcnn.train  # type: ignore[assignment]
