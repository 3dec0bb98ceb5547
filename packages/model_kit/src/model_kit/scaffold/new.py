"""From a CSV file to a model package: infer, prove, choose an estimator, write; all of it or nothing."""

from __future__ import annotations

import importlib
import keyword
import re
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, distribution, entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from model_kit.batch.numbers import PLAIN, NumberFormat
from model_kit.errors import DataError, DefinitionError
from model_kit.scaffold import source
from model_kit.scaffold.strength import LEAK, required_fields, strengths
from model_kit.scaffold.table import RawTable, read_table
from model_kit.scoring.definition import ModelDefinition
from model_kit.scoring.protocol import ENTRY_POINT_GROUP
from model_kit.spec import Field, Target
from model_kit.spec.inference import Column, Guess, infer_field, judge_target
from model_kit.training.dataset import Dataset, parse
from model_kit.training.estimators import defaults

_NAME: Final = re.compile(r"[a-z][a-z0-9]*([-_][a-z0-9]+)*")
#: Lines of the report on columns that were left out or look suspicious.
_LISTED: Final = 40


@dataclass(frozen=True)
class Draft:
    """A model package that has been inferred and proven, and not been written.

    Attributes:
        definition: as the package will have it, with an estimator of the kit.
        dataset: the file, read by that definition.
        guesses: of the fields, in order.
        left_out: column and reason.
        suspicions: column and what a person should look at.
        strengths: field -> share of the target's variance that it gives alone.
    """

    definition: ModelDefinition
    dataset: Dataset
    guesses: tuple[Guess, ...]
    left_out: tuple[tuple[str, str], ...]
    suspicions: tuple[tuple[str, str], ...]
    strengths: Mapping[str, float]


def check_name(name: str, folder: Path) -> None:
    """Make sure that a package of this name clashes with nothing.

    Args:
        name: of the model.
        folder: where its package would be written.

    Raises:
        DefinitionError: the name is no name, or is taken; the text says by what.
    """
    if not _NAME.fullmatch(name) or keyword.iskeyword(name):
        raise DefinitionError(f"{name!r} cannot be a model's name: use lower-case letters, digits and hyphens")
    package = source.package_name(name)
    target = folder / package
    if target.exists():
        raise DefinitionError(f"{target} exists; nothing was written. Delete it to start anew, or choose another name")
    for point in entry_points(group=ENTRY_POINT_GROUP, name=name):
        raise DefinitionError(f"the model name {name} is taken: {point.value} announces it")
    try:
        taken = distribution(package)
    except PackageNotFoundError:
        taken = None
    if taken is not None:
        raise DefinitionError(f"the name {package.replace('_', '-')} is taken by an installed distribution")
    if find_spec(package) is not None:
        raise DefinitionError(f"the module name {package} is taken by an installed module")


def draft(
    name: str,
    path: Path,
    target: str,
    *,
    unit: str = "",
    subject: str = "record",
    scale: Literal["log", "identity"] | None = None,
    numbers: NumberFormat = PLAIN,
    report: Callable[[str], None] = lambda _: None,
) -> Draft:
    """Infer a model's definition from a CSV file, and prove that it accepts every row of it.

    Args:
        name: of the model.
        path: CSV file, UTF-8, with a header.
        target: the column to predict.
        unit: unit of the target.
        subject: what one row is, a noun in the singular.
        scale: of the target; by default the log where all values are positive and less skewed so.
        numbers: how the file's numbers are written.
        report: called with what is being done.

    Raises:
        DataError: the file or the target cannot be used; the text says why.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from error
    report(f"Reading {path.name}")
    return draft_from_bytes(
        name, content, path.name, target, unit=unit, subject=subject, scale=scale, numbers=numbers, report=report
    )


def draft_from_bytes(
    name: str,
    content: bytes,
    file_name: str,
    target: str,
    *,
    unit: str = "",
    subject: str = "record",
    scale: Literal["log", "identity"] | None = None,
    kinds: Mapping[str, Field] | None = None,
    numbers: NumberFormat = PLAIN,
    report: Callable[[str], None] = lambda _: None,
) -> Draft:
    """As :func:`draft`, from the bytes of a file.

    Args:
        name: as for :func:`draft`; so for target, unit, subject, scale and report.
        content: the file.
        file_name: what errors, and the model's card, call it.
        target: see above.
        unit: see above.
        subject: see above.
        scale: see above.
        numbers: how the file's numbers are written.
        kinds: fields that are known already, by name; nothing is inferred of them, and they are never left out.
        report: see above.
    """
    table = read_table(content, target, file_name, numbers)
    fault, target_suspicions = judge_target(table.target)
    if fault:
        raise DataError(f"{file_name}: the target {target!r} cannot be used: {fault}")
    known = kinds or {}
    judged = [(column, _judged(column, known.get(column.name))) for column in table.columns]
    left_out = [(column.name, guess.evidence) for column, guess in judged if guess.field is None]
    guesses = [guess for _, guess in judged if guess.field is not None]
    if not guesses:
        reasons = "; ".join(f"{column!r}: {reason}" for column, reason in left_out[:5])
        raise DataError(f"{file_name}: no column is left to predict from. {reasons}")
    goal = Target(target, unit, scale or _scale(table.target), subject=subject)
    definition = ModelDefinition(
        name, goal, tuple(guess.field for guess in guesses if guess.field is not None), defaults.mean
    )
    # The proof: the very code that trains reads every row with the inferred fields.
    dataset = parse(definition, content, file_name, report=lambda _: None, numbers=numbers)
    report(f"All {len(dataset.rows):,} rows are accepted; looking at {len(guesses)} fields")
    found = strengths(definition, dataset)
    complete = {
        column.name
        for column, guess in judged
        if guess.field is not None and not column.n_missing and found[column.name] < LEAK
    }
    required = required_fields(found, complete)
    guesses = [_with_strength(guess, found, required) for guess in guesses]
    suspicions = [
        *((target, text) for text in target_suspicions),
        *((guess.field.name, text) for guess in guesses if guess.field for text in guess.suspicions),
        *((column, _leak(share)) for column, share in found.items() if share >= LEAK),
        *_about_rows(table),
    ]
    fields = tuple(guess.field for guess in guesses if guess.field is not None)
    definition = replace(definition, fields=fields)
    return Draft(definition, dataset, tuple(guesses), tuple(left_out), tuple(suspicions), found)


def _judged(column: Column, known: Field | None) -> Guess:
    return infer_field(column) if known is None else Guess(known, f"{column.n_missing:,} of {column.n_rows:,} missing")


def _leak(share: float) -> str:
    return f"a LEAK? It alone gives {share:.1%} of the target; delete its line if it is not known before the target is"


def _about_rows(table: RawTable) -> list[tuple[str, str]]:
    if not table.n_duplicates:
        return []
    return [("rows", f"{table.n_duplicates:,} occur more than once: the scores will flatter the model")]


def _scale(target: Column) -> Literal["log", "identity"]:
    """The log where all values are positive, spread over orders of magnitude, and less skewed so."""
    values = np.repeat([float(text) for text in target.counts], list(target.counts.values()))
    if (values <= 0).any():
        return "identity"
    raw, logged = _skewness(values), _skewness(np.log(values))
    return "log" if raw > 1 and abs(logged) < raw else "identity"


def _skewness(values: NDArray[np.float64]) -> float:
    return float(np.mean(((values - values.mean()) / values.std()) ** 3))


def _with_strength(guess: Guess, found: Mapping[str, float], required: set[str]) -> Guess:
    if guess.field is None:
        return guess
    share = found[guess.field.name]
    evidence = f"{guess.evidence}; alone {share:.0%} of the target" if share >= 0.01 else guess.evidence
    return replace(guess, field=replace(guess.field, required=guess.field.name in required), evidence=evidence)


def choose(found: Draft, *, report: Callable[[str], None] = lambda _: None) -> dict[str, dict[str, float]]:
    """Cross-validated metrics of the kit's estimators on a draft's data, best first."""
    return defaults.rank(found.definition, found.dataset, report=report)


def write(found: Draft, folder: Path, estimator: str) -> Path:
    """Write the package of a draft; it is there whole or not at all.

    Args:
        found: the draft.
        folder: where packages are.
        estimator: content of ``estimator.py``.

    Returns:
        The package's folder.

    Raises:
        DefinitionError: the folder exists.
    """
    definition = found.definition
    files = {
        "pyproject.toml": source.project_source(definition.name, definition.target, len(definition.fields)),
        f"src/{definition.package}/__init__.py": source.init_source(definition.name, definition.target),
        f"src/{definition.package}/fields.py": source.fields_source(found.guesses, found.left_out, definition.target),
        f"src/{definition.package}/estimator.py": estimator,
        f"tests/test_{definition.package}.py": source.test_source(definition.name),
    }
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / definition.package
    with tempfile.TemporaryDirectory(dir=folder, prefix=f".{definition.package}-") as temporary:
        staged = Path(temporary, definition.package)
        for name, text in files.items():
            path = staged / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, "utf-8")
        try:
            staged.rename(target)
        except OSError as error:
            raise DefinitionError(f"{target}: {error.strerror}; nothing was written") from error
    return target


def written_definition(folder: Path, package: str) -> ModelDefinition:
    """Import the definition of a package that has just been written and is not installed yet."""
    sys.path.insert(0, str(folder / "src"))
    importlib.invalidate_caches()
    definition: ModelDefinition = importlib.import_module(package).DEFINITION
    return definition


def describe(found: Draft, scores: Mapping[str, Mapping[str, float]] | None = None) -> str:
    """What was inferred, left out and suspected, for people."""
    definition = found.definition
    kinds: dict[str, int] = {}
    for field in definition.fields:
        kinds[field.kind] = kinds.get(field.kind, 0) + 1
    required = ", ".join(field.name for field in definition.fields if field.required) or "none"
    target = definition.target
    lines = [
        f"{found.dataset.name}: {len(found.dataset.rows):,} rows, all accepted by the inferred fields",
        f"target    {target.name}{f', {target.unit}' if target.unit else ''}, {target.scale} scale",
        f"fields    {len(definition.fields)}: {', '.join(f'{n} {kind}' for kind, n in sorted(kinds.items()))}",
        f"required  {required}: the strongest fields that every row has; all others may be missing",
    ]
    strongest = sorted(found.strengths.items(), key=lambda item: -item[1])[:5]
    lines.append(f"strongest {', '.join(f'{name} {share:.0%}' for name, share in strongest)} of the target each, alone")
    lines += _section("left out", found.left_out)
    lines += _section("look at", found.suspicions)
    if scores:
        of = "RMSE of the log, cross-validated" if target.scale == "log" else "RMSE, cross-validated"
        listed = ", ".join(f"{name} {metrics['rmse']:.4g}" for name, metrics in scores.items())
        lines.append(f"estimator {listed} ({of})")
    return "\n".join(lines) + "\n"


def _section(title: str, lines: Sequence[tuple[str, str]]) -> list[str]:
    shown = [f"  {name!r}: {text}" for name, text in lines[:_LISTED]]
    more = [f"  and {len(lines) - _LISTED} more: fields.py has all"] if len(lines) > _LISTED else []
    return [f"{title}:", *shown, *more] if lines else []


def to_document(found: Draft, scores: Mapping[str, Mapping[str, float]], folder: Path) -> dict[str, Any]:
    """The report as JSON has it."""
    definition = found.definition
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and "bundle" not in path.parts]
    return {
        "model": definition.name,
        "package": str(folder),
        "data": {
            "name": found.dataset.name,
            "sha256": found.dataset.sha256,
            "rows": len(found.dataset.rows),
        },
        "target": {"name": definition.target.name, "unit": definition.target.unit, "scale": definition.target.scale},
        "fields": [
            {
                "name": guess.field.name,
                "kind": guess.field.kind,
                "required": guess.field.required,
                "evidence": guess.evidence,
                "strength": round(found.strengths[guess.field.name], 4),
            }
            for guess in found.guesses
            if guess.field is not None
        ],
        "left_out": [{"column": name, "reason": reason} for name, reason in found.left_out],
        "suspicions": [{"column": name, "text": text} for name, text in found.suspicions],
        "estimators": {name: dict(metrics) for name, metrics in scores.items()},
        "files": [
            {"name": path.relative_to(folder).as_posix(), "lines": len(path.read_text("utf-8").splitlines())}
            for path in files
        ],
    }
