"""An HTTP API for every model package that is installed."""

__version__ = "0.1.0"
