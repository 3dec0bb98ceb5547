"""What may change between two versions: the thresholds, the changes that a reviewed entry accepts, and the verdict.

Both stand in one TOML file, described in ``docs/comparison.md``. A threshold that is missing or unknown is an error:
nothing is ever let through because a name was misspelt.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

from model_kit.errors import DataError

#: How a value is held to its limit: a number at most or at least it, the same text, none but the names in it, or true.
Rule: TypeAlias = Literal["at most", "at least", "same", "none but", "true"]
Value: TypeAlias = "float | str | tuple[str, ...] | bool | None"

#: Section -> its thresholds, each a number of 0 or more.
THRESHOLDS: Final[Mapping[str, tuple[str, ...]]] = {
    "difference": ("median", "p90", "p99", "max", "beyond", "share"),
    "rows": ("compared", "newly_failing"),
    "data": ("rows",),
    "size": ("bundle", "wheel"),
    "latency": ("one_row", "thousand_rows"),
}
#: Sections whose thresholds are shares, which are never above 1.
_SHARES: Final = frozenset({"rows.compared", "rows.newly_failing", "difference.share", "data.rows"})
METRIC: Final = "metric"
#: Checks with no threshold but "nothing", which entries can accept.
DATA_SHA256: Final = "data.sha256"
METRICS_REMOVED: Final = "metric.removed"
BREAKS: Final = "contract.breaks"
#: Checks that no entry can accept.
FLOOR: Final = "floor."
#: Which thresholds are no check of their own.
_PARAMETERS: Final = frozenset({"difference.beyond"})
_ARTEFACT: Final = "sha256:"
#: Digits of an artefact's sha256 that name it.
_FEWEST_DIGITS: Final = 12
_ENTRY: Final = ("from", "to", "checks", "reason", "by", "on")


@dataclass(frozen=True, slots=True)
class MetricRule:
    """How much worse a metric of the card may be.

    Attributes:
        lower_is_better: which way is worse.
        worse_by: the most that it may be worse by, as a share of the old value.
    """

    lower_is_better: bool
    worse_by: float


@dataclass(frozen=True, slots=True)
class Accepted:
    """A change that somebody has looked at and wants.

    Attributes:
        old, new: version or ``sha256:`` and at least 12 digits of the artefact.
        checks: name of a check -> how far it may go.
        reason, by, on: why, who, when.
    """

    old: str
    new: str
    checks: Mapping[str, Value]
    reason: str
    by: str
    on: date


@dataclass(frozen=True, slots=True)
class Gate:
    """The thresholds file.

    Attributes:
        thresholds: ``section.name`` -> number, for all of ``THRESHOLDS``.
        metrics: name of a metric -> its rule.
        accepted: the reviewed entries.
    """

    thresholds: Mapping[str, float]
    metrics: Mapping[str, MetricRule]
    accepted: tuple[Accepted, ...] = ()


@dataclass(frozen=True, slots=True)
class Check:
    """One value and what it may be.

    Attributes:
        name: as the thresholds file spells it.
        value, limit: see ``rule``.
        rule: how the value is held to the limit.
        accepted: the entry that lets it go beyond the limit, if one does.
        note: what else there is to say, such as an entry that does not go far enough.
    """

    name: str
    value: Value
    limit: Value
    rule: Rule
    accepted: Accepted | None = None
    note: str = ""

    @property
    def within(self) -> bool:
        """Whether the value is what it may be; one that is no number never is."""
        return _holds(self.value, self.limit, self.rule)

    @property
    def passed(self) -> bool:
        """Whether it is within its limit, or accepted."""
        return self.within or self.accepted is not None


@dataclass(frozen=True, slots=True)
class Name:
    """What an entry can call one of the two models."""

    version: str
    artifact_sha256: str

    def answers_to(self, text: str) -> bool:
        """Whether ``text`` means this model."""
        if text.startswith(_ARTEFACT):
            return self.artifact_sha256.startswith(text.removeprefix(_ARTEFACT))
        return text == self.version


def read_gate(path: Path) -> Gate:
    """Read the thresholds file.

    Raises:
        DataError: it cannot be read, is no TOML, lacks a threshold, or says something that is not understood.
    """
    try:
        document = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise DataError(f"{path}: the thresholds cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise DataError(f"{path}: is not TOML: {error}") from error
    try:
        return _gate(document)
    except _Fault as error:
        raise DataError(f"{path}: {error}") from error


def settle(checks: Sequence[Check], gate: Gate, old: Name | None, new: Name) -> tuple[list[Check], list[str]]:
    """Let the reviewed entries for these two models accept what is beyond its limit.

    Returns:
        The checks, and one sentence for each entry, or part of one, that matches nothing here.
    """
    entries = [entry for entry in gate.accepted if old and old.answers_to(entry.old) and new.answers_to(entry.new)]
    stale = [f"{_title(entry)}: is about other versions than these" for entry in gate.accepted if entry not in entries]
    settled = []
    for check in checks:
        if check.within or check.name.startswith(FLOOR):
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


class _Fault(Exception):  # noqa: N818 - no error on its own: the caller says in which file
    """What is wrong with the file."""


def _gate(document: Mapping[str, Any]) -> Gate:
    known = {*THRESHOLDS, METRIC, "accepted"}
    _only(document, known, "the file")
    thresholds = {}
    for section, names in THRESHOLDS.items():
        table = _table(document.get(section, {}), section)
        _only(table, names, f"[{section}]")
        for name in names:
            if name not in table:
                raise _Fault(f"lacks the threshold {section}.{name}")
            thresholds[f"{section}.{name}"] = _number(table[name], f"{section}.{name}")
    metrics = {}
    for name, table in _table(document.get(METRIC, {}), METRIC).items():
        where = f"{METRIC}.{name}"
        rule = _table(table, where)
        _only(rule, ("better", "worse_by"), f"[{where}]")
        if name == "removed" or rule.get("better") not in ("lower", "higher"):
            raise _Fault(f'[{where}] must be about a metric and say better = "lower" or "higher"')
        metrics[name] = MetricRule(rule["better"] == "lower", _number(rule.get("worse_by"), f"{where}.worse_by"))
    entries = document.get("accepted", [])
    if not isinstance(entries, list):
        raise _Fault("write [[accepted]] with two brackets: each entry is one of a list")
    checked = (*thresholds, *(f"{METRIC}.{name}" for name in metrics), DATA_SHA256, METRICS_REMOVED, BREAKS)
    checks = frozenset(checked) - _PARAMETERS
    return Gate(thresholds, metrics, tuple(_entry(entry, place, checks) for place, entry in enumerate(entries, 1)))


def _entry(entry: Any, place: int, names: frozenset[str]) -> Accepted:
    where = f"[[accepted]] number {place}"
    table = _table(entry, where)
    _only(table, _ENTRY, where)
    for key in _ENTRY:
        if key not in table:
            raise _Fault(f"{where} lacks {key}: an entry says {', '.join(_ENTRY)}")
    for key in ("from", "to", "reason", "by"):
        if not isinstance(table[key], str) or not table[key].strip():
            raise _Fault(f"{where}: {key} must be a text that says something")
    for key in ("from", "to"):
        digits = table[key].removeprefix(_ARTEFACT)
        if digits != table[key] and (len(digits) < _FEWEST_DIGITS or set(digits) - set("0123456789abcdef")):
            raise _Fault(f"{where}: {key} must have at least {_FEWEST_DIGITS} hexadecimal digits after {_ARTEFACT}")
    # A moment is a day as well, to Python.
    if type(table["on"]) is not date:
        raise _Fault(f"{where}: on must be a day, like 2026-01-31, without quotes")
    checks = _table(table["checks"], f"{where}, checks")
    if not checks:
        raise _Fault(f"{where}: checks names no check")
    limits = {name: _accepted_limit(name, limit, where, names) for name, limit in _flat(checks).items()}
    return Accepted(table["from"], table["to"], limits, table["reason"].strip(), table["by"].strip(), table["on"])


def _accepted_limit(name: str, limit: Any, where: str, names: frozenset[str]) -> Value:
    if name.startswith(FLOOR):
        raise _Fault(f"{where}: {name} is a floor, and a floor is never accepted away")
    if name not in names:
        raise _Fault(f"{where}: there is no check {name}; there are {', '.join(sorted(names))}")
    if name == DATA_SHA256:
        if not isinstance(limit, str) or len(limit) != 64:
            raise _Fault(f"{where}: {name} must be the new sha256, 64 digits")
        return limit
    if name in {BREAKS, METRICS_REMOVED}:
        if not isinstance(limit, list) or not all(isinstance(entry, str) for entry in limit):
            raise _Fault(f"{where}: {name} must be a list of names")
        return tuple(limit)
    if isinstance(limit, bool) or not isinstance(limit, int | float) or not math.isfinite(limit):
        raise _Fault(f"{where}: {name} must be a finite number: how far it may go")
    return float(limit)


def _flat(checks: Mapping[str, Any]) -> dict[str, Any]:
    """``difference.p99 = 0.2`` with and without quotes around the name."""
    found: dict[str, Any] = {}
    for name, value in checks.items():
        found |= (
            {f"{name}.{rest}": inner for rest, inner in value.items()} if isinstance(value, dict) else {name: value}
        )
    return found


def _table(value: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise _Fault(f"{where} must be a table")
    return value


def _only(table: Mapping[str, Any], known: Any, where: str) -> None:
    for name in table:
        if name not in known:
            raise _Fault(f"{where} has {name}, which means nothing here; there are {', '.join(sorted(known))}")


def _number(value: Any, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value < 0:
        raise _Fault(f"{name} must be a number of 0 or more")
    if name in _SHARES and value > 1:
        raise _Fault(f"{name} is a share of the rows, from 0 to 1")
    return float(value)
