"""Folding: a fitted estimator as a graph of about twenty nodes."""
