"""The command ``model-kit``."""
