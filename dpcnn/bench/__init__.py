"""Measures training on this machine, on one and on several ranks, and beside PyTorch."""
