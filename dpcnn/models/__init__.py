"""Networks: known ones, the user's own, and the plan of a run's network."""
