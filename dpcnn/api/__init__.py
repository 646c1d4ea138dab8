"""The face to Python: what `import dpcnn` offers, on top of everything else."""
