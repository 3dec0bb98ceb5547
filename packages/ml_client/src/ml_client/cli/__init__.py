"""The command ``ml-client``."""
