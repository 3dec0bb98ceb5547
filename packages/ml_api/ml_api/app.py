"""The application: settings -> models -> blueprints. Nothing happens at import."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any

from flask import Flask, Request, Response
from flask.sessions import NullSession, SessionInterface
from werkzeug.routing import MapAdapter

from ml_api import access, logs
from ml_api.controllers import docs, health, pages, predict, version
from ml_api.controllers import models as model_routes
from ml_api.models.registry import Load, Registry, installed_models
from ml_api.settings import Settings
from ml_api.views import problems


class NoSessions(SessionInterface):
    """Nobody has a session, and no request opens one."""

    _none = NullSession()

    def open_session(self, app: Flask, request: Request) -> NullSession:
        """Always the same, which cannot be written to."""
        return self._none


class API(Flask):
    """Flask without what no request here needs: half of the time that Flask takes for a small answer.

    No function is asynchronous, no rule depends on the host, and there are no sessions, no signals and no hooks but
    those of :mod:`ml_api.access`. And the log of an exception holds nothing that a caller sent.
    """

    session_interface = NoSessions()

    def create_url_adapter(self, request: Request | None) -> MapAdapter | None:
        """What finds the rule of ``request``, whatever host it names."""
        if request is None:
            return None
        environ = request.environ
        return MapAdapter(
            self.url_map,
            server_name=environ["SERVER_NAME"],
            script_name=environ.get("SCRIPT_NAME", ""),
            subdomain="",
            url_scheme=environ["wsgi.url_scheme"],
            path_info=request.path,
            default_method=request.method,
            query_args=environ.get("QUERY_STRING", ""),
        )

    def full_dispatch_request(self) -> Response:
        """From the request's id to its line in the log."""
        access.begin()
        try:
            answer = self.dispatch_request()
        except Exception as error:  # noqa: BLE001  as in Flask, whatever a view raises is answered
            answer = self.handle_user_exception(error)
        return self.finalize_request(answer)

    def finalize_request(self, rv: Any, from_error_handler: bool = False) -> Response:
        """The response, with its id, once its line has been written."""
        return access.end(rv if isinstance(rv, Response) else self.make_response(rv))

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
    problems.init_app(app)
    app.register_blueprint(health.blueprint(registry))
    app.register_blueprint(version.blueprint(registry, settings))
    app.register_blueprint(predict.blueprint(registry, settings))
    app.register_blueprint(model_routes.blueprint(registry))
    app.register_blueprint(docs.blueprint(registry, settings))
    app.register_blueprint(pages.blueprint(registry, settings))
    return app
