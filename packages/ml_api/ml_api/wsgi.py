"""The entry point of WSGI servers: ``ml_api.wsgi:app``. Importing this module, and no other, loads the models."""

from __future__ import annotations

from ml_api.app import create_app

app = create_app()
