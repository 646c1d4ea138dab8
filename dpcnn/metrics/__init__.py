"""How well a network classifies: counts from labels and predictions, and their tables."""
