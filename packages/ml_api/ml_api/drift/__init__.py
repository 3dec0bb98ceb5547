"""Drift: what is scored, beside what the model was trained on. Counts of cells in the prediction log's database."""
