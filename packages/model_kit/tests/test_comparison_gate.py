"""Thresholds, reviewed entries, and what they let through."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import date
from pathlib import Path

import pytest
from model_kit.comparison.gate import BREAKS, DATA_SHA256, METRICS_REMOVED, Check, MetricRule, Name, read_gate, settle
from model_kit.errors import DataError

WriteGate = Callable[..., Path]

OLD = Name("1.0.0", "0123456789abcdef" * 4)
NEW = Name("1.1.0", "fedcba9876543210" * 4)
HASH = "b" * 64
ENTRY = f"""
[[accepted]]
from = "1.0.0"
to = "sha256:fedcba987654"
reason = " trained on the sales of this year "
by = "Ada"
on = 2026-01-31
checks = {{ difference.p99 = 0.3, "data.rows" = 80, "data.sha256" = "{HASH}", "contract.breaks" = ["zone:level:B"] }}
"""
P99 = Check("difference.p99", 0.25, 0.10, "at most")
ROWS = Check("data.rows", 80, 100, "at least")
SHA256 = Check(DATA_SHA256, HASH, "a" * 64, "same")
LOST = Check(BREAKS, ("zone:level:B",), (), "none but")


def test_the_file_is_read(write_gate: WriteGate) -> None:
    gate = read_gate(write_gate(ENTRY))
    assert gate.thresholds["difference.p99"] == 0.10
    assert gate.thresholds["rows.newly_failing"] == 0.0
    assert gate.metrics == {"r2": MetricRule(False, 0.01), "rmse": MetricRule(True, 0.05)}
    (entry,) = gate.accepted
    assert (entry.old, entry.new, entry.by, entry.on) == ("1.0.0", "sha256:fedcba987654", "Ada", date(2026, 1, 31))
    assert entry.reason == "trained on the sales of this year"
    assert entry.checks == {
        "difference.p99": 0.3,
        "data.rows": 80,
        "data.sha256": HASH,
        "contract.breaks": ("zone:level:B",),
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
        (Check(BREAKS, (), (), "none but"), True),
        (Check(BREAKS, ("zone:removed",), (), "none but"), False),
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
        Check(BREAKS, ("zone:level:B", "zone:level:A"), (), "none but"),
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
        (Name("1.0.1", OLD.artifact_sha256), NEW),
        (Name("1.0.0+abc", OLD.artifact_sha256), NEW),
        (OLD, Name("1.1.0", OLD.artifact_sha256)),
        (None, NEW),
    ],
)
def test_an_entry_for_other_versions_accepts_nothing_and_is_stale(
    old: Name | None, new: Name, write_gate: WriteGate
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


@pytest.mark.parametrize(
    ("before", "after", "reason"),
    [
        ("p99 = 0.10\n", "", "lacks the threshold difference.p99"),
        ("[size]\nbundle = 2.0\nwheel = 2.0\n", "", "lacks the threshold size.bundle"),
        ("p99 = 0.10", "p98 = 0.10", r"\[difference\] has p98, which means nothing here; there are beyond, max"),
        ("p99 = 0.10", 'p99 = "10 %"', "difference.p99 must be a number of 0 or more"),
        ("p99 = 0.10", "p99 = -0.1", "difference.p99 must be a number of 0 or more"),
        ("p99 = 0.10", "p99 = nan", "difference.p99 must be a number of 0 or more"),
        ("p99 = 0.10", "p99 = true", "difference.p99 must be a number of 0 or more"),
        ("compared = 0.95", "compared = 95", "rows.compared is a share of the rows, from 0 to 1"),
        ("[rows]\ncompared = 0.95\nnewly_failing = 0.0", "", "lacks the threshold rows.compared"),
        ("[difference]", "rows = 3\n[difference]", "is not TOML"),
        ("[size]", "[speed]\nfast = 1\n[size]", "the file has speed, which means nothing here"),
        ("[metric.r2]", "[metric]\nmae = 3\n[metric.r2]", "metric.mae must be a table"),
        ('better = "higher"', 'better = "up"', r"\[metric.r2\] must be about a metric and say better"),
        ('better = "higher"', "better = []", r"\[metric.r2\] must be about a metric and say better"),
        ("worse_by = 0.05", "", "metric.rmse.worse_by must be a number"),
        ("[metric.r2]", "[metric.removed]", r"\[metric.removed\] must be about a metric"),
        ("[difference]", "accepted = 1\n[difference]", r"write \[\[accepted\]\] with two brackets"),
    ],
)
def test_a_malformed_file_is_told_in_a_sentence(before: str, after: str, reason: str, write_gate: WriteGate) -> None:
    path = write_gate()
    text = path.read_text()
    assert before in text
    path.write_text(text.replace(before, after))
    with pytest.raises(DataError, match=rf"gate\.toml: {reason}"):
        read_gate(path)


@pytest.mark.parametrize(
    ("before", "after", "reason"),
    [
        ('by = "Ada"\n', "", "lacks by: an entry says from, to, checks, reason, by, on"),
        ('by = "Ada"', 'by = " "', "by must be a text that says something"),
        ("on = 2026-01-31", 'on = "2026-01-31"', "on must be a day"),
        ("on = 2026-01-31", "on = 2026-01-31T10:00:00", "on must be a day"),
        ("fedcba987654", "fedcba98765", "to must have at least 12 hexadecimal digits"),
        ("fedcba987654", "fedcba98765x", "to must have at least 12 hexadecimal digits"),
        (
            "difference.p99",
            "difference.p98",
            r"there is no check difference.p98; there are contract\.breaks, data\.rows",
        ),
        ("difference.p99", "difference.beyond", "there is no check difference.beyond"),
        ("difference.p99", "floor.r2", "floor.r2 is a floor, and a floor is never accepted away"),
        ("difference.p99 = 0.3", "difference.p99 = true", "difference.p99 must be a finite number"),
        ("difference.p99 = 0.3", "difference.p99 = inf", "difference.p99 must be a finite number"),
        (HASH, "short", "data.sha256 must be the new sha256, 64 digits"),
        ('["zone:level:B"]', '"zone:level:B"', "contract.breaks must be a list of names"),
        ("by =", "until = 3\nby =", "has until, which means nothing here"),
    ],
)
def test_a_malformed_entry_is_told_in_a_sentence(before: str, after: str, reason: str, write_gate: WriteGate) -> None:
    assert before in ENTRY
    path = write_gate(ENTRY.replace(before, after))
    with pytest.raises(DataError, match=rf"gate\.toml: \[\[accepted\]\] number 1:? {reason}"):
        read_gate(path)


def test_an_entry_that_names_no_check_is_refused(write_gate: WriteGate) -> None:
    head, _, _ = ENTRY.partition("checks =")
    with pytest.raises(DataError, match="checks names no check"):
        read_gate(write_gate(head + "checks = {}\n"))
    with pytest.raises(DataError, match="checks must be a table"):
        read_gate(write_gate(head + 'checks = ["difference.p99"]\n'))


def test_removed_metrics_are_accepted_by_name(write_gate: WriteGate) -> None:
    head, _, _ = ENTRY.partition("checks =")
    gate = read_gate(write_gate(head + 'checks = { metric.removed = ["mae"] }\n'))
    (settled,), _ = settle([Check(METRICS_REMOVED, ("mae",), (), "none but")], gate, OLD, NEW)
    assert settled.passed


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.toml: the thresholds cannot be read: No such file"):
        read_gate(tmp_path / "none.toml")
