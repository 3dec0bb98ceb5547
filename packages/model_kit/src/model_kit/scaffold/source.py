"""The files of a new model package, as text: a few lines that are meant to be read and corrected."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from model_kit import __version__
from model_kit.spec import Field, Target
from model_kit.spec.inference import Guess

#: Characters of a line of code.
WIDTH: Final = 120


def literal(text: str) -> str:
    """A text as Python source, in double quotes unless that takes more escapes."""
    shown = repr(text)
    return f'"{shown[1:-1]}"' if shown.startswith("'") and '"' not in shown else shown


def field_source(field: Field, evidence: str) -> str:
    """The line that declares a field, with the evidence as a comment."""
    arguments = [literal(field.name), literal(field.kind), literal(field.description)]
    plain = Field(field.name, field.kind, field.description)
    for name in ("required", "format", "time_zone", "numeric_codes"):
        value = getattr(field, name)
        if value != getattr(plain, name):
            arguments.append(f"{name}={literal(value) if isinstance(value, str) else value}")
    line = f"    Field({', '.join(arguments)}),"
    if len(line) > WIDTH:
        inner = "".join(f"        {argument},\n" for argument in arguments)
        return f"    # {evidence}\n    Field(\n{inner}    ),\n"
    if len(line) + len(evidence) + 4 > WIDTH:
        return f"    # {evidence}\n{line}\n"
    return f"{line}  # {evidence}\n"


def fields_source(guesses: Sequence[Guess], left_out: Sequence[tuple[str, str]], target: Target) -> str:
    """``fields.py``."""
    lines = "".join(field_source(guess.field, guess.evidence) for guess in guesses if guess.field is not None)
    facts = [literal(target.name)]
    facts += [f"unit={literal(target.unit)}"] if target.unit else []
    facts += [f"scale={literal(target.scale)}"] if target.scale != Target("").scale else []
    facts += [f"subject={literal(target.subject)}"] if target.subject != Target("").subject else []
    absent = "".join(_comment(f"{literal(name)}: {reason}") for name, reason in left_out)
    return (
        f'"""The fields, in the order of the data; inferred, and meant to be corrected."""\n\n'
        f"from model_kit.spec import Field, Target\n\n"
        f"TARGET = Target({', '.join(facts)})\n\n"
        f"FIELDS = (\n{lines})\n" + (f"\n# Left out:\n{absent}" if absent else "")
    )


def _comment(text: str) -> str:
    """One line of comment, shortened to the width of the code."""
    line = f"# {text}"
    return f"{line if len(line) <= WIDTH else line[: WIDTH - 3] + '...'}\n"


def init_source(name: str, target: Target) -> str:
    """``__init__.py``."""
    package = package_name(name)
    return f'''"""{_sentence(target)}"""

from model_kit import ModelDefinition

from {package}.fields import FIELDS, TARGET

__version__ = "0.1.0"

DEFINITION = ModelDefinition({literal(name)}, TARGET, FIELDS, "{package}.estimator:make_estimator")
'''


def _sentence(target: Target) -> str:
    shown = literal(target.name)[1:-1].replace('"', "'")
    return f"Predicts {shown}{f' ({target.unit})' if target.unit else ''}."


def estimator_source(factory: str, scores: Sequence[tuple[str, float]], metric: str) -> str:
    """``estimator.py`` for one of the kit's estimators.

    Args:
        factory: name of the chosen function in :mod:`model_kit.training.estimators.defaults`.
        scores: name and score of all candidates, best first.
        metric: what the scores are.
    """
    listed = ", ".join(f"{name} {score:.4g}" for name, score in scores)
    return f'''"""The estimator: the best in cross-validation of those that the kit offers."""

from model_kit.spec import InputSpec
from model_kit.training.estimators import defaults
from sklearn.pipeline import Pipeline


def make_estimator(spec: InputSpec) -> Pipeline:
    """Returns an unfitted scikit-learn estimator for the features; any other regressor may replace it."""
    # {metric}: {listed}
    return defaults.{factory}(spec)
'''


def test_source(name: str) -> str:
    """The package's test."""
    package = package_name(name)
    imports = sorted(["from model_kit.testing import check_definition", f"from {package} import DEFINITION"])
    return f'''"""The package keeps what its definition promises: model_kit checks it with generated rows."""

from pathlib import Path

{chr(10).join(imports)}


def test_definition_trains_exports_and_predicts(tmp_path: Path) -> None:
    check_definition(DEFINITION, tmp_path)
'''


def project_source(name: str, target: Target, n_fields: int) -> str:
    """``pyproject.toml``."""
    package = package_name(name)
    distribution = package.replace("_", "-")
    lowest = __version__.split("+")[0].rpartition(".")[0]
    major, minor = lowest.split(".")
    description = literal(f"{_sentence(target)[:-1]} from {n_fields} fields".replace("\\", "/"))
    return f"""[build-system]
requires = ["hatchling>=1.26"]
build-backend = "hatchling.build"

[project]
name = "{distribution}"
description = {description}
requires-python = ">=3.11"
dynamic = ["version"]
dependencies = ["model-kit>={lowest},<{major}.{int(minor) + 1}"]
classifiers = ["Private :: Do Not Upload"]
scripts.{name}-model = "model_kit.cli.main:main"
entry-points."ml_api.models".{name} = "{package}:DEFINITION.load"

[tool.hatch]
version.path = "src/{package}/__init__.py"
build.dev-mode-dirs = ["src"]
build.targets.wheel.packages = ["src/{package}"]
build.targets.wheel.artifacts = ["src/{package}/bundle/*"]
"""


def package_name(name: str) -> str:
    """Import name of the package of a model."""
    return f"{name.replace('-', '_')}_model"
