"""From a CSV file to a model package: infer, prove, choose an estimator, write; all of it or nothing."""

from __future__ import annotations

import importlib
import keyword
import re
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.metadata import distributions, entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from model_kit.errors import DataError, DefinitionError
from model_kit.records.number_format import PLAIN, NumberFormat
from model_kit.scaffold import source
from model_kit.scaffold.strength import LEAK, required_fields, strengths
from model_kit.scaffold.table import read_table
from model_kit.scoring.definition import ModelDefinition
from model_kit.scoring.protocol import ENTRY_POINT_GROUP
from model_kit.scoring.table_columns import clashing
from model_kit.spec import Field, Target
from model_kit.spec.fields import ClassValue
from model_kit.spec.inference import Column, Guess, infer_field, infer_target
from model_kit.training.dataset import Dataset, parse
from model_kit.training.estimators import defaults

_NAME: Final = re.compile(r"[a-z][a-z0-9]*([-_][a-z0-9]+)*")
#: Lines of the report on columns that were left out or look suspicious.
_LISTED: Final = 40
#: A text of which a linear model of its words gives less of the target is left out.
WEAK_TEXT: Final = 0.02
_LEAK: Final = "a LEAK? It alone gives {:.1%} of the target; delete its line if it is not known before the target is"


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
        positive_reason: of two classes, why the positive one is that.
    """

    definition: ModelDefinition
    dataset: Dataset
    guesses: tuple[Guess, ...]
    left_out: tuple[tuple[str, str], ...]
    suspicions: tuple[tuple[str, str], ...]
    strengths: Mapping[str, float]
    positive_reason: str = ""


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
    if any(distributions(name=package)):
        raise DefinitionError(f"the name {package.replace('_', '-')} is taken by an installed distribution")
    if find_spec(package) is not None:
        raise DefinitionError(f"the module name {package} is taken by an installed module")


def draft(name: str, path: Path, target: str, **options: Any) -> Draft:
    """As :func:`draft_from_bytes`, with the same options, from a CSV file.

    Raises:
        DataError: the file or the target cannot be used; the text says why.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from error
    return draft_from_bytes(name, content, path.name, target, **options)


def draft_from_bytes(
    name: str,
    content: bytes,
    file_name: str,
    target: str,
    *,
    unit: str = "",
    subject: str = "record",
    scale: Literal["log", "identity"] | None = None,
    target_kind: Literal["number", "class"] | None = None,
    classes: tuple[ClassValue, ...] = (),
    kinds: Mapping[str, Field] | None = None,
    numbers: NumberFormat = PLAIN,
    report: Callable[[str], None] = lambda _: None,
) -> Draft:
    """Infer a model's definition from the bytes of a CSV file, and prove that it accepts every row of it.

    Args:
        name: of the model.
        content: the file: UTF-8, with a header.
        file_name: what errors, and the model's card, call it.
        target: the column to predict.
        unit: unit of the target.
        subject: what one row is, a noun in the singular.
        scale: of the target; by default the log where all values are positive and less skewed so.
        target_kind: what the target is; by default that is inferred.
        classes: of a target that is a class, if they are known already.
        numbers: how the file's numbers are written.
        kinds: fields that are known already, by name; nothing is inferred of them, and they are never left out.
        report: called with what is being done.

    Raises:
        DataError: the file or the target cannot be used; the text says why.
    """
    report(f"Reading {file_name}")
    table = read_table(content, target, file_name, numbers)
    are_texts = bool(classes) and all(isinstance(one, str) for one in classes)
    inferred = infer_target(table.target, target_kind, are_texts=are_texts)
    if inferred.fault:
        raise DataError(f"{file_name}: the target {target!r} cannot be used: {inferred.fault}")
    if inferred.classes and (unit or scale):
        raise DataError(f"{file_name}: the target {target!r} is a class, which has neither unit nor scale")
    known = kinds or {}
    judged = [
        (column, Guess(known[column.name], f"{column.n_missing:,} of {column.n_rows:,} missing"))
        if column.name in known
        else (column, infer_field(column))
        for column in table.columns
    ]
    left_out = [(column.name, guess.evidence) for column, guess in judged if guess.field is None]
    guesses = [guess for _, guess in judged if guess.field is not None]
    if not guesses:
        reasons = "; ".join(f"{column!r}: {reason}" for column, reason in left_out[:5])
        raise DataError(f"{file_name}: no column is left to predict from. {reasons}")
    goal = (
        Target(
            target,
            kind="class",
            classes=classes or inferred.classes,
            positive=None if classes else inferred.positive,
            subject=subject,
        )
        if inferred.classes
        else Target(target, unit, scale or _scale(table.target), subject=subject)
    )
    definition = ModelDefinition(
        name, goal, tuple(guess.field for guess in guesses if guess.field is not None), defaults.mean
    )
    # The proof: the very code that trains reads every row with the inferred fields.
    dataset = parse(definition, content, file_name, report=lambda _: None, numbers=numbers)
    report(f"All {len(dataset.rows):,} rows are accepted; looking at {len(guesses)} fields")
    found = strengths(definition, dataset)
    # A text makes the model linear; one that says nothing is not worth that.
    texts = {one.name for one in definition.fields if one.kind == "text"} - known.keys()
    weak = [name for name in texts if found[name] < WEAK_TEXT]
    if len(weak) < len(guesses):
        guesses = [guess for guess in guesses if guess.field and guess.field.name not in weak]
        judged = [(column, guess) for column, guess in judged if column.name not in weak]
        left_out += [
            (name, f"it is free text, whose words alone give {found[name]:.1%} of the target") for name in weak
        ]
    complete = {
        column.name
        for column, guess in judged
        if guess.field is not None and not column.n_missing and found[column.name] < LEAK
    }
    required = required_fields(found, complete)
    guesses = [_with_strength(guess, found, required) for guess in guesses]
    suspicions = [
        *((target, text) for text in inferred.suspicions),
        *((guess.field.name, text) for guess in guesses if guess.field for text in guess.suspicions),
        *((column, _LEAK.format(share)) for column, share in found.items() if share >= LEAK),
    ]
    if clashes := clashing([target, *(guess.field.name for guess in guesses if guess.field)], goal):
        suspicions.append((", ".join(clashes), "predict adds columns of these names: give it --prefix for its own"))
    if table.n_duplicates:
        suspicions.append(("rows", f"{table.n_duplicates:,} occur more than once: the scores will flatter the model"))
    fields = tuple(guess.field for guess in guesses if guess.field is not None)
    definition = replace(definition, fields=fields)
    return Draft(definition, dataset, tuple(guesses), tuple(left_out), tuple(suspicions), found, inferred.reason)


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


def write(found: Draft, folder: Path, estimator: str, attribute: str = "make_estimator") -> Path:
    """Write the package of a draft; it is there whole or not at all.

    Args:
        found: the draft.
        folder: where packages are.
        estimator: content of ``estimator.py``.
        attribute: of that module, what the definition names.

    Returns:
        The package's folder.

    Raises:
        DefinitionError: the folder exists.
    """
    definition = found.definition
    files = source.package_files(definition, found.guesses, found.left_out, estimator, attribute, found.positive_reason)
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


@contextmanager
def whole_or_not_at_all(folder: Path) -> Generator[None]:
    """Delete a package that was just written if it cannot be trained."""
    try:
        yield
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def written_definition(folder: Path, package: str) -> ModelDefinition:
    """Import the definition of a package that has just been written and is not installed yet."""
    sys.path.insert(0, str(folder / "src"))
    importlib.invalidate_caches()
    definition: ModelDefinition = importlib.import_module(package).DEFINITION
    return definition


def describe(found: Draft, scores: Mapping[str, Mapping[str, float]] | None = None) -> str:
    """What was inferred, left out and suspected, for people."""
    fields = found.definition.fields
    return source.render(
        "report.txt",
        found=found,
        target=found.definition.target,
        fields=fields,
        texts=[field for field in fields if field.kind == "text"],
        kinds=sorted(Counter(field.kind for field in fields).items()),
        strongest=sorted(found.strengths.items(), key=lambda item: -item[1])[:5],
        most=_LISTED,
        scores=scores or {},
    )


def to_document(found: Draft, scores: Mapping[str, Mapping[str, float]], folder: Path) -> dict[str, Any]:
    """The report as JSON has it."""
    definition = found.definition
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and "bundle" not in path.parts]
    return {
        "model": definition.name,
        "package": str(folder),
        "data": {"name": found.dataset.name, "sha256": found.dataset.sha256, "rows": len(found.dataset.rows)},
        "target": source.target_facts(definition.target, found.positive_reason),
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
