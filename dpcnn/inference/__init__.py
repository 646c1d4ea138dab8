"""A trained network in use: evaluated, asked for predictions, written for other programs."""
