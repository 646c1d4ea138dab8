"""Train a network:

    mpirun -n 4 python -m dpcnn.train                  data-parallel
    python -m dpcnn.train                              one process, no MPI needed
    mpirun -n 4 python -m dpcnn.train --resume auto    resume the newest run

`--help` lists the options.
"""

import sys

from dpcnn.training.api import main

if __name__ == "__main__":
    sys.exit(main())
