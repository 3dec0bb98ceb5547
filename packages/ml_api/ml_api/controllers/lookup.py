"""Finds the model that a URL names."""

from __future__ import annotations

from model_kit.scoring.predictor import Predictor
from werkzeug.exceptions import NotFound, ServiceUnavailable

from ml_api.models.registry import RETRY_AFTER, BrokenModelError, Registry, UnknownModelError


def predictor(registry: Registry, name: str) -> Predictor:
    """Return the predictor of the model ``name``.

    Raises:
        NotFound: no model of that name is installed.
        ServiceUnavailable: the model could not be loaded.
    """
    try:
        return registry.predictor(name)
    except UnknownModelError as error:
        raise NotFound(str(error)) from error
    except BrokenModelError as error:
        raise ServiceUnavailable(str(error), retry_after=RETRY_AFTER) from error
