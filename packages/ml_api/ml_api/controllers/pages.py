"""The HTML pages: a form and a card for each model."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from flask import Blueprint, Response, request
from werkzeug.exceptions import NotFound

from ml_api import access
from ml_api.controllers import lookup
from ml_api.models.examples import example_records
from ml_api.models.registry import Registry
from ml_api.settings import Settings
from ml_api.views import cached, site
from ml_api.views.card import describe
from ml_api.views.form import first_fields, make_form


def blueprint(registry: Registry, settings: Settings) -> Blueprint:
    """Create ``/``, ``/try/<model>``, ``/card/<model>`` and the assets of these pages."""
    views = Blueprint("pages", __name__)
    names = registry.names
    default = settings.default_model if settings.default_model in names else (names[0] if names else "")

    @cache  # rendered on the first request
    def form(name: str, root: str) -> cached.Content:
        predictor = lookup.predictor(registry, name)
        model = predictor.model
        about = describe(name, model)
        examples = example_records(predictor, first_fields(model.spec, model.card))
        values: dict[str, Any] = {
            "form": make_form(model),
            "examples": examples,
            "batch": min(settings.max_rows, settings.max_warned, 500),
        }
        return site.render("form.html", root, page="form", names=names, about=about, **values)

    @cache
    def card(name: str) -> cached.Content:
        about = describe(name, lookup.predictor(registry, name).model)
        return site.render("card.html", "../", page="card", names=names, about=about)

    @cache
    def broken(name: str, root: str) -> cached.Content:
        reason = registry.broken.get(name)
        return site.render("broken.html", root, page="broken", names=names, name=name, reason=reason)

    def respond(name: str, root: str, content: Callable[[], cached.Content]) -> Response:
        if name in registry.broken or not name:
            return site.page(broken(name, root), root, request, 503)
        return site.page(content(), root, request)

    @views.get("/")
    def home() -> Response:
        return respond(default, site.HOME, lambda: form(default, site.HOME))

    @views.get("/try/<model>")
    def try_model(model: str) -> Response:
        access.add_log_fields(model=model if model in names else None)
        return respond(model, "../", lambda: form(model, "../"))

    @views.get("/card/<model>")
    def model_card(model: str) -> Response:
        access.add_log_fields(model=model if model in names else None)
        return respond(model, "../", lambda: card(model))

    @views.get("/assets/<digest>/<file>")
    def asset(digest: str, file: str) -> Response:
        if file not in site.CONTENT_TYPES:
            raise NotFound
        current = digest == site.digest()
        return site.asset(file).response(request, cached.IMMUTABLE if current else cached.REVALIDATE)

    return views
