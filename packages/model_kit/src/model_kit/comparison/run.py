"""Compares two running models on the same rows and judges the differences."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from itertools import islice
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from model_kit.batch.rows import Format, InputRow
from model_kit.batch.sources import name_of
from model_kit.batch.tables import reading
from model_kit.comparison import gate as gates
from model_kit.comparison.gate import Check, Gate, ModelId
from model_kit.comparison.measure import Measure, Pair, latency, target_spread
from model_kit.comparison.scorer import Scorer
from model_kit.errors import DataError
from model_kit.records.generation import generate_rows
from model_kit.scoring.class_assessment import higher_is_better
from model_kit.scoring.definition import Floors
from model_kit.scoring.model import CHUNK
from model_kit.spec.compatibility import compare_specs, major_version, verdict

#: Of the JSON document, see ``docs/comparison.schema.json``.
FORMAT: Final = 2
#: Rows generated from the new model's spec if no table is given, and their seed.
N_GENERATED: Final = 5000
SEED: Final = 20240

Points = NDArray[np.float64]


@dataclass(frozen=True)
class Data:
    """The table that both models score.

    Attributes:
        path: a file that can be read twice; ``None``: rows generated from the new model's spec.
        name: for reports; by default the file's name.
        format: by default that of the file's name.
    """

    path: str | None = None
    name: str | None = None
    format: Format | None = None


@dataclass(frozen=True)
class Holdout:
    """Metrics on rows that neither model was trained on.

    Attributes:
        name, rows: of these rows.
        old, new: name of a metric -> value.
        errors: name of a metric -> standard error of the difference of both. Being worse by that is chance.
        left_out: rows of the training file that the new model was not trained on because they are among these.
    """

    name: str
    rows: int
    old: Mapping[str, float]
    new: Mapping[str, float]
    errors: Mapping[str, float]
    left_out: int = 0


@dataclass(frozen=True)
class Comparison:
    """The result.

    Attributes:
        document: everything but the single predictions, as JSON.
        old, new: the predictions of the rows that both score, each of shape (n_compared,).
        differences: of these predictions, relative as in the document, shape (n_compared,).
    """

    document: dict[str, Any]
    old: Points
    new: Points
    differences: Points

    @property
    def passed(self) -> bool:
        """Whether nothing is beyond its threshold."""
        return bool(self.document["passed"])


def compare(
    old: Scorer | None,
    new: Scorer,
    gate: Gate,
    floors: Floors | None,
    data: Data,
    *,
    holdout: Holdout | None = None,
    report: Callable[[int], None] = lambda _: None,
) -> Comparison:
    """Compare two models and judge what differs.

    Args:
        old: the model now live; ``None`` if there is none: then only the floors are checked.
        new: the candidate.
        gate: thresholds and reviewed entries.
        floors: least scores that the model package declares, if any; no entry accepts less.
        data: rows that both score.
        holdout: how both do on rows that neither was trained on. These metrics are judged in place of those of the
            cards, each of which is of the model's own training data, and in place of differences, which are shown:
            whether they are for the better is known. Other training data are no fault.
        report: called with the number of rows scored so far.

    Raises:
        DataError: the two are not versions of one model, the old one is damaged, or the table cannot be used.
    """
    checks = _floor_checks(new, floors)
    notes = _notes(old, new)
    sides: dict[str, Any] = {"old": old and _side(old), "new": _side(new)}
    found: dict[str, Any] = dict.fromkeys(("data", "differences", "latency", "metrics", "spec"))
    found |= {"by_field": [], "worst": []}
    points = np.empty((3, 0))
    if old is not None:
        if old.card["model"] != new.card["model"]:
            raise DataError(f"these are two models, not two versions: {old.card['model']} and {new.card['model']}")
        if old.golden_fault:
            raise DataError(f"{old.source.name}: {old.golden_fault}; it cannot stand for what is live")
        spread = target_spread(old.spec.target, old.card["metrics"], old.golden_prediction)
        measure = Measure(new.spec, spread, values=data.path is None)
        _score(old, new, data, measure, report)
        if not measure.rows["total"]:
            raise DataError(f"{data.name or data.path}: has no row to compare the models on")
        points = measure.points
        distribution = measure.distribution(gate.thresholds["difference.beyond"])
        changes = compare_specs(old.spec, new.spec)
        metrics = (holdout.old, holdout.new) if holdout else (old.card["metrics"] or {}, new.card["metrics"] or {})
        found |= {
            "data": {
                "source": "generated" if data.path is None else "file",
                "name": data.name or (data.path and name_of(data.path)) or "generated from the new model's spec",
                "seed": SEED if data.path is None else None,
                "rows": measure.rows,
            },
            "differences": distribution,
            "by_field": measure.by_field(),
            "worst": measure.worst(),
            "latency": latency(old, new, measure.sample),
            "metrics": _metrics(metrics, gate, holdout.errors if holdout else {}),
            "spec": {"verdict": verdict(changes), "changes": [asdict(change) for change in changes]},
        }
        checks += _checks(old, new, gate, found, holdout.left_out if holdout else 0)
        if holdout:
            checks = [one for one in checks if one.name != gates.DATA_SHA256 and not one.name.startswith("difference.")]
            notes.append(
                f"Metrics are those on the hold-out {holdout.name}, {holdout.rows:,} rows that neither was trained on; "
                "a standard error of the difference is allowed for beyond the thresholds. Differences are not judged."
            )
    checks, stale = gates.settle(checks, gate, _model_id(old) if old else None, _model_id(new))
    passed = all(check.passed for check in checks)
    target = new.spec.target
    document = {
        "format": FORMAT,
        "passed": passed,
        "thresholds": gate.source,
        "target": {"name": target.name, "classes": list(target.classes), "scale": "identity"}
        if target.is_class
        else {"name": target.name, "unit": target.unit, "scale": target.scale},
        **sides,
        **found,
        "checks": [_check(check) for check in checks],
        "stale_entries": stale,
        "notes": notes,
    }
    return Comparison(_finite(document), *points)


def _score(old: Scorer, new: Scorer, data: Data, measure: Measure, report: Callable[[int], None]) -> None:
    with _pairs(old, new, data) as pairs:
        while chunk := list(islice(pairs, CHUNK)):
            # Send to both before waiting for either, so that they work at the same time.
            old.ask([pair.old.record for pair in chunk])
            new.ask([pair.new.record for pair in chunk])
            measure.add(chunk, old.predictions(), new.predictions())
            report(measure.rows["total"])


@contextmanager
def _pairs(old: Scorer, new: Scorer, data: Data) -> Generator[Iterator[Pair]]:
    """The rows as each model's spec reads them; generated rows are the same for both."""
    if data.path is None:
        rows = generate_rows(new.spec, N_GENERATED, seed=SEED)
        entries = (InputRow(row, number, row) for number, row in enumerate(rows, 1))
        yield (Pair(entry, entry) for entry in entries)
        return
    with reading(data.path, new.spec, data.format) as after, reading(data.path, old.spec, data.format) as before:
        yield (Pair(first, second) for first, second in zip(before.entries, after.entries, strict=True))


def _floor_checks(new: Scorer, floors: Floors | None) -> list[Check]:
    metrics = new.card["metrics"] or {}
    # All but development versions, ``X.Y.Z+digest``, could be released as they are.
    is_candidate = new.source.kind == "bundle" or "+" not in new.version
    checks = [Check(f"{gates.FLOOR}golden_row", new.golden_fault is None, True, "true", note=new.golden_fault or "")]
    # Missing metrics of a development version are reported in a note, but not judged.
    if floors and (metrics or is_candidate):
        checks += [
            Check(f"{gates.FLOOR}{name}", metrics.get(name), floor, "at least" if higher_is_better(name) else "at most")
            for name, floor in asdict(floors).items()
            if floor is not None
        ]
    if is_candidate:
        evaluated, real = new.card["evaluated"] is True, new.card["data"]["synthetic"] is False
        advice = ("" if evaluated else "train with cross-validation", "" if real else "trained on the synthetic sample")
        checks += [
            Check(f"{gates.FLOOR}evaluated", evaluated, True, "true", note=advice[0]),
            Check(f"{gates.FLOOR}real_data", real, True, "true", note=advice[1]),
        ]
    return checks


def _checks(old: Scorer, new: Scorer, gate: Gate, found: Mapping[str, Any], left_out: int) -> list[Check]:
    limits = gate.thresholds
    rows, differences = found["data"]["rows"], found["differences"]
    total = rows["total"]
    checks = [
        Check(f"difference.{name}", differences and differences[name], limits[f"difference.{name}"], "at most")
        for name in ("median", "p90", "p99", "max", "share")
    ]
    checks += [
        Check("rows.compared", rows["compared"] / total, limits["rows.compared"], "at least"),
        Check("rows.newly_failing", rows["only_old"] / total, limits["rows.newly_failing"], "at most"),
    ]
    for entry in found["metrics"]:
        rule = gate.metrics.get(entry["name"])
        # Without an old value there is nothing to compare with.
        if rule and entry["old"] is not None:
            checks.append(Check(f"{gates.METRIC}.{entry['name']}", entry["worse_by"], rule.worse_by, "at most"))
    removed = tuple(e["name"] for e in found["metrics"] if e["new"] is None and e["old"] is not None)
    before, after = old.card["data"], new.card["data"]
    fewest = math.ceil(_file_rows(before) * limits["data.rows"])
    checks += [
        Check(gates.METRICS_REMOVED, removed, (), "none but"),
        Check(gates.DATA_SHA256, after["sha256"], before["sha256"], "same"),
        Check("data.rows", _file_rows(after) + left_out, fewest, "at least"),
        *_spec_checks(old, new, found["spec"]),
        Check("size.bundle", new.source.bundle_bytes / old.source.bundle_bytes, limits["size.bundle"], "at most"),
    ]
    if old.source.wheel_bytes and new.source.wheel_bytes:
        ratio = new.source.wheel_bytes / old.source.wheel_bytes
        checks.append(Check("size.wheel", ratio, limits["size.wheel"], "at most"))
    for name, seconds in (found["latency"] or {}).items():
        checks.append(Check(f"latency.{name}", seconds["ratio"], limits[f"latency.{name}"], "at most"))
    return checks


def _file_rows(data: Mapping[str, Any]) -> int:
    """Rows of the training file: outcomes come and go with the retention of the log."""
    return int(data["rows"] - data.get("outcomes", {}).get("rows", 0))


def _spec_checks(old: Scorer, new: Scorer, spec: Mapping[str, Any]) -> list[Check]:
    """No breaking change unless accepted, and each, accepted or not, needs a higher major version."""
    breaking = tuple(change["id"] for change in spec["changes"] if change["breaking"])
    checks = [Check(gates.SPEC_BREAKING, breaking, (), "none but")]
    if breaking:
        before, after = (major_version(version_of(side)) for side in (old, new))
        needed = (before or 0) + 1
        check = Check(gates.SPEC_VERSION, after, needed, "at least")
        note = f"the spec has breaking changes: raise the version from {version_of(old)} to {needed}.0.0 or higher"
        checks.append(check if check.within else replace(check, note=note))
    return checks


def _metrics(
    metrics: tuple[Mapping[str, Any], Mapping[str, Any]], gate: Gate, errors: Mapping[str, float]
) -> list[dict[str, Any]]:
    """The metrics of both, those with a rule first; a new one counts as better by its error."""
    before, after = metrics
    found = []
    for name in dict.fromkeys(name for name in (*gate.metrics, *before, *after) if name in before or name in after):
        rule = gate.metrics.get(name)
        first, second = before.get(name), after.get(name)
        worse = None
        if rule and first is not None and second is not None:
            error = errors.get(name, 0.0)
            worse = rule.worse(first, second - error if rule.better == "lower" else second + error)
        found.append({"name": name, "old": first, "new": second, "better": rule and rule.better, "worse_by": worse})
    return found


def _side(scorer: Scorer) -> dict[str, Any]:
    source, lineage, card = scorer.source, scorer.lineage, scorer.card
    return {
        "source": source.kind,
        "name": source.name,
        "version": version_of(scorer),
        "artifact_sha256": lineage["artifact_sha256"],
        "git_commit": lineage["git_commit"],
        "trained_at": lineage["trained_at"],
        "data": {key: card["data"][key] for key in ("name", "sha256", "rows", "synthetic")},
        "evaluated": card["evaluated"],
        "scored_by": "its own code" if source.paths else "the installed code",
        "model_kit": scorer.kit,
        "bundle_bytes": source.bundle_bytes,
        "wheel_bytes": source.wheel_bytes,
        "wheel_sha256": source.wheel_sha256,
    }


def version_of(scorer: Scorer) -> str:
    """Return the version of the wheel; of a bundle folder, which no wheel carries yet, that of its card."""
    return str(scorer.card["version"]) if scorer.source.kind == "bundle" else scorer.version


def _model_id(scorer: Scorer) -> ModelId:
    return ModelId(version_of(scorer), scorer.lineage["artifact_sha256"])


def _notes(old: Scorer | None, new: Scorer) -> list[str]:
    notes = []
    if old is None:
        notes.append("There is no previous version on the index: nothing to compare with, only the floors are checked.")
    elif old.lineage["artifact_sha256"] == new.lineage["artifact_sha256"]:
        notes.append("Both are the same artefact.")
    for word, side in (("The old", old), ("The new", new)):
        if side is None:
            continue
        if side.source.kind == "bundle":
            notes.append(f"{word} model is a bundle folder: it has no code of its own, the installed code scores it.")
        if side.source.other_kit:
            notes.append(
                f"{word} model is scored by the installed model kit, {side.kit}: "
                "the package index does not have the one that it was trained with."
            )
        if side.card["data"]["synthetic"]:
            notes.append(f"{word} model was trained on synthetic data: its predictions mean nothing.")
        if side.card["evaluated"] is not True:
            notes.append(f"{word} model was not evaluated.")
    return notes


def _check(check: Check) -> dict[str, Any]:
    entry = check.accepted
    status = "within" if check.within else "accepted" if entry else "beyond"
    facts = {"name": check.name, "status": status, "rule": check.rule, "value": check.value, "limit": check.limit}
    accepted = entry and {
        "from": entry.old,
        "to": entry.new,
        "limit": entry.checks[check.name],
        "reason": entry.reason,
        "by": entry.by,
        "on": entry.on.isoformat(),
    }
    return {**facts, "note": check.note, "accepted": accepted}


def _finite(value: Any) -> Any:
    """Replace infinity and NaN, which JSON lacks, by texts, and tuples by lists."""
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value
