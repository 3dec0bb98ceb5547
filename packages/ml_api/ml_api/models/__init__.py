"""Models: what the application knows and does. Nothing here knows of HTTP or Flask."""
