"""The house-price model: fields, training data, derived features, estimator, and a command to use it."""

__version__ = "0.1.0"
