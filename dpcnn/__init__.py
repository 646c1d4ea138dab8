"""dpcnn trains convolutional networks in NumPy, data-parallel over MPI.

    mpirun -n 4 python -m dpcnn.train      data-parallel
    python -m dpcnn.train                  one process, no MPI needed

Importing it gives BLAS one thread, unless the user has chosen a number: many ranks share the
cores, and the exact reduction's bits are those of one thread.
"""

from dpcnn import blas

__version__ = "0.1.0"

blas.set_threads(blas.threads(None, exact=True, local_size=1))
