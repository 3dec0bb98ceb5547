"""The training harness: evaluate, fit, export, check, write the bundle."""

from __future__ import annotations

import platform
import subprocess
import time
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from model_kit.assessment import by_level
from model_kit.bundle import CARD, GOLDEN, MODEL, REFERENCE, RUN, SPEC, dump_json, write_bundle
from model_kit.definition import Dataset, ModelDefinition
from model_kit.errors import SpecError
from model_kit.evaluation import Evaluation, cross_validate, fit, require_floors
from model_kit.export import Export, to_onnx
from model_kit.generation import golden_row
from model_kit.importance import importance
from model_kit.intervals import FEWEST, calibrate, cross_fitted
from model_kit.reference import distribution, reference
from model_kit.row_warnings import check_contradictions
from model_kit.source import source_digest
from model_kit.spec import Target

#: Libraries that decide what a training gives.
LIBRARIES = ("numpy", "onnx", "onnxruntime", "pandas", "scikit-learn", "scipy", "skl2onnx")
CARD_FORMAT = 1


def train(
    definition: ModelDefinition,
    dataset: Dataset,
    bundle: Path,
    *,
    source: Path,
    cv: bool = True,
    say: Callable[[str], None] = lambda _: None,
) -> dict[str, Any]:
    """Train a model and write its bundle; a bundle that is there stays until the new one is complete.

    Args:
        definition: the model package.
        dataset: checked training data.
        bundle: folder to write.
        source: folder of the model package's own code, for its digest and git commit.
        cv: cross-validate; without it the bundle is marked unevaluated and is never released.
        say: told what is being done, one line a step.

    Returns:
        The card.

    Raises:
        FloorError: the model scores below the package's floors.
        ExportError: the graph does not agree with the estimator.
        SpecError: a contradiction is about a field that does not exist, or the row of typical values has one.
    """
    check_contradictions(definition.contradictions, definition.fields)
    evaluation: Evaluation | None = None
    if cv:
        evaluation = cross_validate(definition, dataset)
        require_floors(definition, evaluation.metrics)
    say(f"Fitting on all {len(dataset.rows)} rows")
    start = time.perf_counter()
    fitted = fit(definition, dataset.rows, dataset.target)
    fit_seconds = time.perf_counter() - start
    golden = definition.repair(golden_row(fitted.spec))
    for contradiction in definition.contradictions:
        if message := contradiction.find(golden):
            raise SpecError(f"the row of typical values contradicts itself: {message}; repair has to mend it")
    golden_prediction = float(fitted.predict([golden])[0])
    say("Exporting, and comparing the graph with scikit-learn")
    definition.register_folding()
    definition.register_converters()
    export = to_onnx(fitted, dataset.rows)
    say(_about_graph(export))
    shares = importance(fitted, export.content, golden, dataset.rows)
    card = {
        "format": CARD_FORMAT,
        "model": definition.name,
        "version": definition.version,
        "data": {
            "name": dataset.name,
            "sha256": dataset.sha256,
            "rows": len(dataset.rows),
            "synthetic": dataset.synthetic,
        },
        "evaluated": evaluation is not None,
        "metrics": evaluation and evaluation.metrics,
        **_ranges(evaluation, dataset, definition.target),
        "target_distribution": distribution(dataset.target, definition.target),
        "importance": shares,
        "errors": evaluation and by_level(evaluation.out_of_fold, dataset.target, dataset.rows, fitted.spec, [*shares]),
        "agreement": export.agreement,
        "graph": export.graph,
        "code_sha256": source_digest(source),
        "kit_sha256": source_digest(Path(__file__).parent),
        "libraries": {"python": platform.python_version()} | {name: version(name) for name in LIBRARIES},
        RUN: {
            "trained_at": datetime.now(UTC).isoformat(timespec="seconds"),
            "git_commit": git_commit(source),
            "fit_seconds": round(fit_seconds, 3),
            "cv_seconds": evaluation and round(evaluation.seconds, 3),
        },
    }
    files = {
        MODEL: export.content,
        SPEC: fitted.spec.to_json().encode(),
        CARD: dump_json(card),
        GOLDEN: dump_json({"row": golden, "prediction": golden_prediction}),
        REFERENCE: dump_json(reference(fitted.spec, dataset.rows)),
    }
    artifact = write_bundle(bundle, files)
    say(f"Wrote {bundle} (artefact {artifact[:12]})")
    return card


def _ranges(evaluation: Evaluation | None, dataset: Dataset, target: Target) -> dict[str, Any]:
    """The card's ``intervals`` and ``coverage``; ``None`` where there is too little to calibrate them on."""
    if evaluation is None or len(dataset.rows) < FEWEST:
        return {"intervals": None, "coverage": None}
    out_of_fold = evaluation.out_of_fold
    return {
        "intervals": calibrate(out_of_fold, dataset.target, target),
        "coverage": cross_fitted(out_of_fold, dataset.target, target),
    }


def _about_graph(export: Export) -> str:
    nodes, reason = export.graph["nodes"], export.graph["reason"]
    return f"The graph has {nodes} nodes" + (f"; it could not be folded: {reason}" if reason else "")


def git_commit(folder: Path) -> str | None:
    """The commit that ``folder`` is checked out at, with ``-dirty`` if files differ from it; ``None`` outside git."""
    command = ["git", "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
