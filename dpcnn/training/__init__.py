"""A training run: what makes it, its steps, its recovery from deaths, what it tells."""
