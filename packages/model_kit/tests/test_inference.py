"""What a column of texts is taken for, and what is left out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

import pytest
from model_kit.spec.inference import Column, Guess, describe, infer_field, infer_target

ONE_NUMBER = (
    "it is constant: it has 2 spellings of one number, as far as a float tells them apart; there is nothing to predict"
)


def guessed(values: Sequence[str], name: str = "x", *, missing: int = 0) -> Guess:
    """What a column with these values is taken for."""
    whole = [int(value) for value in values if value.isdecimal()]
    consecutive = len(whole) == len(values) and all(b == a + 1 for a, b in pairwise(whole))
    return infer_field(Column(name, Counter(values), len(values) + missing, consecutive))


def kind(values: Sequence[str], name: str = "x", *, missing: int = 0) -> str | None:
    """The kind; ``None`` if the column is left out."""
    field = guessed(values, name, missing=missing).field
    return field.kind if field else None


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["1.5", "2", "-3e4", "7", "7"], "number"),
        (["1", "2.0", "30", "1"], "integer"),
        (["0", "1", "1"], "boolean"),
        (["yes", "No", "YES"], "boolean"),
        (["true", "FALSE", "True"], "boolean"),
        (["yes", "maybe", "yes"], "category"),
        (["00501", "10001", "00501"], "category"),
        (["2026-01-31", "2025-12-01"], "date"),
        (["2026-01-31 10:00", "2025-12-01 11:30"], "datetime"),
        (["2026-01-31T10:00:00Z", "2025-12-01T11:30:00+02:00"], "datetime"),
        (["31.01.2026", "28.02.2026"], "date"),
        (["31/01/2026 10:00", "28/02/2026 23:59"], "datetime"),
    ],
)
def test_kind_follows_from_the_texts(values: list[str], expected: str) -> None:
    assert kind(values) == expected


@pytest.mark.parametrize(
    ("values", "form"),
    [
        (["2026-01-31", "2025-12-01"], None),
        (["31/01/2026", "01/12/2025"], "%d/%m/%Y"),
        (["01/31/2026", "12/01/2025"], "%m/%d/%Y"),
        (["1.2.2026", "28.2.2026"], "%d.%m.%Y"),
        (["31-Jan-26", "28-Feb-26"], "%d-%b-%y"),
    ],
)
def test_format_of_dates_is_found(values: list[str], form: str | None) -> None:
    field = guessed(values).field
    assert field is not None
    assert field.format == form


def test_ambiguous_dates_are_read_by_the_part_that_varies_and_told() -> None:
    monthly = guessed([f"{month:02d}/01/2026" for month in range(1, 13)])
    assert monthly.field is not None
    assert monthly.field.format == "%m/%d/%Y"
    assert monthly.suspicions == ("dates are read as %m/%d/%Y, though %d/%m/%Y fits every row too",)


def test_time_zones_are_declared() -> None:
    aware, naive = (
        guessed(["2026-01-31T10:00Z", "2026-02-01T10:00+01:00"]),
        guessed(["2026-01-31 10:00"] * 2, missing=1),
    )
    assert aware.field is not None
    assert naive.field is not None
    assert (aware.field.time_zone, naive.field.time_zone) == (True, False)


@pytest.mark.parametrize(
    ("values", "name", "reason"),
    [
        (["a", "a"], "x", "it is constant"),
        ([], "x", "it has no value in any row"),
        (["a", "b"], "", "it has no name"),
        (["5", "6", "7"], "x", "it is an identifier: a whole number of its own in each row"),
        (["50", "16", "7"], "customer_id", "it is an identifier: a whole number of its own in each row"),
        ([f"v{n}" for n in range(99)], "x", "it has 99 distinct texts in 99 rows: an identifier, a name or text"),
        (
            [*map(str, range(0, 4000, 7)), "?", "?"],
            "x",
            "it has numbers and 2 other cells ('?'); leave these empty, or correct them",
        ),
        (
            ["1,234", "5,678", "12"],
            "x",
            "its numbers have separators or decimal commas; see --decimal, --thousands",
        ),
        (
            ["1\u202f500", "2\u00a0500", "12"],
            "x",
            "its numbers have separators or decimal commas; see --decimal, --thousands",
        ),
        (
            ["1,5", "2,25"],
            "x",
            "its numbers have separators or decimal commas; see --decimal, --thousands",
        ),
        (["2026-01-31", "31/01/2026"], "x", "its dates are written in more than one format; write them in one"),
        (
            ["2026-01-31T10:00Z", "2026-01-31T10:00"],
            "x",
            "some of its times have a time zone and others have none",
        ),
    ],
)
def test_what_no_model_can_use_is_left_out_with_the_reason(values: list[str], name: str, reason: str) -> None:
    assert guessed(values, name) == Guess(None, reason)


def test_evidence_tells_missing_values_and_none_of_the_data() -> None:
    found = guessed(["secret", "other", "secret"], missing=1)
    assert found.evidence == "2 levels; 1 of 4 missing"


@pytest.mark.parametrize(
    ("values", "suspicion"),
    [
        (["a", "NULL", "a"], "'NULL' may stand for a missing value; an empty cell does"),
        (["a", "A", "a"], "some of its levels differ in case only"),
        (["007", "008", "007"], "its numbers begin with zeros: they are taken as codes, and sent as text"),
        ([f"v{n}" for n in range(101)] * 5, "it has 101 levels; those of few rows count as one"),
        (["9", "4", "7"], "every row has a whole number of its own: if that is an identifier, delete its line"),
    ],
)
def test_what_looks_strange_is_told(values: list[str], suspicion: str) -> None:
    assert guessed(values).suspicions == (suspicion,)


@pytest.mark.parametrize(
    ("values", "missing", "fault"),
    [
        (["1", "2"], 1, "1 of 3 rows have no value; remove these rows"),
        (
            ["1,5", "2"],
            0,
            "its numbers have separators or decimal commas; see --decimal, --thousands",
        ),
        (["5", "5"], 0, "it is constant: there is nothing to predict"),
        (["007", "7"], 0, ONE_NUMBER),
        (["9007199254740993", "9007199254740992"], 0, ONE_NUMBER),
        (["1.5", "-2"], 0, None),
    ],
)
def test_target_that_cannot_be_predicted_is_refused(values: list[str], missing: int, fault: str | None) -> None:
    assert infer_target(Column("y", Counter(values), len(values) + missing)).fault == (fault or "")


def test_sentences_are_texts_of_bounded_length() -> None:
    found = guessed([f"the waiter brought a cold soup for the {n} th time" for n in range(80)], missing=20)
    assert found.field is not None
    assert (found.field.kind, found.field.max_length) == ("text", 10_000)
    assert found.evidence == "free text of up to 49 characters, 10,000 are accepted; 20 of 100 missing"


@pytest.mark.parametrize(("longest", "bound"), [(4000, 10_000), (6000, 25_000), (50_000, 100_000), (60_000, 120_000)])
def test_text_may_be_twice_as_long_as_the_longest_of_training(longest: int, bound: int) -> None:
    found = guessed([*(f"the waiter brought the {n} th soup" for n in range(80)), "long text " * (longest // 10)])
    assert found.field is not None
    assert found.field.max_length == bound


@pytest.mark.parametrize(
    ("values", "classes"),
    [
        (["stays", "leaves", "stays"], ("leaves", "stays")),
        (["0", "1", "1"], (0, 1)),
        (["-1", "1", "1"], (-1, 1)),
        (["0", "1", "2", "2"], (0, 1, 2)),
        (["True", "False", "true"], (False, True)),
        (["yes", "no", "no"], ("no", "yes")),
        (["3", "4", "5", "8"], ()),
        (["1.5", "2.5", "3"], ()),
    ],
)
def test_kind_of_the_target(values: list[str], classes: tuple[object, ...]) -> None:
    found = infer_target(Column("y", Counter(values), len(values)))
    assert not found.fault
    assert found.classes == classes
    assert [type(one) for one in found.classes] == [type(one) for one in classes]


@pytest.mark.parametrize(
    ("counts", "positive", "reason"),
    [
        ({"Yes": 70, "no": 30}, "Yes", "of Yes and no it is the affirmative one"),
        ({"T": 70, "F": 30}, "T", "of F and T it is the affirmative one"),
        ({"true": 70, "FALSE": 30}, True, "of False and True it is the affirmative one"),
        ({"1.0": 70, "-1": 30}, 1, "of -1 and 1 it is the affirmative one"),
        ({"neg": 20, "pos": 80}, "pos", "of neg and pos it is the affirmative one"),
        ({"leaves": 30, "stays": 70}, "leaves", "it is the rarer one, in 30% of the rows"),
        ({"1": 70, "2.0": 30}, 2, "it is the rarer one, in 30% of the rows"),
        ({"down": 50, "up": 50}, "up", "it is the last one; both have as many rows"),
        ({"a": 30, "b": 30, "c": 30}, None, ""),
    ],
)
def test_positive_class_is_the_affirmative_or_the_rarer_one(
    counts: dict[str, int], positive: object, reason: str
) -> None:
    found = infer_target(Column("y", counts, sum(counts.values())))
    assert (found.positive, found.reason) == (positive, reason)
    assert type(found.positive) is type(positive)


def test_classes_that_differ_in_case_or_blanks_are_told_with_the_line_that_merges_them() -> None:
    yes_no = Column("y", {"Yes": 40, "YES": 30, "yes": 20, "no": 60, "No": 50}, 200)
    assert infer_target(yes_no).suspicions[1] == (
        "'no', 'No' differ in case or blanks only and are 2 classes; to make one of them, write "
        'classes=("no", "Yes") in fields.py and train again'
    )
    blanks = Column("y", {"too  late": 40, "Too late": 30, "early": 20, "in time": 20}, 110)
    assert 'write classes=("early", "in time", "too  late") in' in infer_target(blanks).suspicions[1]
    assert infer_target(Column("y", {"a": 20, "A": 20}, 40)).suspicions[1:] == (
        "'A', 'a' differ in case or blanks only and are 2 classes",
    )


def test_kind_of_the_target_may_be_told() -> None:
    column = Column("y", {"3": 50, "4": 60, "5": 4}, 114)
    assert infer_target(column).suspicions == ("its 3 whole numbers look like classes; they are predicted as numbers",)
    told = infer_target(column, "class")
    assert told.classes == (3, 4, 5)
    assert "'5' has fewer than 10 rows" in told.suspicions[1]
    assert infer_target(Column("y", {"0": 5, "1": 6}, 11), "number").classes == ()
    assert "leave out --target-kind number" in infer_target(Column("y", {"a": 5, "b": 6}, 11), "number").fault
    assert "a class has at most 50" in infer_target(Column("y", {f"text {n}": 1 for n in range(60)}, 60)).fault


@pytest.mark.parametrize(
    ("name", "words"),
    [("GrLivArea", "Gr liv area"), ("total_area", "Total area"), ("is.promo", "Is promo"), ("VIN", "VIN"), ("#", "#")],
)
def test_description_is_the_name_in_words(name: str, words: str) -> None:
    assert describe(name) == words
