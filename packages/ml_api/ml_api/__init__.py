"""An HTTP API for all installed model packages."""

__version__ = "0.1.0"
