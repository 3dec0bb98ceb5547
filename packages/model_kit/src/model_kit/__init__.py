"""What every model package shares: input spec, encoding, bundle, scoring, training harness."""

__version__ = "0.1.0"
