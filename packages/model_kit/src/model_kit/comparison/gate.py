"""The limits of what may change between two versions, the reviewed exceptions, and how they judge a value.

Both are read from a model package's ``gate.toml``, see ``docs/comparison.md``. The file states what differs from the
defaults here; an unknown name is an error, so that a misspelt one does not disable a check.
"""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from pathlib import Path
from typing import Annotated, Any, Final, Literal, TypeAlias

import msgspec
from msgspec import Meta, Struct

from model_kit.errors import DataError

#: How a value is held to its limit: a number at most or at least it, the same text, none but the names in it, or true.
Rule: TypeAlias = Literal["at most", "at least", "same", "none but", "true"]
Value: TypeAlias = "float | str | tuple[str, ...] | bool | None"

FILE: Final = "gate.toml"
METRIC: Final = "metric"
#: Checks that allow no change at all unless a reviewed entry accepts it.
DATA_SHA256: Final = "data.sha256"
METRICS_REMOVED: Final = "metric.removed"
SPEC_BREAKING: Final = "spec.breaking"
#: Checks that no entry can accept.
FLOOR: Final = "floor."
SPEC_VERSION: Final = "spec.version"
_ARTEFACT: Final = "sha256:"

_Limit: TypeAlias = Annotated[float, Meta(ge=0, le=sys.float_info.max)]
_Finite: TypeAlias = Annotated[float, Meta(ge=-sys.float_info.max, le=sys.float_info.max)]
_Share: TypeAlias = Annotated[float, Meta(ge=0, le=1)]
_Text: TypeAlias = Annotated[str, Meta(pattern=r"\S")]
_Version: TypeAlias = Annotated[str, Meta(pattern=rf"^(?!{_ARTEFACT})\S|^{_ARTEFACT}[0-9a-f]{{12,}}$")]


class _Table(Struct, frozen=True, forbid_unknown_fields=True):
    """A table of the file."""


class _Difference(_Table, frozen=True):
    median: _Limit = 0.03
    p90: _Limit = 0.07
    p99: _Limit = 0.12
    max: _Limit = 0.30
    # At most ``share`` of the rows may differ by more than this; it is not a check of its own.
    beyond: _Limit = 0.10
    share: _Share = 0.02


class _Rows(_Table, frozen=True):
    compared: _Share = 0.95
    newly_failing: _Share = 0.0


class _Data(_Table, frozen=True):
    rows: _Share = 1.0


class _Size(_Table, frozen=True):
    bundle: _Limit = 2.0
    wheel: _Limit = 2.0


class _Latency(_Table, frozen=True):
    one_row: _Limit = 3.0
    thousand_rows: _Limit = 3.0


class MetricRule(_Table, frozen=True):
    """How much worse a metric of the card may be.

    Attributes:
        better: which direction is better.
        worse_by: the most that it may be worse by.
        absolute: ``worse_by`` is in the metric's own unit; otherwise it is a share of the old value, which suits
            errors but no metric that can be near 0.
    """

    better: Literal["lower", "higher"]
    worse_by: _Limit
    absolute: bool = False

    def worse(self, old: float, new: float) -> float:
        """How much worse the new value is, to be compared with ``worse_by``; negative if it is better."""
        change = new - old if self.better == "lower" else old - new
        if self.absolute or not change:
            return change + 0.0  # no minus before a zero
        return change / abs(old) if old else change * float("inf")


class Accepted(_Table, frozen=True, rename={"old": "from", "new": "to"}):
    """A change that somebody has reviewed and wants.

    Attributes:
        old, new: version or ``sha256:`` and at least 12 digits of the artefact.
        checks: name of a check -> how far it may go.
        reason, by, on: why, who, when.
    """

    old: _Version
    new: _Version
    checks: Annotated[dict[str, Any], Meta(min_length=1)]
    reason: _Text
    by: _Text
    on: date


#: A metric that neither model has is not checked.
DEFAULT_METRICS: Final[Mapping[str, MetricRule]] = {
    "rmse": MetricRule("lower", 0.02),
    "rmse_core": MetricRule("lower", 0.02),
    "mae": MetricRule("lower", 0.02),
    "r2": MetricRule("higher", 0.005, absolute=True),
    "log_loss": MetricRule("lower", 0.03),
    "brier": MetricRule("lower", 0.03),
    "roc_auc": MetricRule("higher", 0.005, absolute=True),
    "average_precision": MetricRule("higher", 0.01, absolute=True),
    "accuracy": MetricRule("higher", 0.005, absolute=True),
    "balanced_accuracy": MetricRule("higher", 0.01, absolute=True),
    "calibration_error": MetricRule("lower", 0.01, absolute=True),
}


class _File(_Table, frozen=True):
    difference: _Difference = _Difference()
    rows: _Rows = _Rows()
    data: _Data = _Data()
    size: _Size = _Size()
    latency: _Latency = _Latency()
    metric: dict[str, MetricRule] = {}
    accepted: list[Accepted] = []


@dataclass(frozen=True, slots=True)
class Gate:
    """Limits and reviewed entries.

    Attributes:
        thresholds: ``section.name`` -> number.
        metrics: name of a metric -> its rule.
        accepted: the reviewed entries.
        source: where they come from, for reports.
    """

    thresholds: Mapping[str, float]
    metrics: Mapping[str, MetricRule]
    accepted: tuple[Accepted, ...]
    source: str


@dataclass(frozen=True, slots=True)
class Check:
    """One value and what it may be.

    Attributes:
        name: as the thresholds file spells it.
        value, limit: see ``rule``.
        rule: how the value is held to the limit.
        accepted: the entry that lets it go beyond the limit, if one does.
        note: what else there is to say, such as what to do, or an entry that does not go far enough.
    """

    name: str
    value: Value
    limit: Value
    rule: Rule
    accepted: Accepted | None = None
    note: str = ""

    @property
    def within(self) -> bool:
        """Whether the value is within its limit; NaN and ``None`` never are."""
        return _holds(self.value, self.limit, self.rule)

    @property
    def passed(self) -> bool:
        """Whether it is within its limit, or accepted."""
        return self.within or self.accepted is not None


@dataclass(frozen=True, slots=True)
class ModelId:
    """The version and the artefact of a model, either of which an entry may name."""

    version: str
    artifact_sha256: str

    def matches(self, text: str) -> bool:
        """Whether an entry's ``from`` or ``to`` names this model."""
        if text.startswith(_ARTEFACT):
            return self.artifact_sha256.startswith(text.removeprefix(_ARTEFACT))
        return text == self.version


def find_gate(package: Path) -> Path | None:
    """The thresholds file of a model package in a source tree; ``None`` if it has none or is installed elsewhere.

    Args:
        package: folder of the package's code, ``<project>/src/<package>`` or ``<project>/<package>``.
    """
    for project in (package.parent, package.parent.parent):
        if (project / "pyproject.toml").is_file():
            return project / FILE if (project / FILE).is_file() else None
    return None


def read_gate(path: Path | None) -> Gate:
    """Read a thresholds file; what it does not state has its default.

    Args:
        path: the file; ``None``: the defaults alone.

    Raises:
        DataError: it cannot be read, is not TOML, or has an unknown name or an unusable value.
    """
    if path is None:
        return _gate({}, "the defaults of model-kit")
    try:
        return _gate(tomllib.loads(path.read_text("utf-8")), str(path))
    except OSError as error:
        raise DataError(f"{path}: the thresholds cannot be read: {error.strerror}") from error
    except msgspec.ValidationError as error:
        raise DataError(f"{path}: {error}; docs/comparison.md describes the file") from error
    except ValueError as error:
        raise DataError(f"{path}: is not TOML: {error}") from error


def _gate(document: dict[str, Any], source: str) -> Gate:
    # Days and moments stay what TOML has made of them: a moment or a text is no day.
    file = msgspec.convert(document, _File, builtin_types=(date, datetime))
    if "removed" in file.metric:
        raise msgspec.ValidationError("[metric.removed] is not about a metric, it is the name of a check")
    metrics = {**DEFAULT_METRICS, **file.metric}
    sections = msgspec.to_builtins(file)
    thresholds = {
        f"{section}.{name}": limit
        for section in ("difference", "rows", "data", "size", "latency")
        for name, limit in sections[section].items()
    }
    numbers = {*thresholds, *(f"{METRIC}.{name}" for name in metrics)} - {"difference.beyond"}
    accepted = [_accepted(entry, place, numbers) for place, entry in enumerate(file.accepted, 1)]
    return Gate(thresholds, metrics, tuple(accepted), source)


def _accepted(entry: Accepted, place: int, numbers: set[str]) -> Accepted:
    """The entry with the limit of each check as its rule compares it."""
    kinds = dict.fromkeys(numbers, _Finite) | {
        DATA_SHA256: Annotated[str, Meta(pattern="^[0-9a-f]{64}$")],
        METRICS_REMOVED: tuple[str, ...],
        SPEC_BREAKING: tuple[str, ...],
    }
    checks = {}
    for name, limit in _flat(entry.checks).items():
        where = f"[[accepted]] number {place}"
        if not _is_acceptable(name):
            raise msgspec.ValidationError(f"{where}: {name} holds for every version, no entry can accept less")
        if name not in kinds:
            raise msgspec.ValidationError(f"{where}: there is no check {name}; there are {', '.join(sorted(kinds))}")
        try:
            checks[name] = msgspec.convert(limit, kinds[name])
        except msgspec.ValidationError as error:
            raise msgspec.ValidationError(f"{where}: {name}: {error}") from error
    return msgspec.structs.replace(entry, checks=checks)


def _is_acceptable(check: str) -> bool:
    return not check.startswith(FLOOR) and check != SPEC_VERSION


def _flat(checks: Mapping[str, Any]) -> dict[str, Any]:
    """``difference.p99 = 0.2`` with and without quotes around the name."""
    found: dict[str, Any] = {}
    for name, value in checks.items():
        found |= (
            {f"{name}.{rest}": limit for rest, limit in value.items()} if isinstance(value, dict) else {name: value}
        )
    return found


def settle(checks: Sequence[Check], gate: Gate, old: ModelId | None, new: ModelId) -> tuple[list[Check], list[str]]:
    """Apply the reviewed entries for these two models to the checks that are beyond their limits.

    Returns:
        The checks, and one sentence for each entry or part of an entry that has no effect here.
    """
    entries = [entry for entry in gate.accepted if old and old.matches(entry.old) and new.matches(entry.new)]
    stale = [f"{_title(entry)}: is about other versions than these" for entry in gate.accepted if entry not in entries]
    settled = []
    for check in checks:
        if check.within or not _is_acceptable(check.name):
            settled.append(check)
            continue
        named = [entry for entry in entries if check.name in entry.checks]
        enough = [entry for entry in named if _holds(check.value, entry.checks[check.name], check.rule)]
        note = f"goes beyond what {_title(named[0])} accepts" if named and not enough else ""
        settled.append(replace(check, accepted=enough[0] if enough else None, note=note))
    needed = {check.name for check in settled if not check.within}
    for entry in entries:
        stale += [f"{_title(entry)}: {name} needs no acceptance here" for name in entry.checks if name not in needed]
    return settled, stale


def _title(entry: Accepted) -> str:
    return f"the entry from {entry.old} to {entry.new} ({entry.by}, {entry.on.isoformat()})"


def _holds(value: Value, limit: Value, rule: Rule) -> bool:
    if rule == "true":
        return value is True
    if rule == "same":
        return value is not None and value == limit
    if rule == "none but":
        return isinstance(value, tuple) and isinstance(limit, tuple) and set(value) <= set(limit)
    if not isinstance(value, int | float) or not isinstance(limit, int | float):
        return False
    return value <= limit if rule == "at most" else value >= limit
