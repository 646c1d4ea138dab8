"""What lies below all rooms: BLAS threads, the environment, regular files, HDF5 from anywhere."""
