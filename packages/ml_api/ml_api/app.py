"""The application: settings -> models -> blueprints. Nothing happens at import."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any

from flask import Flask

from ml_api import access, logs
from ml_api.controllers import docs, health, pages, predict, version
from ml_api.controllers import models as model_routes
from ml_api.models.registry import Load, Registry, installed_models
from ml_api.settings import Settings
from ml_api.views import problems


class API(Flask):
    """Flask, but the log of an exception holds nothing that a caller sent, and no function is asynchronous."""

    def ensure_sync(self, func: Callable[..., Any]) -> Callable[..., Any]:
        """``func``, which need not be asked at each request what it is."""
        return func

    def log_exception(self, exc_info: tuple[type, BaseException, TracebackType] | tuple[None, None, None]) -> None:
        """Log the types and stacks of what a view raised, with the request's id."""
        fields = {"request_id": access.current_id()}
        logs.LOGGER.error("unhandled exception", exc_info=exc_info, extra={"fields": fields})


def create_app(settings: Settings | None = None, models: Mapping[str, Load] | None = None) -> API:
    """Load the models and build the application around them.

    Args:
        settings: read from the environment unless given.
        models: name -> callable that loads the model; those announced by installed packages unless given.

    Raises:
        SettingsError: the environment holds a bad value.
    """
    settings = settings or Settings.from_environ(os.environ)
    logs.configure(settings.log_level)
    registry = Registry(installed_models() if models is None else models)

    app = API("ml_api", static_folder=None, template_folder="views/templates")
    # Flask would answer //health with a redirect in HTML; it is a path like any other that nothing answers.
    app.url_map.merge_slashes = False
    access.init_app(app)
    problems.init_app(app)
    app.register_blueprint(health.blueprint(registry))
    app.register_blueprint(version.blueprint(registry, settings))
    app.register_blueprint(predict.blueprint(registry, settings))
    app.register_blueprint(model_routes.blueprint(registry))
    app.register_blueprint(docs.blueprint(registry, settings))
    app.register_blueprint(pages.blueprint(registry, settings))
    return app
