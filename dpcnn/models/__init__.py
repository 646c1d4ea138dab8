"""Networks: known ones, the user's own, and what they have to fit."""
