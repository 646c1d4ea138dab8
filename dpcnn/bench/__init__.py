"""Benchmarks: training on one or more ranks of this machine, compared with PyTorch; predictions."""
