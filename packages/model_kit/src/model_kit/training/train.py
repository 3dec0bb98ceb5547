"""The training harness: evaluate, fit, export, check, write the bundle."""

from __future__ import annotations

import platform
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Any

import numpy as np
from packaging.requirements import Requirement

import model_kit
from model_kit.errors import DataError, DefinitionError, SpecError
from model_kit.records.generation import golden_row
from model_kit.records.identities import check_identities
from model_kit.records.row_warnings import check_contradictions
from model_kit.records.vectorizer import dump_texts
from model_kit.scoring import calibration, class_assessment, prediction_sets
from model_kit.scoring.assessment import by_level
from model_kit.scoring.bundle import CARD, GOLDEN, REFERENCE, RUN, SPEC, VOCABULARY, dump_json, write_bundle
from model_kit.scoring.calibration import Calibration
from model_kit.scoring.classes import decide
from model_kit.scoring.decoding import FrameMaker
from model_kit.scoring.definition import Estimator, ModelDefinition
from model_kit.scoring.installed import source_digest
from model_kit.scoring.intervals import MIN_RESIDUALS, calibrate, cross_fitted
from model_kit.scoring.runtimes import make_runtime
from model_kit.spec import Field, InputSpec, Row, Target
from model_kit.training.cost import measure_cost
from model_kit.training.dataset import Dataset
from model_kit.training.evaluation import (
    Evaluation,
    Fitted,
    adopt,
    calibrated,
    cross_validate,
    fit,
    reliability_of,
    require_floors,
    score,
)
from model_kit.training.export import Export, export
from model_kit.training.importance import importance
from model_kit.training.performance import performance
from model_kit.training.provenance import git_commit
from model_kit.training.reference import distribution, reference, reference_predictions
from model_kit.training.threshold import with_threshold
from model_kit.training.verdict import N_ROWS, try_estimator

#: Libraries that decide what a training gives.
LIBRARIES = ("numpy", "onnx", "onnxruntime", "pandas", "scikit-learn", "scipy", "skl2onnx")
CARD_FORMAT = 1


def train(
    definition: ModelDefinition,
    dataset: Dataset,
    bundle: Path,
    *,
    cv: bool = True,
    estimator: Estimator | None = None,
    report: Callable[[str], None] = lambda _: None,
) -> dict[str, Any]:
    """Train a model and write its bundle; a bundle that is there stays until the new one is complete.

    Args:
        definition: the model package.
        dataset: checked training data.
        bundle: folder to write.
        cv: cross-validate; without it the bundle is marked unevaluated and is never released.
        estimator: a fitted one to export as it is; it takes the features and predicts the target in its unit.
            Without it, the definition's is fitted.
        report: called with what is being done, one line a step.

    Returns:
        The card.

    Raises:
        FloorError: the model scores below the package's floors.
        ExportError: the graph does not agree with the estimator.
        DataError: the target has one value only, a field has none, or there are fewer rows than folds.
        DefinitionError: scikit-learn is to serve the model, and its package does not depend on it.
        SpecError: an identity or a contradiction is about a field that does not exist, or the row of typical values
            has one.
    """
    check_identities(definition.identities, definition.fields)
    check_contradictions(definition.all_contradictions, definition.fields)
    _require_extra(definition)
    if np.ptp(dataset.target) == 0:
        raise DataError(
            f"{dataset.name}, column {definition.target.name}: every row has {_first(dataset, definition.target)}, so "
            "there is nothing to learn; name another target"
        )
    if definition.target.is_class:
        _require_classes(definition.target, dataset)
    names = [field.name for field in definition.fields]
    empty = [name for name in names if all(row.get(name) is None for row in dataset.rows)]
    if empty:
        raise DataError(
            f"{dataset.name}: no row has a value of {', '.join(empty)}, so there is nothing to learn from it; take it "
            "out of the fields"
        )
    register: Callable[[], None] | None = definition.resolve("register_converters")
    if register is not None:
        register()
    evaluation: Evaluation | None = None
    if cv:
        report(f"On {N_ROWS} rows: {try_estimator(definition, dataset, estimator)}")
        evaluation = cross_validate(definition, dataset)
    start = time.perf_counter()
    if estimator is None:
        report(f"Fitting on all {len(dataset.rows)} rows")
        fitted = fit(definition, dataset.rows, dataset.target)
    else:
        fitted = adopt(definition, dataset.rows, dataset.target, estimator)
    fit_seconds = time.perf_counter() - start
    for change in fitted.changes:
        report(change)
    correction: dict[str, Any] | None = None
    if definition.target.is_class:
        if evaluation:
            correction = calibration.calibrate(evaluation.out_of_fold, dataset.target[evaluation.rows])
        target = with_threshold(fitted, Calibration((correction or {}).get("tables")))
        if target != definition.target:
            report(f"It predicts {target.positive} from a probability of {target.threshold:.6g} on")
            definition = replace(definition, target=target)
            fitted = replace(fitted, spec=replace(fitted.spec, target=target))
            if evaluation:
                scores = score(definition, dataset, evaluation.out_of_fold, evaluation.rows)
                evaluation = replace(evaluation, metrics=scores)
        report(_about_calibration(correction))
    if evaluation:
        require_floors(definition, evaluation.metrics)
        if warning := _no_better_than_a_constant(evaluation, dataset, definition.target):
            report(warning)
    golden = typical_row(definition, fitted.spec)
    report("Exporting, and comparing the graph with scikit-learn")
    exported = export(fitted, dataset.rows, definition.runtime, keeps_rows=definition.keeps_rows)
    fitted = exported.fitted
    cost: dict[str, float] = {}
    if exported.runtime["kind"] == "scikit-learn":
        served = make_runtime(exported.runtime, exported.content, fitted.features)
        takes_frame = exported.runtime["input"] == "frame"
        cost = measure_cost(served, fitted.features.encode([golden]), takes_frame=takes_frame)
    report(_about_export(exported, cost))
    if kept := exported.runtime.get("keeps_rows"):
        report(f"The bundle holds training rows, which {kept} keeps: whoever has it can read them")
    if definition.target.is_class:
        uncertainty = {"calibration": correction, **_class_uncertainty(evaluation, dataset, definition.target)}
    else:
        uncertainty = _ranges(evaluation, dataset, definition.target)
    shares = importance(fitted, exported, golden, dataset.rows)
    card = {
        "format": CARD_FORMAT,
        "model": definition.name,
        "version": definition.version,
        "data": {
            "name": dataset.name,
            "sha256": dataset.sha256,
            "rows": len(dataset.rows),
            "synthetic": dataset.synthetic,
            **({"outcomes": dict(dataset.outcomes)} if dataset.outcomes else {}),
        },
        **({"about": about} if (about := definition.about.to_dict()) else {}),
        "evaluated": evaluation is not None,
        "metrics": evaluation and evaluation.metrics,
        **uncertainty,
        "performance": evaluation
        and performance(evaluation.rows, evaluation.out_of_fold, dataset.target, definition.target),
        "target_distribution": distribution(dataset.target, definition.target),
        "importance": shares,
        "errors": evaluation and _errors(evaluation, dataset, fitted.spec, [*shares]),
        "cross_validation": evaluation
        and {
            "splits": evaluation.n_splits,
            "repeats": len(evaluation.out_of_fold),
            **({"time_order": definition.time_order} if definition.time_order else {}),
        },
        "preprocessing": fitted.preprocessing,
        "imputation": fitted.imputation,
        **({"imputed": fitted.features.imputed} if isinstance(fitted.features, FrameMaker) else {}),
        "runtime": exported.runtime,
        "agreement": exported.agreement,
        "graph": exported.graph,
        "code_sha256": source_digest(definition.folder, is_built=True),
        "kit_sha256": source_digest(Path(model_kit.__file__).parent),
        "libraries": {"python": platform.python_version()}
        | {name: version(name) for name in (*LIBRARIES, *(["skops"] if cost else []))},
        RUN: {
            "trained_at": datetime.now(UTC).isoformat(timespec="seconds"),
            "git_commit": git_commit(definition.folder, report),
            "fit_seconds": round(fit_seconds, 3),
            "cv_seconds": evaluation and round(evaluation.seconds, 3),
            **({"serving_cost": cost} if cost else {}),
        },
    }
    files = {
        exported.file: exported.content,
        **({VOCABULARY: dump_texts(exported.texts)} if exported.texts else {}),
        SPEC: fitted.spec.to_json().encode(),
        CARD: dump_json(card),
        GOLDEN: dump_json({"row": golden, **_golden_prediction(fitted, golden, card)}),
        REFERENCE: dump_json(
            reference(fitted.spec, dataset.rows) | _reference_predictions(evaluation, fitted, dataset, card)
        ),
    }
    artifact = write_bundle(bundle, files)
    report(f"Wrote {bundle} (artefact {artifact[:12]})")
    for line in doubtful_levels(definition.fields, dataset.rows):
        report(line)
    return card


def _require_extra(definition: ModelDefinition) -> None:
    """Make sure that a model that scikit-learn serves is installed together with it.

    Raises:
        DefinitionError: its package, if it is installed here, does not depend on it.
    """
    try:
        lines = requires(definition.distribution) or []
    except PackageNotFoundError:
        return
    found = {extra for line in lines for extra in Requirement(line).extras}
    if definition.runtime == "scikit-learn" and "scikit-learn" not in found:
        raise DefinitionError(
            f'{definition.name}: runtime is "scikit-learn", and pyproject.toml does not depend on '
            "model-kit[scikit-learn]: what serves the model would have none; add it to dependencies"
        )


def typical_row(definition: ModelDefinition, spec: InputSpec) -> dict[str, Any]:
    """Medians and modes, made to hold what the definition declares.

    Raises:
        SpecError: it contradicts itself all the same.
    """
    golden = golden_row(spec)
    for identity in definition.identities:
        identity.hold(golden, dict(golden))
    golden = definition.repair(golden)
    for contradiction in definition.all_contradictions:
        if message := contradiction.find(golden):
            raise SpecError(f"the row of typical values contradicts itself: {message}; repair has to mend it")
    return golden


def doubtful_levels(fields: Iterable[Field], rows: Sequence[Row]) -> Iterator[str]:
    """Yield a line for each category with levels that are not documented, or that differ in case only."""
    for field in fields:
        if field.kind != "category":
            continue
        counts = Counter(str(row[field.name]) for row in rows if row.get(field.name) is not None)
        documented = {level.value for level in field.levels} or set(counts)
        unknown = [level for level in counts if level not in documented]
        doubts = []
        if unknown:
            n_rows = sum(counts[level] for level in unknown)
            doubts.append(f"{n_rows:,} of {len(rows):,} rows have an undocumented level, such as {unknown[0]!r}")
        usual: dict[str, str] = {}
        for level, n_rows in counts.most_common():
            same = usual.setdefault(level.casefold(), level)
            if same != level:
                doubts.append(f"{level!r} ({n_rows:,}) differs from {same!r} ({counts[same]:,}) in case only")
        if doubts:
            yield f"{field.name}: {'; '.join(doubts)}"


def _ranges(evaluation: Evaluation | None, dataset: Dataset, target: Target) -> dict[str, Any]:
    """The card's ``intervals`` and ``coverage``; ``None`` where there is too little to calibrate them on."""
    if evaluation is None or len(evaluation.rows) < MIN_RESIDUALS:
        return {"intervals": None, "coverage": None}
    out_of_fold, truth = evaluation.out_of_fold, dataset.target[evaluation.rows]
    return {
        "intervals": calibrate(out_of_fold, truth, target),
        "coverage": cross_fitted(out_of_fold, truth, target),
    }


def _class_uncertainty(evaluation: Evaluation | None, dataset: Dataset, target: Target) -> dict[str, Any]:
    """What the card of classes says of calibrated probabilities: sets, coverage, reliability, scores by class."""
    if evaluation is None:
        return dict.fromkeys(("sets", "coverage", "reliability", "classes", "thresholds"))
    out_of_fold, truth = evaluation.out_of_fold, dataset.target[evaluation.rows]
    found = calibrated(out_of_fold, truth)
    pooled, repeated = found.reshape(-1, found.shape[2]), np.tile(truth, len(found))
    assessment = class_assessment.assess(repeated, pooled, target).to_dict()
    return {
        "sets": prediction_sets.calibrate(found, truth),
        "coverage": prediction_sets.cross_fitted(found, truth, target),
        "reliability": reliability_of(out_of_fold, truth, target),
        "classes": {name: assessment[name] for name in ("classes", "confusion")} | {"repeats": len(found)},
        "thresholds": class_assessment.thresholds(repeated, pooled, target) if len(target.classes) == 2 else None,
    }


def _errors(
    evaluation: Evaluation, dataset: Dataset, spec: InputSpec, strongest: Sequence[str]
) -> dict[str, list[dict[str, Any]]] | None:
    """The card's errors by level; of a number only."""
    if spec.target.is_class:
        return None
    rows = [dataset.rows[row] for row in evaluation.rows.tolist()]
    return by_level(evaluation.out_of_fold, dataset.target[evaluation.rows], rows, spec, strongest)


def _reference_predictions(
    evaluation: Evaluation | None, fitted: Fitted, dataset: Dataset, card: Mapping[str, Any]
) -> dict[str, Any]:
    """What the reference has of predictions; empty without cross-validation, which predicts rows that were not seen."""
    if evaluation is None:
        return {}
    out_of_fold, served, target = evaluation.out_of_fold, fitted.predict(dataset.rows), fitted.spec.target
    if target.is_class:
        out_of_fold = calibrated(out_of_fold, dataset.target[evaluation.rows])
        served = Calibration.from_card(card)(served)
    return reference_predictions(out_of_fold, served, target)


def _golden_prediction(fitted: Fitted, golden: Row, card: Mapping[str, Any]) -> dict[str, Any]:
    """What the golden row's prediction is by scikit-learn."""
    found, target = fitted.predict([golden]), fitted.spec.target
    if not target.is_class:
        return {"prediction": float(found[0])}
    found = Calibration.from_card(card)(found)
    return {
        "prediction": target.classes[int(decide(found, target)[0])],
        "probabilities": dict(zip(target.keys, found[0].tolist(), strict=True)),
    }


def _first(dataset: Dataset, target: Target) -> Any:
    return target.classes[dataset.target[0]] if target.is_class else dataset.target[0]


def _require_classes(target: Target, dataset: Dataset) -> None:
    """Make sure that each class has rows.

    Raises:
        DataError: one has none.
    """
    missing = [key for position, key in enumerate(target.keys) if not (dataset.target == position).any()]
    if missing:
        raise DataError(
            f"{dataset.name}, column {target.name}: no row has the class {', '.join(missing)}; add rows that have it, "
            "or take it out of the target's classes"
        )


def _no_better_than_a_constant(evaluation: Evaluation, dataset: Dataset, target: Target) -> str | None:
    """A warning about a model that says nothing of the target."""
    metrics = evaluation.metrics
    check = f"Check that {target.name} is the right target column, and that the fields say something about it. ***"
    if not target.is_class:
        if metrics["r2"] > 0:
            return None
        return (
            f"*** R2 is {metrics['r2']:.4f}: the model predicts {target.name} of unseen rows no better than the mean "
            f"does. {check}"
        )
    shares = np.bincount(dataset.target) / len(dataset.target)
    constant = float(-(shares * np.log(shares)).sum())
    if metrics["log_loss"] < constant:
        return None
    return (
        f"*** The log loss is {metrics['log_loss']:.4f}, and {constant:.4f} if every row gets the shares of the "
        f"classes: the model says nothing about {target.name} of unseen rows. {check}"
    )


def _about_calibration(found: Mapping[str, Any] | None) -> str:
    """Whether and how probabilities are calibrated."""
    if found is None:
        return "Probabilities are not calibrated, for lack of cross-validation"
    if found["kind"] == "none":
        return "Probabilities are served as the estimator gives them: calibration would not improve them"
    how = {"common": "one straight line", "line": "straight lines", "table": "tables"}[found["kind"]]
    before, after = found["log_loss"]["before"], found["log_loss"]["after"]
    return (
        f"Probabilities are calibrated by {how} of log-odds: the log loss of unseen rows is {after:.4f}, and "
        f"{before:.4f} without"
    )


def _about_export(exported: Export, cost: Mapping[str, float]) -> str:
    if not exported.graph:
        return (
            f"scikit-learn serves it: {cost['row_us']:,} µs for one row; each worker imports it in "
            f"{cost['import_seconds']} s and has {cost['memory_mb']:,} MB more"
        )
    nodes, reason = exported.graph["nodes"], exported.graph["reason"]
    return f"The graph has {nodes} nodes" + (f"; it could not be folded: {reason}" if reason else "")
