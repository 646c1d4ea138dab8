"""A run on the disk: its directory, checkpoints, metrics, events, and how it ended."""
