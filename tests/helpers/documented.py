"""Holds responses to the OpenAPI document: what it does not say, no response may be."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, unquote

from jsonschema import Draft202012Validator
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

_URI = "urn:openapi"
#: Paths that the document has once for each installed model.
_OF_A_MODEL = tuple(
    re.compile(pattern) for pattern in (r"/v1/predict/[^/]+", r"/v1/models/[^/]+", r"/v1/models/[^/]+/sample")
)

#: Pages and their assets, which are for people and not in the document.
_PAGES = re.compile(r"/|/(try|card|assets|docs|redoc)(/.*)?")

#: Status -> component, of responses to requests that are refused, whatever they ask.
_REFUSED = {401: "Unauthorized", 403: "Forbidden", 429: "TooManyRequests"}


def _escaped(part: str) -> str:
    return part.replace("~", "~0").replace("/", "~1")


class Documented:
    """A document that responses are held to.

    Attributes:
        seen: path, method and status of each response that was an operation's.
    """

    def __init__(self, document: Mapping[str, Any]) -> None:
        self._paths = document["paths"]
        self._document = document
        self._registry = Registry().with_resource(
            _URI, Resource.from_contents(dict(document), default_specification=DRAFT202012)
        )
        self._validators: dict[str, Draft202012Validator] = {}
        self.seen: set[tuple[str, str, str]] = set()

    def check(self, method: str, path: str, status: int, headers: Mapping[str, str], body: bytes) -> None:
        """Hold one response to the document.

        Raises:
            AssertionError: the document does not say that there is such a response.
        """
        if _PAGES.fullmatch(path.split("?", maxsplit=1)[0]):
            return
        told = f"{method} {path.split('?', maxsplit=1)[0]} -> {status}"
        pointer = self._response(method, unquote(path.split("?", maxsplit=1)[0]), status)
        assert pointer is not None, f"{told} is not in the document"
        response, pointer = self._resolve(pointer)
        for name, header in response.get("headers", {}).items():
            is_required = "$ref" not in header or self._resolve(header["$ref"][1:])[0].get("required", False)
            assert name in headers or not is_required, f"{told} has no {name}"
        content = response.get("content", {})
        if method == "HEAD" or not content:
            assert body == b"", f"{told} has a body"
            return
        content_type = headers.get("Content-Type")
        assert content_type in content, f"{told} is {content_type}, where the document has {', '.join(content)}"
        if content_type is not None and content_type.split(";")[0].endswith("json"):
            validator = self._validator(f"{pointer}/content/{_escaped(content_type)}/schema")
            text = gzip.decompress(body) if headers.get("Content-Encoding") == "gzip" else body
            errors = list(validator.iter_errors(json.loads(text)))
            assert not errors, f"{told}: {errors[0].json_path}: {errors[0].message[:500]}"

    def _response(self, method: str, path: str, status: int) -> str | None:
        """Pointer to the Response Object, or ``None``."""
        known = self._path(path)
        verb = "get" if method == "HEAD" else method.lower()
        if known is None or verb not in self._paths[known]:
            # Requests are refused before it is known whether there is such an operation.
            refused = _REFUSED.get(status)
            if refused in self._document["components"]["responses"]:
                return f"/components/responses/{refused}"
        if known is None:
            return "/components/responses/NotFound" if status == 404 else None
        if method == "OPTIONS":
            return "/components/responses/Options" if status == 200 else None
        operations = self._paths[known]
        verb = "get" if method == "HEAD" and "get" in operations else method.lower()
        if verb not in operations:
            if status != 405:
                return None
            verb = next(iter(operations))
        if str(status) not in operations[verb]["responses"]:
            return None
        self.seen.add((known, verb, str(status)))
        return f"/paths/{_escaped(known)}/{verb}/responses/{status}"

    def _path(self, path: str) -> str | None:
        """The path of the document that stands for ``path``: its own, one with a parameter, one of another model."""
        for known in self._paths:
            if re.fullmatch(re.sub(r"\\\{[^/]+\\\}", "[^/]+", re.escape(known)), path):
                return str(known)
        for pattern in _OF_A_MODEL:
            if pattern.fullmatch(path):
                return next((str(known) for known in self._paths if pattern.fullmatch(known)), None)
        return None

    def _resolve(self, pointer: str) -> tuple[Mapping[str, Any], str]:
        found: Any = self._document
        for part in pointer.split("/")[1:]:
            found = found[part.replace("~1", "/").replace("~0", "~")]
        return self._resolve(found["$ref"][1:]) if "$ref" in found else (found, pointer)

    def _validator(self, pointer: str) -> Draft202012Validator:
        if pointer not in self._validators:
            self._validators[pointer] = Draft202012Validator(
                {"$ref": f"{_URI}#{quote(pointer)}"}, registry=self._registry
            )
        return self._validators[pointer]
