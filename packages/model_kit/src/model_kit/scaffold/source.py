"""The files of a new model package, as text: a few lines that are meant to be read and corrected."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from textwrap import wrap
from typing import Any, Final

from jinja2 import Environment, PackageLoader, StrictUndefined

from model_kit import __version__
from model_kit.scoring.about import About
from model_kit.scoring.definition import ModelDefinition
from model_kit.spec import Field, Target
from model_kit.spec.inference import Guess

#: Characters of a line of code.
WIDTH: Final = 120
#: Texts of the card, and what to write there.
_ABOUT: Final = {
    "title": "what people call it",
    "purpose": "what its predictions are for, and for whom",
    "place": "where the data is from",
    "period": "when it is from: 2006 to 2010",
    "source": "who collected it, with an address",
    "licence": "under which it may be used",
    "contact": "whom to ask",
}


def literal(text: str) -> str:
    """A text as Python source, in double quotes unless that takes more escapes."""
    shown = repr(text)
    return f'"{shown[1:-1]}"' if shown.startswith("'") and '"' not in shown else shown


def render(template: str, **facts: Any) -> str:
    """The text that one of the templates gives; a fact that it lacks is an error."""
    environment = Environment(  # noqa: S701 - Python and TOML, no HTML
        loader=PackageLoader("model_kit", "scaffold/templates"),
        keep_trailing_newline=True,
        trim_blocks=True,
        undefined=StrictUndefined,
    )
    environment.filters["literal"] = literal
    return environment.get_template(f"{template}.jinja").render(facts)


def package_files(
    definition: ModelDefinition,
    guesses: Sequence[Guess],
    left_out: Sequence[tuple[str, str]],
    estimator: str,
    attribute: str = "make_estimator",
    positive_reason: str = "",
) -> dict[str, str]:
    """Path in the package -> text of each of its files.

    Args:
        definition: the model: its name, target and what serves it.
        guesses: the fields.
        left_out: column and reason.
        estimator: content of ``estimator.py``.
        attribute: of that module, what the definition names.
        positive_reason: of two classes, why the positive one is that.
    """
    target, package = definition.target, package_name(definition.name)
    shown = literal(target.name)[1:-1].replace('"', "'")
    sentence = f"Predicts {shown}{f' ({target.unit})' if target.unit else ''}."
    fields = [field_source(guess.field, guess.evidence) for guess in guesses if guess.field is not None]
    kit = __version__.split("+")[0].rpartition(".")[0]
    major, minor = kit.split(".")
    facts = {
        "name": definition.name,
        "package": package,
        "sentence": sentence,
        "description": f"{sentence[:-1]} from {len(fields)} fields".replace("\\", "/"),
        "attribute": attribute,
        "about": _about_source(definition.about),
        "runtime": definition.runtime,
        "keeps_rows": definition.keeps_rows,
        "target": [literal(target.name), *_target_arguments(target)],
        "positive": _comment(
            f"Rates and threshold are about {literal(target.keys[target.positive_position])}: {positive_reason}"
        )
        if positive_reason
        else "",
        "fields": fields,
        "has_levels": any(guess.field is not None and guess.field.levels for guess in guesses),
        "left_out": [_comment(f"{literal(column)}: {reason}") for column, reason in left_out],
        "kit": kit,
        "next_kit": f"{major}.{int(minor) + 1}",
    }
    code = f"src/{package}"
    return {
        "pyproject.toml": render("pyproject.toml", **facts),
        f"{code}/__init__.py": render("init.py", **facts),
        f"{code}/fields.py": render("fields.py", **facts),
        f"{code}/estimator.py": estimator,
        f"tests/test_{package}.py": render("test.py", **facts),
    }


def field_source(field: Field, evidence: str) -> str:
    """The line that declares a field, with the evidence as a comment."""
    plain = Field(field.name, field.kind, field.description)
    arguments = [literal(field.name), literal(field.kind), literal(field.description)]
    arguments += _changed(field, plain, ("required", "format", "time_zone", "numeric_codes", "max_length"))
    if field.ordered:
        levels = ", ".join(f"Level({literal(level.value)}, {literal(level.meaning)})" for level in field.levels)
        arguments += [f"levels=({levels},)", "ordered=True"]
    line = f"    Field({', '.join(arguments)}),"
    if len(line) > WIDTH:
        inner = "".join(f"        {argument},\n" for argument in arguments)
        return f"    # {evidence}\n    Field(\n{inner}    ),\n"
    if len(line) + len(evidence) + 4 > WIDTH:
        return f"    # {evidence}\n{line}\n"
    return f"{line}  # {evidence}\n"


def _about_source(about: About) -> list[str]:
    """The arguments of the prose; where there is none, a comment says what belongs there."""
    lines = []
    for name, comment in _ABOUT.items():
        if text := getattr(about, name):
            lines += _text_source(f"    {name}=", text)
        else:
            lines.append(f'    {name}="",  # {comment}')
    if not about.limits:
        return [*lines, "    limits=(),  # what it must not be used for, what it does not know; a sentence each"]
    return [
        *lines,
        "    limits=(",
        *(line for text in about.limits for line in _text_source("        ", text)),
        "    ),",
    ]


def _text_source(start: str, text: str) -> list[str]:
    """An argument that is a text, in as many lines as it takes."""
    line = f"{start}{literal(text)},"
    if len(line) <= WIDTH:
        return [line]
    indent = " " * (len(start) - len(start.lstrip()))
    parts = wrap(text, WIDTH - 40, expand_tabs=False, replace_whitespace=False, drop_whitespace=False)
    return [f"{start}(", *(f"{indent}    {literal(part)}" for part in parts), f"{indent}),"]


def _changed(value: Field | Target, plain: Field | Target, names: Sequence[str]) -> list[str]:
    """Arguments for the attributes in which a value differs from a plain one."""
    changed = {name: getattr(value, name) for name in names if getattr(value, name) != getattr(plain, name)}
    return [f"{name}={literal(one) if isinstance(one, str) else one}" for name, one in changed.items()]


def _target_arguments(target: Target) -> list[str]:
    if not target.is_class:
        return _changed(target, Target(""), ("unit", "scale", "subject"))
    classes = ", ".join(literal(one) if isinstance(one, str) else repr(one) for one in target.classes)
    return ['kind="class"', f"classes=({classes})", *_changed(target, Target(""), ("positive", "subject"))]


def target_facts(target: Target, positive_reason: str = "") -> dict[str, Any]:
    """A target as a report has it."""
    if target.is_class:
        facts = {"name": target.name, "classes": list(target.classes)}
        return facts | ({"positive": target.positive, "positive_reason": positive_reason} if positive_reason else {})
    return {"name": target.name, "unit": target.unit, "scale": target.scale}


def _comment(text: str) -> str:
    """One line of comment, shortened to the width of the code."""
    line = f"# {text}"
    return line if len(line) <= WIDTH else f"{line[: WIDTH - 3]}..."


def default_estimator_source(scores: Mapping[str, Mapping[str, float]], target: Target) -> str:
    """``estimator.py`` for the best of the kit's estimators.

    Args:
        scores: metrics by name of the function in :mod:`model_kit.training.estimators.defaults`, best first.
        target: what was learned.
    """
    of_log = " of the log" if target.scale == "log" else ""
    what, metric = ("log loss", "log_loss") if target.is_class else (f"RMSE{of_log}", "rmse")
    listed = ", ".join(f"{name} {metrics[metric]:.4g}" for name, metrics in scores.items())
    return render(
        "estimator.py",
        title="The estimator: the best in cross-validation of those that the kit offers.",
        imports=[
            "from model_kit.spec import InputSpec",
            "from model_kit.training.estimators import defaults",
            "from sklearn.pipeline import Pipeline",
        ],
        takes_spec=True,
        returns="Pipeline",
        comment=f"{what} in cross-validation: {listed}",
        expression=f"defaults.{next(iter(scores))}(spec)",
    )


def package_name(name: str) -> str:
    """Import name of the package of a model."""
    return f"{name.replace('-', '_')}_model"
