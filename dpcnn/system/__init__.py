"""What lies below: BLAS threads, the environment, files and what may be read of them."""
