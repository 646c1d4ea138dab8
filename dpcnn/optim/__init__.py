"""Optimizers and learning-rate schedules, on flat vectors of parameters and gradient."""
