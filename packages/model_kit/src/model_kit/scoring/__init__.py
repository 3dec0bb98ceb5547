"""Scoring: the bundle, its graph, predictions, ranges and explanations."""
