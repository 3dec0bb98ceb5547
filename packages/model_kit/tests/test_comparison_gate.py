"""Thresholds, reviewed entries, and what they let through."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import date
from pathlib import Path

import pytest
from model_kit.comparison.gate import (
    DATA_SHA256,
    DEFAULT_METRICS,
    METRICS_REMOVED,
    SPEC_BREAKING,
    SPEC_VERSION,
    Check,
    MetricRule,
    ModelId,
    find_gate,
    read_gate,
    settle,
)
from model_kit.errors import DataError

WriteGate = Callable[..., Path]

OLD = ModelId("1.0.0", "0123456789abcdef" * 4)
NEW = ModelId("1.1.0", "fedcba9876543210" * 4)
HASH = "b" * 64
ENTRY = f"""
[[accepted]]
from = "1.0.0"
to = "sha256:fedcba987654"
reason = "trained on the sales of this year"
by = "Ada"
on = 2026-01-31
checks = {{ difference.p99 = 0.3, "data.rows" = 80, "data.sha256" = "{HASH}", "spec.breaking" = ["zone:level:B"] }}
"""
P99 = Check("difference.p99", 0.25, 0.10, "at most")
ROWS = Check("data.rows", 80, 100, "at least")
SHA256 = Check(DATA_SHA256, HASH, "a" * 64, "same")
LOST = Check(SPEC_BREAKING, ("zone:level:B",), (), "none but")


def test_the_file_is_read(write_gate: WriteGate) -> None:
    gate = read_gate(write_gate(ENTRY))
    assert gate.thresholds["difference.p99"] == 0.10
    assert gate.thresholds["rows.newly_failing"] == 0.0
    assert gate.metrics == {**DEFAULT_METRICS, "r2": MetricRule("higher", 0.01), "rmse": MetricRule("lower", 0.05)}
    (entry,) = gate.accepted
    assert (entry.old, entry.new, entry.by, entry.on) == ("1.0.0", "sha256:fedcba987654", "Ada", date(2026, 1, 31))
    assert entry.reason == "trained on the sales of this year"
    assert entry.checks == {
        "difference.p99": 0.3,
        "data.rows": 80,
        "data.sha256": HASH,
        "spec.breaking": ("zone:level:B",),
    }


@pytest.mark.parametrize(
    ("check", "within"),
    [
        (Check("difference.max", 0.2, 0.2, "at most"), True),
        (Check("difference.max", 0.2000001, 0.2, "at most"), False),
        (Check("difference.max", math.nan, 0.2, "at most"), False),
        (Check("difference.max", math.inf, 0.2, "at most"), False),
        (Check("difference.max", None, 0.2, "at most"), False),
        (Check("data.rows", 100, 100, "at least"), True),
        (Check("data.rows", 99, 100, "at least"), False),
        (Check("floor.r2", math.nan, 0.5, "at least"), False),
        (Check("floor.r2", None, 0.5, "at least"), False),
        (Check(DATA_SHA256, HASH, HASH, "same"), True),
        (Check(DATA_SHA256, HASH, "a" * 64, "same"), False),
        (Check(DATA_SHA256, None, None, "same"), False),
        (Check(SPEC_BREAKING, (), (), "none but"), True),
        (Check(SPEC_BREAKING, ("zone:removed",), (), "none but"), False),
        (Check("floor.evaluated", True, True, "true"), True),
        (Check("floor.evaluated", False, True, "true"), False),
    ],
)
def test_a_value_is_held_to_its_limit(check: Check, within: bool) -> None:
    assert check.within is within
    assert check.passed is within


def test_an_entry_accepts_what_it_names_as_far_as_it_says(write_gate: WriteGate) -> None:
    gate = read_gate(write_gate(ENTRY))
    settled, stale = settle([P99, ROWS, SHA256, LOST], gate, OLD, NEW)
    assert [check.passed for check in settled] == [True] * 4
    assert [check.within for check in settled] == [False] * 4
    assert all(check.accepted is gate.accepted[0] for check in settled)
    assert stale == []


@pytest.mark.parametrize(
    "check",
    [
        Check("difference.p99", 0.31, 0.10, "at most"),
        Check("data.rows", 79, 100, "at least"),
        Check(DATA_SHA256, "c" * 64, "a" * 64, "same"),
        Check(SPEC_BREAKING, ("zone:level:B", "zone:level:A"), (), "none but"),
    ],
)
def test_an_entry_accepts_nothing_beyond_its_own_limit(check: Check, write_gate: WriteGate) -> None:
    (settled,), _ = settle([check], read_gate(write_gate(ENTRY)), OLD, NEW)
    assert not settled.passed
    assert settled.note == "goes beyond what the entry from 1.0.0 to sha256:fedcba987654 (Ada, 2026-01-31) accepts"


def test_an_entry_accepts_no_other_check(write_gate: WriteGate) -> None:
    (settled,), _ = settle([Check("difference.p90", 0.06, 0.05, "at most")], read_gate(write_gate(ENTRY)), OLD, NEW)
    assert not settled.passed
    assert not settled.note


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (ModelId("1.0.1", OLD.artifact_sha256), NEW),
        (ModelId("1.0.0+abc", OLD.artifact_sha256), NEW),
        (OLD, ModelId("1.1.0", OLD.artifact_sha256)),
        (None, NEW),
    ],
)
def test_an_entry_for_other_versions_accepts_nothing_and_is_stale(
    old: ModelId | None, new: ModelId, write_gate: WriteGate
) -> None:
    (settled,), stale = settle([P99], read_gate(write_gate(ENTRY)), old, new)
    assert not settled.passed
    assert stale == [
        "the entry from 1.0.0 to sha256:fedcba987654 (Ada, 2026-01-31): is about other versions than these"
    ]


def test_a_part_of_an_entry_that_nothing_needs_is_stale(write_gate: WriteGate) -> None:
    within = Check("difference.p99", 0.01, 0.10, "at most")
    _, stale = settle([within, ROWS, SHA256, LOST], read_gate(write_gate(ENTRY)), OLD, NEW)
    assert stale == [
        "the entry from 1.0.0 to sha256:fedcba987654 (Ada, 2026-01-31): difference.p99 needs no acceptance here"
    ]


def test_of_several_entries_the_one_that_goes_far_enough_counts(write_gate: WriteGate) -> None:
    gate = read_gate(write_gate(ENTRY.replace("0.3", "0.2") + ENTRY))
    (settled,), _ = settle([P99], gate, OLD, NEW)
    assert settled.accepted is gate.accepted[1]


def test_what_a_file_does_not_state_has_its_default(tmp_path: Path) -> None:
    defaults = read_gate(None)
    assert defaults.thresholds["difference.median"] == 0.03
    assert defaults.thresholds["data.rows"] == 1.0
    assert defaults.metrics["r2"] == MetricRule("higher", 0.005, absolute=True)
    assert defaults.accepted == ()
    assert defaults.source == "the defaults of model-kit"
    path = tmp_path / "gate.toml"
    path.write_text('[difference]\np99 = 0.5\n[metric.bias]\nbetter = "lower"\nworse_by = 0.1\n')
    gate = read_gate(path)
    assert gate.thresholds == {**defaults.thresholds, "difference.p99": 0.5}
    assert gate.metrics == {**defaults.metrics, "bias": MetricRule("lower", 0.1)}
    assert gate.source == str(path)


@pytest.mark.parametrize(
    ("rule", "old", "new", "worse"),
    [
        (MetricRule("lower", 0.1), 2.0, 2.5, 0.25),
        (MetricRule("lower", 0.1), 2.0, 1.5, -0.25),
        (MetricRule("higher", 0.1), -2.0, -2.5, 0.25),
        (MetricRule("higher", 0.1), 0.0, -0.5, math.inf),
        (MetricRule("lower", 0.1), 0.0, 0.0, 0.0),
        (MetricRule("higher", 0.1, absolute=True), 0.0, -0.5, 0.5),
        (MetricRule("higher", 0.1, absolute=True), -0.25, 0.25, -0.5),
        (MetricRule("lower", 0.1, absolute=True), 0.5, 0.5, 0.0),
    ],
)
def test_how_much_worse_a_metric_is(rule: MetricRule, old: float, new: float, worse: float) -> None:
    assert rule.worse(old, new) == worse
    assert math.copysign(1, rule.worse(old, new)) == math.copysign(1, worse)


@pytest.mark.parametrize("layout", ["src/rides_model", "rides_model"])
def test_the_file_of_a_package_stands_beside_its_project_file(layout: str, tmp_path: Path) -> None:
    package = tmp_path / layout
    package.mkdir(parents=True)
    (tmp_path / "gate.toml").touch()
    # Without a project file, this is no source tree of the package.
    assert find_gate(package) is None
    (tmp_path / "pyproject.toml").touch()
    assert find_gate(package) == tmp_path / "gate.toml"
    (tmp_path / "gate.toml").unlink()
    assert find_gate(package) is None


@pytest.mark.parametrize("name", [SPEC_VERSION, "floor.r2"])
def test_no_entry_replaces_a_floor_or_the_new_major_version(name: str, write_gate: WriteGate) -> None:
    check = Check(name, 1, 2, "at least", note="raise it")
    (settled,), _ = settle([check], read_gate(write_gate(ENTRY)), OLD, NEW)
    assert settled == check


@pytest.mark.parametrize(
    ("before", "after", "reason"),
    [
        ("p99 = 0.10", "p98 = 0.10", r"Object contains unknown field `p98` - at `\$\.difference`"),
        ("p99 = 0.10", 'p99 = "10 %"', r"Expected `float`, got `str` - at `\$\.difference\.p99`"),
        ("p99 = 0.10", "p99 = -0.1", r"Expected `float` >= 0\.0 - at `\$\.difference\.p99`"),
        ("p99 = 0.10", "p99 = nan", r"Expected `float` >= 0\.0 - at"),
        ("p99 = 0.10", "p99 = inf", r"Expected `float` <= .* - at"),
        ("p99 = 0.10", "p99 = true", "Expected `float`, got `bool` - at"),
        ("compared = 0.95", "compared = 95", r"Expected `float` <= 1\.0 - at `\$\.rows\.compared`"),
        ("[difference]", "rows = 3\n[difference]", "is not TOML"),
        ("[size]", "[speed]\nfast = 1\n[size]", "Object contains unknown field `speed`"),
        ("[metric.r2]", "[metric]\nmae = 3\n[metric.r2]", r"Expected `object`, got `int` - at `\$\.metric"),
        ('better = "higher"', 'better = "up"', r"Invalid enum value 'up' - at `\$\.metric"),
        ("worse_by = 0.05", "", r"Object missing required field `worse_by` - at `\$\.metric"),
        ("[metric.r2]", "[metric.removed]", r"\[metric.removed\] is not about a metric"),
        ("[difference]", "accepted = 1\n[difference]", r"Expected `array`, got `int` - at `\$\.accepted`"),
    ],
)
def test_a_malformed_file_is_refused_with_the_name_at_fault(
    before: str, after: str, reason: str, write_gate: WriteGate
) -> None:
    path = write_gate()
    text = path.read_text()
    assert before in text
    path.write_text(text.replace(before, after))
    with pytest.raises(DataError, match=rf"gate\.toml: {reason}"):
        read_gate(path)


@pytest.mark.parametrize(
    ("before", "after", "reason"),
    [
        ('by = "Ada"\n', "", r"Object missing required field `by` - at `\$\.accepted\[0\]`"),
        ('by = "Ada"', 'by = " "', r"Expected `str` matching regex .* - at `\$\.accepted\[0\]\.by`"),
        ("on = 2026-01-31", 'on = "2026-01-31"', r"Expected `date`, got `str` - at `\$\.accepted\[0\]\.on`"),
        ("on = 2026-01-31", "on = 2026-01-31T10:00:00", "Expected `date`, got `datetime`"),
        ("fedcba987654", "fedcba98765", r"Expected `str` matching regex .* - at `\$\.accepted\[0\]\.to`"),
        ("fedcba987654", "fedcba98765x", r"Expected `str` matching regex .* - at `\$\.accepted\[0\]\.to`"),
        ("by =", "until = 3\nby =", r"Object contains unknown field `until` - at `\$\.accepted\[0\]`"),
        (
            "difference.p99",
            "difference.p98",
            r"\[\[accepted\]\] number 1: there is no check difference.p98; there are data\.rows, data\.sha256",
        ),
        (
            "difference.p99",
            "difference.beyond",
            r"\[\[accepted\]\] number 1: there is no check difference.beyond",
        ),
        (
            "difference.p99",
            "floor.r2",
            r"\[\[accepted\]\] number 1: floor.r2 holds for every version, no entry can accept less",
        ),
        (
            "difference.p99",
            "spec.version",
            r"\[\[accepted\]\] number 1: spec.version holds for every version, no entry can accept less",
        ),
        ("difference.p99 = 0.3", "difference.p99 = true", "difference.p99: Expected `float`, got `bool`"),
        ("difference.p99 = 0.3", "difference.p99 = inf", "difference.p99: Expected `float` <="),
        (HASH, "short", "data.sha256: Expected `str` matching regex"),
        ('["zone:level:B"]', '"zone:level:B"', "spec.breaking: Expected `array`, got `str`"),
    ],
)
def test_a_malformed_entry_is_refused_with_the_name_at_fault(
    before: str, after: str, reason: str, write_gate: WriteGate
) -> None:
    assert before in ENTRY
    path = write_gate(ENTRY.replace(before, after))
    with pytest.raises(DataError, match=rf"gate\.toml: .*{reason}"):
        read_gate(path)


def test_an_entry_that_names_no_check_is_refused(write_gate: WriteGate) -> None:
    head, _, _ = ENTRY.partition("checks =")
    with pytest.raises(DataError, match=r"Expected `object` of length >= 1 - at `\$\.accepted\[0\]\.checks`"):
        read_gate(write_gate(head + "checks = {}\n"))
    with pytest.raises(DataError, match=r"Expected `object`, got `array` - at `\$\.accepted\[0\]\.checks`"):
        read_gate(write_gate(head + 'checks = ["difference.p99"]\n'))


def test_removed_metrics_are_accepted_by_name(write_gate: WriteGate) -> None:
    head, _, _ = ENTRY.partition("checks =")
    gate = read_gate(write_gate(head + 'checks = { metric.removed = ["mae"] }\n'))
    (settled,), _ = settle([Check(METRICS_REMOVED, ("mae",), (), "none but")], gate, OLD, NEW)
    assert settled.passed


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.toml: the thresholds cannot be read: No such file"):
        read_gate(tmp_path / "none.toml")
