"""Classification metrics: counts and scores from labels and predictions, and their tables."""
