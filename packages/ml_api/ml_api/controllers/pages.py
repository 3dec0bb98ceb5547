"""The HTML pages: a list of the models, a form and a card for each, and the page of an error."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from typing import Any, cast

from flask import Blueprint, Request, Response, request
from model_kit.scoring.predictor import Answer, DetailedAnswer
from werkzeug.exceptions import BadRequest, NotFound, UnsupportedMediaType

from ml_api import access
from ml_api.controllers import lookup
from ml_api.controllers.predict import Respond
from ml_api.models.examples import example_records
from ml_api.models.registry import Registry
from ml_api.settings import Settings
from ml_api.views import cached, parameters, plain_words, requests, responses, site
from ml_api.views.card import describe
from ml_api.views.form import first_fields, make_form, read_form, to_record, typical_texts
from ml_api.views.result import describe_result

#: Content type, and maximum size in bytes, of a form that a browser sends.
FORM, MAX_FORM = "application/x-www-form-urlencoded", 1_000_000
#: Level of ranges, and number of reasons, for a browser without JavaScript.
LEVEL, REASONS = 0.9, 6
#: URL of the server's ``/``, relative to the pages of models.
ROOT = "../"


class _Forms:
    """Renders the form of each model."""

    def __init__(self, registry: Registry, settings: Settings) -> None:
        self._registry = registry
        self._settings = settings
        self._values = cache(self._make_values)

    def _make_values(self, name: str) -> dict[str, Any]:
        predictor = lookup.predictor(self._registry, name)
        settings, model = self._settings, predictor.model
        return {
            "about": describe(name, model),
            "examples": example_records(predictor, first_fields(model.spec, model.card)),
            "batch": min(settings.max_rows, settings.max_warned, 500),
            "words": plain_words.WORDS,
            "needs_keys": settings.needs_keys,
            "page": "form",
            "names": self._registry.names,
        }

    def render(self, name: str, root: str, **sent: Any) -> cached.Content:
        """Render a form: of the typical record, or of one that was ``sent``."""
        values = self._values(name)
        if not sent:
            sent = {"form": make_form(lookup.predictor(self._registry, name).model), "result": None, "typical": None}
        return site.render("form.html", root, **values, **sent)


def blueprint(registry: Registry, settings: Settings) -> Blueprint:
    """Create ``/``, ``/try/<model>``, ``/card/<model>`` and the assets of these pages."""
    views = Blueprint("pages", __name__)
    names = registry.names
    default = settings.default_model if settings.default_model in names else (names[0] if names else "")
    form = cache(_Forms(registry, settings).render)  # rendered on the first request

    @cache
    def card(name: str) -> cached.Content:
        about = describe(name, lookup.predictor(registry, name).model)
        return site.render("card.html", ROOT, page="card", names=names, about=about)

    @cache
    def broken(name: str, root: str) -> cached.Content:
        reason = registry.broken.get(name)
        return site.render("broken.html", root, page="broken", names=names, name=name, reason=reason)

    @cache
    def models() -> cached.Content:
        ordered = (default, *(name for name in names if name != default))
        listed = [
            {"name": name, "reason": registry.broken[name]}
            if name in registry.broken
            else describe(name, lookup.predictor(registry, name).model)
            for name in ordered
        ]
        return site.render("models.html", site.HOME, page="models", names=names, models=listed)

    def respond(name: str, root: str, content: Callable[[], cached.Content]) -> Response:
        if name in registry.broken or not name:
            return site.page(broken(name, root), root, request, 503)
        return site.page(content(), root, request)

    @views.get("/")
    def home() -> Response:
        if len(names) > 1:
            return site.page(models(), site.HOME, request)
        return respond(default, site.HOME, lambda: form(default, site.HOME))

    @views.get("/try/<model>")
    def try_model(model: str) -> Response:
        access.add_log_fields(model=model if model in names else None)
        return respond(model, ROOT, lambda: form(model, ROOT))

    @views.get("/card/<model>")
    def model_card(model: str) -> Response:
        access.add_log_fields(model=model if model in names else None)
        return respond(model, ROOT, lambda: card(model))

    @views.get("/assets/<digest>/<file>")
    def asset(digest: str, file: str) -> Response:
        if file not in site.CONTENT_TYPES:
            raise NotFound
        current = digest == site.digest()
        return site.asset(file).response(request, cached.IMMUTABLE if current else cached.REVALIDATE)

    return views


def add_form(views: Blueprint, registry: Registry, settings: Settings, respond: Respond) -> None:
    """Add ``POST /try/<model>``, the form of a browser without JavaScript: a prediction of one record, as a page."""
    forms = _Forms(registry, settings)

    @views.post("/try/<model>")
    def send_form(model: str) -> Response:
        predictor = lookup.predictor(registry, model)
        spec, card = predictor.model.spec, predictor.model.card
        if request.mimetype != FORM:
            raise UnsupportedMediaType(f"The form must be sent as {FORM}.")
        body = requests.read_body(request, min(settings.max_body_bytes, MAX_FORM))
        try:
            texts = read_form(body, spec)
        except ValueError as error:
            raise BadRequest("The form has too many fields.") from error
        options = parameters.DetailOptions(
            interval=LEVEL if card.get("intervals") or card.get("sets") else None,
            explain=REASONS,
            warnings=True,
            probabilities=spec.target.is_class,
        )

        def render(answer: Answer, version: str) -> Response:
            body = responses.encode_details(cast("DetailedAnswer", answer), version)
            result = describe_result(json.loads(body), spec)
            typical = typical_texts(predictor.model)
            content = forms.render(
                model,
                ROOT,
                form=make_form(predictor.model, texts, result.faults),
                result=result,
                typical={name: text for name, text in typical.items() if text != texts[name]},
            )
            return site.page_once(content, 200 if result.trouble == "" else 422)

        return respond(model, predictor, [to_record(texts, spec)], render, options=options)


def render_error(names: tuple[str, ...]) -> Callable[[Request, int, str, str], Response]:
    """Create what renders an error for people: from the request, its status, the error in a sentence, its id."""

    def render(request: Request, status: int, detail: str, request_id: str) -> Response:
        root = "../" * (request.path.count("/") - 1) or site.HOME
        told = "" if detail == NotFound.description else detail
        values = {"page": "error", "names": names, "status": status, "detail": told, "request_id": request_id}
        return site.page_once(site.render(site.ERROR, root, **values), status)

    return render
