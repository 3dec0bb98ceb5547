"""Creates the application: settings -> models -> blueprints. Importing this module has no side effects."""

from __future__ import annotations

import atexit
import os
from collections.abc import Callable, Mapping
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any

from flask import Flask, Request, Response
from flask.ctx import RequestContext
from flask.globals import request_ctx
from flask.sessions import NullSession, SessionInterface
from werkzeug.routing import MapAdapter, Rule

from ml_api import access, logs
from ml_api.client_address import TrustedProxies
from ml_api.controllers import docs, health, pages, predict, version
from ml_api.controllers import models as model_routes
from ml_api.cors import CORS
from ml_api.guard import Guard
from ml_api.keys import KeyRing
from ml_api.models.registry import Loader, Registry, installed_models
from ml_api.settings import LogSettings, Settings
from ml_api.shared_folder import current_place
from ml_api.views import problems

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

    from ml_api.candidates.connections import Candidates
    from ml_api.metrics.recorder import Recorder
    from ml_api.prediction_log.log import PredictionLog
    from ml_api.rate_limits.limiter import RateLimiter
    from ml_api.tracing import Tracer


#: Matches of paths that are kept, and the length of a path up to which they are.
MAX_MATCHES, MAX_PATH = 64, 256


class _Context(RequestContext):
    """The context of a request, which remembers the matches of paths: searching all rules takes a twentieth of it."""

    app: API

    def match_request(self) -> None:
        """Set the rule and the arguments of the request's path, or the exception that says why there are none."""
        request, matches = self.request, self.app.matches
        key = request.method, request.path
        if (found := matches.get(key)) is not None:
            request.url_rule, request.view_args = found[0], dict(found[1])
            return
        super().match_request()
        if request.url_rule is not None and len(request.path) <= MAX_PATH:
            if len(matches) >= MAX_MATCHES:
                matches.clear()
            matches[key] = request.url_rule, dict(request.view_args or {})


class NoSessions(SessionInterface):
    """Disables sessions: the API is stateless."""

    _session = NullSession()

    def open_session(self, app: Flask, request: Request) -> NullSession:
        """Return the shared empty session, which is read-only."""
        return self._session


class API(Flask):
    """Flask without the features that this API does not use, which halves the overhead of a small response.

    There are no asynchronous views, no host-dependent rules, no sessions, no signals, and no hooks except those of
    :mod:`ml_api.access`. The log of an exception contains no value that a client sent.
    """

    session_interface = NoSessions()
    #: Called with each request before its view; may raise an HTTPException.
    checks: tuple[Callable[[Request], None], ...] = ()
    #: Checks the API keys, if there are any.
    guard: Guard | None = None
    #: Counts the responses, if metrics are on.
    metrics: Recorder | None = None
    #: The models.
    registry: Registry
    #: Traces the requests, if traces are on.
    tracer: Tracer | None = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        #: Method and path of some requests -> rule and arguments.
        self.matches: dict[tuple[str, str], tuple[Rule, dict[str, Any]]] = {}

    def request_context(self, environ: WSGIEnvironment) -> RequestContext:
        """Return the context of a request."""
        return _Context(self, environ)

    def create_url_adapter(self, request: Request | None) -> MapAdapter | None:
        """Return the URL adapter of ``request``, without parsing its host."""
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
        """Handle a request, from assigning its id to writing its log line."""
        # The request itself: its proxy looks it up at each use.
        request = request_ctx.request
        access.begin(request, self.tracer)
        try:
            for check in self.checks:
                check(request)
            result = self.dispatch_request()
        except Exception as error:  # noqa: BLE001  as in Flask, any exception becomes a response
            result = self.handle_user_exception(error)
        return self.finalize_request(result)

    def finalize_request(self, rv: Any, from_error_handler: bool = False) -> Response:
        """Return the response with its request id, after writing the log line."""
        response = rv if isinstance(rv, Response) else self.make_response(rv)
        return access.end(request_ctx.request, response, self.metrics, self.tracer)

    def do_teardown_request(self, exc: Any = None) -> None:
        """Do nothing: there are no such hooks."""

    def do_teardown_appcontext(self, exc: Any = None) -> None:
        """Do nothing: there are no such hooks."""

    def ensure_sync(self, func: Callable[..., Any]) -> Callable[..., Any]:
        """Return ``func`` unchanged: no view is asynchronous."""
        return func

    def log_exception(self, exc_info: tuple[type, BaseException, TracebackType] | tuple[None, None, None]) -> None:
        """Log types and stacks of the exception that a view raised, with the request id."""
        fields = {"request_id": access.current_id()}
        logs.LOGGER.error("unhandled exception", exc_info=exc_info, extra={"fields": fields})


def create_app(settings: Settings | None = None, models: Mapping[str, Loader] | None = None) -> API:
    """Load the models and create the application.

    Args:
        settings: default: read from the environment.
        models: name -> function that loads the model; default: the entry points of the installed packages.

    Raises:
        SettingsError: an environment variable has an invalid value.
    """
    settings = settings or Settings.from_environ(os.environ)
    logs.configure(settings.log_level)
    registry = Registry(installed_models() if models is None else models)

    app = API("ml_api", static_folder=None, template_folder="views/templates")
    app.registry = registry
    # Flask would redirect //health with an HTML page; here it is a path that is not found.
    app.url_map.merge_slashes = False
    protocols = _add_protocols(app, registry, settings)
    app.register_blueprint(health.blueprint(registry, settings))
    candidates = _make_candidates(settings) if settings.candidates else None
    app.register_blueprint(version.blueprint(registry, settings, candidates))
    if settings.cors_origins:
        app.checks += (CORS(settings.cors_origins),)
    if (ring := KeyRing.from_settings(settings)) is not None:
        app.guard = Guard(ring)
        app.checks += (app.guard,)
    if settings.metrics:
        _add_metrics(app, registry, settings)
    if settings.otlp_endpoint:
        from ml_api.tracing import Tracer  # noqa: PLC0415  its libraries take 7 MB

        app.tracer = Tracer()
    limiter = _add_limiter(app, settings) if settings.rate_limit else None
    prediction_log = _add_log(app, registry, settings, settings.prediction_log) if settings.prediction_log else None
    app.register_blueprint(
        predict.blueprint(registry, settings, app.metrics, limiter, prediction_log, candidates, protocols)
    )
    app.register_blueprint(model_routes.blueprint(registry, candidates))
    app.register_blueprint(docs.blueprint(registry, settings))
    app.register_blueprint(pages.blueprint(registry, settings))
    return app


def _add_protocols(app: API, registry: Registry, settings: Settings) -> list[predict.AddRoutes]:
    """Add how other protocols describe models and errors; returns what adds their predictions."""
    added: list[predict.AddRoutes] = [pages.add_form]
    renderers: dict[str, problems.Renderer] = {}
    if settings.v2:
        from ml_api.controllers import v2  # noqa: PLC0415  most servers do not speak it

        added.append(v2.add_infer)
        renderers["/v2"] = v2.render_error
        app.register_blueprint(v2.blueprint(registry))
    if settings.invocations is not None:
        from ml_api.controllers.invocations import add_invocations  # noqa: PLC0415  likewise

        added.append(add_invocations)
    problems.init_app(app, pages.render_error(registry.names), renderers)
    return added


def _make_candidates(settings: Settings) -> Candidates:
    from ml_api.candidates.connections import Candidates  # noqa: PLC0415  most servers have none

    return Candidates(settings, current_place().folder)


def _add_limiter(app: API, settings: Settings) -> RateLimiter:
    from ml_api.rate_limits.limiter import RateLimiter  # noqa: PLC0415  its library is imported only if it is needed
    from ml_api.rate_limits.storage import SharedStorage  # noqa: PLC0415

    storage = SharedStorage(current_place().folder / "limits")
    proxies = TrustedProxies(settings.forwarded_allow_ips)
    limiter = RateLimiter(settings.rate_limit, storage, settings.rate_limit_redis, proxies, settings.max_body_bytes)
    app.checks += (limiter,)
    return limiter


def _add_metrics(app: API, registry: Registry, settings: Settings) -> None:
    # Most servers are not asked for metrics, and shall not pay for the library.
    from ml_api.controllers import metrics  # noqa: PLC0415
    from ml_api.metrics.recorder import Recorder  # noqa: PLC0415

    place = current_place()
    app.metrics = Recorder(place.folder, place.slot)
    app.register_blueprint(metrics.blueprint(registry, place.folder))
    if settings.metrics_port is not None:
        # First, so that what a port does not serve is not found with any key or none.
        app.checks = (metrics.PortCheck(settings.metrics_port), *app.checks)


def _add_log(app: API, registry: Registry, settings: Settings, of_log: LogSettings) -> PredictionLog:
    # Its libraries take 25 MB.
    from ml_api.controllers import live_errors, outcomes  # noqa: PLC0415
    from ml_api.drift.tally import DriftLog  # noqa: PLC0415
    from ml_api.prediction_log.log import PredictionLog  # noqa: PLC0415

    predictors = {name: registry.predictor(name) for name in registry.models()}
    log = PredictionLog(of_log, predictors, app.metrics)
    # Writes what is queued.
    atexit.register(log.close)
    refresh = None
    if app.metrics is not None:
        from ml_api.drift import live  # noqa: PLC0415

        refresh = partial(live.refresh, log.database, current_place().folder)
    # Ends before the log does.
    atexit.register(DriftLog(log.database, predictors, refresh).close, of_log.timeout)
    app.register_blueprint(outcomes.blueprint(log, settings))
    app.register_blueprint(live_errors.blueprint(log.database))
    return log
