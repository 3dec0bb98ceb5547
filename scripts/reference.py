"""The generated part of the documentation's reference pages, as Markdown, read from the code itself.

docs/conf.py puts it where a page has the line `<!-- generated: NAME -->`, NAME a function of `PAGES`, whenever the site
is built. Nothing of it is committed.
"""

from __future__ import annotations

import argparse
import inspect
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import MISSING, Field, fields
from typing import Any

import ml_client
import model_kit
from ml_client.cli.main import build_parser as build_client_parser
from model_kit import spec as kit_spec
from model_kit import testing
from model_kit.cli.main import build_parser as build_kit_parser
from model_kit.scoring import definition

from ml_api.cli.main import build_parser as build_api_parser
from ml_api.settings import LogSettings, Settings, SettingsError
from ml_api.views.openapi.document import build
from project import ROOT

#: A value that no setting accepts; the message of its refusal says what is accepted.
_UNUSABLE = "ftp://? x"
#: Columns of the help of a command.
_WIDTH = 100
_CARD_SCHEMA = ROOT / "docs/reference/card.schema.json"


def settings() -> str:
    """Return a table of the variables that ml_api.settings reads: default, accepted values, meaning."""
    rows = []
    for kind in (Settings, LogSettings):
        for name, text in _attributes(kind).items():
            named = re.match(r"``([A-Z][A-Z0-9_]+)``[,:]? ?", text)
            if named is not None:
                default = _text_of(next(one for one in fields(kind) if one.name == name).default)
                meaning = text[named.end() :]
                rows.append((f"`{named[1]}`", f"`{default}`" if default else "", _accepted(named[1]), meaning))
    return _table(("variable", "default", "accepted", "meaning"), sorted(rows))


def http() -> str:
    """Return every operation of the OpenAPI document with its parameters, bodies and responses."""
    described = Settings(
        metrics=True, v2=True, invocations="mlflow", prediction_log=LogSettings("sqlite://"), default_model="rides"
    )
    document = build({"rides": _Rides()}, {}, {"models": {}}, described)  # type: ignore[dict-item]
    parts = []
    for tag in document["tags"]:
        parts.append(f"## {tag['name'].capitalize()}\n\n{tag.get('description', '')}.")
        for path, operations in document["paths"].items():
            for method, operation in operations.items():
                if tag["name"] in operation["tags"]:
                    parts += _operation(document, f"{method.upper()} {path.replace('rides', '<name>')}", operation)
    parts.append("## Objects")
    for name, schema in document["components"]["schemas"].items():
        if "properties" in schema:
            parts += [f"### {name}", schema.get("description", ""), _properties(schema)]
    return "\n\n".join(filter(None, parts))


def cli() -> str:
    """Return the help of every command, and the targets of make."""
    programs = (build_kit_parser("model-kit"), build_api_parser(), build_client_parser())
    before = os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = str(_WIDTH)
    try:
        parts = [part for parser in programs for part in _helps(parser, "##")]
    finally:
        os.environ.pop("COLUMNS") if before is None else os.environ.update(COLUMNS=before)
    targets = re.findall(r"^([a-z-]+):.*?## (.*)$", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
    rows = [(f"`make {name}`", text) for name, text in targets]
    return "\n\n".join([*parts, "## `make`", _table(("target", "what it does"), rows)])


def python() -> str:
    """Return directives for the public names of the kit and the client, which Sphinx fills from their docstrings."""
    parts = []
    for title, module in (("In training", model_kit), ("As a client", ml_client)):
        parts += [f"## {title}: `{module.__name__}`", "```{eval-rst}"]
        for name in module.__all__:
            found = getattr(module, name)
            kind = "function" if inspect.isfunction(found) else "exception" if _is_error(found) else "class"
            members = "" if kind == "function" else "   :members:\n"
            parts.append(f".. auto{kind}:: {module.__name__}.{name}\n{members}")
        parts.append("```")
    return "\n\n".join(parts).replace("```{eval-rst}\n\n", "```{eval-rst}\n")


def spec() -> str:
    """Return the attributes of what a model package declares, and of what fitting learns."""
    kinds = [kit_spec.Field, kit_spec.Level, kit_spec.Target, kit_spec.Learned]
    kinds += [definition.ModelDefinition, definition.Floors, definition.Sample]
    return "\n\n".join(part for kind in kinds for part in (f"## {kind.__name__}", _summary(kind), _dataclass(kind)))


def card() -> str:
    """Return the keys of card.json, from its JSON Schema."""
    return "\n\n".join(_sections(json.loads(_CARD_SCHEMA.read_text("utf-8"))))


#: What a page may ask for.
PAGES: Mapping[str, Callable[[], str]] = {
    "settings": settings,
    "http": http,
    "cli": cli,
    "python": python,
    "spec": spec,
    "card": card,
}


class _Rides:
    """What the document of the model of model_kit.testing is made of, without a bundle."""

    spec = testing.SPEC_OF_RIDES
    version = testing.__version__
    golden: Mapping[str, Any] = {"row": testing.GOLDEN_ROW, "prediction": testing.GOLDEN_PREDICTION}
    card: Mapping[str, Any] = {"intervals": None, "data": {"synthetic": True}}
    lineage: Mapping[str, Any] = {}


def _accepted(variable: str) -> str:
    """What a variable may be, in the words of the message that refuses another value."""
    log = {"PREDICTION_LOG": "/log.db"} if variable.startswith("PREDICTION_LOG_") else {}
    try:
        Settings.from_environ({**log, variable: _UNUSABLE})
    except SettingsError as error:
        return str(error).partition(" must ")[2].removeprefix("be ")
    return "any text"


def _text_of(value: Any) -> str:
    if value in (None, MISSING) or value == ():
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    return ",".join(value) if isinstance(value, tuple) else str(value)


def _attributes(kind: type) -> dict[str, str]:
    """Attribute -> what the docstring says of it; each of several that it names together has the same."""
    _, _, text = (inspect.getdoc(kind) or "").partition("Attributes:\n")
    found: dict[str, str] = {}
    for names, meaning in re.findall(r"^    ([a-z_0-9, ]+): (.*(?:\n {8}.*)*)", text, re.MULTILINE):
        found |= dict.fromkeys(names.split(", "), " ".join(meaning.split()))
    return found


def _summary(kind: type) -> str:
    return (inspect.getdoc(kind) or "").partition("\n\n")[0]


def _dataclass(kind: Any) -> str:
    meanings = _attributes(kind)
    rows = [(f"`{one.name}`", f"`{one.type}`", _default(one), meanings.get(one.name, "")) for one in fields(kind)]
    return _table(("name", "type", "default", "meaning"), rows)


def _default(one: Field[Any]) -> str:
    if one.default is not MISSING:
        return f"`{one.default!r}`"
    if one.default_factory is not MISSING:
        return f"`{one.default_factory()!r}`"
    return "required"


def _is_error(found: Any) -> bool:
    return inspect.isclass(found) and issubclass(found, Exception)


def _helps(parser: argparse.ArgumentParser, heading: str) -> Iterator[str]:
    """The help of a command, then of each of its subcommands, under headings."""
    yield f"{heading} `{parser.prog}`\n\n```text\n{parser.format_help()}```"
    for action in parser._actions:  # noqa: SLF001 - argparse has no public way to them
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001
            for one in action.choices.values():
                yield from _helps(one, "###")


def _operation(document: Mapping[str, Any], title: str, operation: Mapping[str, Any]) -> Iterator[str]:
    yield f"### `{title}`"
    yield f"{operation['summary']}. {operation.get('description', '')}".strip()
    parameters = [_resolved(document, one) for one in operation.get("parameters", ())]
    if parameters:
        rows = [
            (f"`{one['name']}`", one["in"], _type(one.get("schema", {})), one.get("description", ""))
            for one in parameters
        ]
        yield _table(("parameter", "in", "value", "meaning"), rows)
    body = _resolved(document, operation.get("requestBody", {})).get("content", {})
    if body:
        yield "Body: " + ", ".join(f"`{one}`" for one in body) + "."
    answers = []
    for status, response in operation["responses"].items():
        found = _resolved(document, response)
        answers.append((status, found["description"], ", ".join(f"`{one}`" for one in found.get("content", {}))))
    yield _table(("status", "when", "type"), answers)


def _properties(schema: Mapping[str, Any]) -> str:
    required = schema.get("required", ())
    rows = [
        (f"`{name}`", _type(one), "yes" if name in required else "", one.get("description", ""))
        for name, one in schema["properties"].items()
    ]
    return _table(("member", "type", "always", "meaning"), rows)


def _sections(schema: Mapping[str, Any], path: str = "") -> Iterator[str]:
    """A table of an object's members, then one of each object in it that has members of its own."""
    if path:
        yield f"## `{path}`"
    if schema.get("description"):
        yield schema["description"]
    yield _properties(schema)
    for name, one in schema["properties"].items():
        inner, step = one, f"{path}.{name}".lstrip(".")
        if isinstance(inner.get("additionalProperties"), dict):
            inner, step = inner["additionalProperties"], f"{step}.*"
        if "items" in inner:
            inner, step = inner["items"], f"{step}[]"
        if "properties" in inner:
            yield from _sections(inner, step)


def _type(schema: Mapping[str, Any]) -> str:
    """A schema in a word or two."""
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    if "enum" in schema:
        return ", ".join(f"`{json.dumps(one)}`" for one in schema["enum"])
    for several in ("anyOf", "oneOf", "allOf"):
        if several in schema:
            return " or ".join(map(_type, schema[several]))
    kind = schema.get("type", "any")
    words = " or ".join(kind) if isinstance(kind, list) else str(kind)
    if "items" in schema:
        words += f" of {_type(schema['items'])}"
    low, high = schema.get("minimum"), schema.get("maximum")
    if low is not None and high is not None:
        words += f", {low} to {high}"
    return words + (f", default {json.dumps(schema['default'])}" if "default" in schema else "")


def _resolved(document: Mapping[str, Any], found: Any) -> Any:
    while "$ref" in found:
        reference, found = found["$ref"], document
        for part in reference.split("/")[1:]:
            found = found[part]
    return found


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *([_cell(one) for one in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(text: str) -> str:
    """A text in one line of a table; RST's roles and literals as Markdown's."""
    text = re.sub(r":\w+:`~?([\w.]+)`", lambda found: f"`{found[1].rpartition('.')[2]}`", text)
    return " ".join(text.replace("``", "`").split()).replace("|", "\\|")
