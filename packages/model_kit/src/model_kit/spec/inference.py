"""What a column of texts is likely to be: kind, format, evidence, and what looks suspicious. Nothing is learned here.

A column is judged by its distinct texts. The rules prefer leaving a column out, with the reason, to a field that
would mislead a model; every guess is one line of generated code that can be corrected.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Any, Final, Literal

from model_kit.spec.fields import MAX_LENGTH, ClassValue, Field, Kind, folded_class

#: Formats of dates, then of times of the day behind them, as :func:`datetime.strptime` has them.
DATE_FORMATS: Final = (
    "%d/%m/%Y",
    "%m/%d/%Y",
    "%Y/%m/%d",
    "%d.%m.%Y",
    "%d-%m-%Y",
    "%m-%d-%Y",
    "%d/%m/%y",
    "%m/%d/%y",
    "%d.%m.%y",
    "%d %b %Y",
    "%d-%b-%Y",
    "%d-%b-%y",
    "%b %d, %Y",
    "%B %d, %Y",
    "%d %B %Y",
)
TIME_FORMATS: Final = ("%H:%M", "%H:%M:%S", "%I:%M %p", "%I:%M:%S %p")
#: Texts of a boolean; "0" and "1" are among them.
BOOLEANS: Final = frozenset({"true", "false", "yes", "no", "0", "1"})
#: Texts that say "missing" in other programs, but are values to this one.
NULL_LIKE: Final = frozenset({"null", "none", "nan", "n/a", "na", "-", "--", "?", ".", "#n/a", "unknown", "missing"})
#: A category has at most this share of distinct values, beyond ``FEW_LEVELS``; more are names or free text.
MOST_DISTINCT: Final = 0.5
FEW_LEVELS: Final = 50
#: More levels than this are worth a remark.
MANY_LEVELS: Final = 100
#: Characters on average, and blanks, from which on a text is free text and no level.
LONG_TEXT: Final = 40
#: A target of at most so many whole numbers looks like classes.
CLASSES: Final = 10
#: Most classes that are inferred, and rows below which one has too few.
MOST_CLASSES: Final = 50
FEW_ROWS: Final = 10
#: Blanks in a text that is a sentence.
SENTENCE: Final = 3
#: Lengths that a text may be bounded by.
MAX_LENGTHS: Final = (MAX_LENGTH, 25_000, 50_000, 100_000)
#: Texts of two classes, in lower case, of which the first is the positive one whatever the rows say.
OPPOSITES: Final = (
    ("yes", "no"),
    ("true", "false"),
    ("1", "0"),
    ("1", "-1"),
    ("y", "n"),
    ("t", "f"),
    ("positive", "negative"),
    ("pos", "neg"),
)
#: Cells that are no numbers, at most, of a column that is called numeric but for these.
STRAY: Final = 0.05

_ISO_DATE: Final = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
_ISO_DATETIME: Final = re.compile(
    r"\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}(:\d{2}([.,]\d{1,9})?)?\s?(?P<zone>Z|[+-]\d{2}:?\d{2})?", re.ASCII | re.IGNORECASE
)
_NUMBER: Final = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_LOCAL_NUMBERS: Final = "its numbers have separators or decimal commas; see --decimal, --thousands"
_SEPARATED: Final = re.compile(r"[+-]?\d{1,3}([.,' \u00a0\u2009\u202f]\d{3})+([.,]\d+)?|[+-]?\d+,\d+", re.ASCII)
_LEADING_ZERO: Final = re.compile(r"0\d+", re.ASCII)
_IDENTIFIER_NAME: Final = re.compile(r"(^|.*[_\s.-])(id|uuid|guid|key|index|idx|nr|no|number)|unnamed: 0", re.ASCII)
#: Values that a format is tried on before it is tried on all.
_PROBE: Final = 50


@dataclass(frozen=True, slots=True)
class Column:
    """A column as a file has it.

    Attributes:
        name: from the header.
        counts: text without blanks around it -> number of rows, without missing values.
        n_rows: number of rows, with and without a value.
        consecutive: the values are whole numbers, each one more than the one before.
    """

    name: str
    counts: Mapping[str, int]
    n_rows: int
    consecutive: bool = False

    @property
    def n_missing(self) -> int:
        """Rows without a value."""
        return self.n_rows - sum(self.counts.values())


@dataclass(frozen=True, slots=True)
class Guess:
    """What a column is taken for.

    Attributes:
        field: the declaration; ``None`` if the column is left out.
        evidence: what the guess rests on, without any value of the data; or why the column is left out.
        suspicions: what a person should look at.
    """

    field: Field | None
    evidence: str
    suspicions: tuple[str, ...] = ()


def infer_field(column: Column) -> Guess:
    """What a column of a training file is."""
    if not column.counts:
        return Guess(None, "it has no value in any row")
    if not column.name.strip():
        return Guess(None, "it has no name")
    if len(column.counts) == 1 and not column.n_missing:
        return Guess(None, "it is constant")
    texts = tuple(column.counts)
    missing = f"{column.n_missing:,} of {column.n_rows:,} missing" if column.n_missing else "none missing"
    if len(texts) > 1 and all(text.lower() in BOOLEANS for text in texts):
        return _guess(column, "boolean", f"spelled in {len(texts)} ways; {missing}")
    if all(_NUMBER.fullmatch(text) for text in texts):
        return _number(column, texts, missing)
    if (guess := _date(column, texts, missing)) is not None:
        return guess
    return _text(column, texts, missing)


def _guess(
    column: Column,
    kind: Kind,
    evidence: str,
    suspicions: Sequence[str] = (),
    *,
    date_format: str | None = None,
    time_zone: bool = False,
) -> Guess:
    field = Field(column.name, kind, describe(column.name), format=date_format, time_zone=time_zone)
    return Guess(field, evidence, tuple(suspicions))


def describe(name: str) -> str:
    """A name as a description: ``GrLivArea`` -> "Gr liv area", ``total_area`` -> "Total area"."""
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", re.sub(r"[\s_.]+", " ", name)).strip()
    words = " ".join(word if word.isupper() else word.lower() for word in words.split(" "))
    return words[:1].upper() + words[1:] or name


def _number(column: Column, texts: Sequence[str], missing: str) -> Guess:
    whole = all(float(text).is_integer() for text in texts)
    distinct = len(texts) == column.n_rows
    if whole and distinct and (column.consecutive or _IDENTIFIER_NAME.fullmatch(column.name.lower())):
        return Guess(None, "it is an identifier: a whole number of its own in each row")
    if whole and any(_LEADING_ZERO.fullmatch(text) for text in texts):
        return _text(column, texts, missing, codes=True)
    suspicions = []
    if distinct and whole:
        suspicions.append("every row has a whole number of its own: if that is an identifier, delete its line")
    numbers = "whole numbers" if whole else "numbers"
    return _guess(column, "integer" if whole else "number", f"{numbers}; {missing}", suspicions)


def _date(column: Column, texts: Sequence[str], missing: str) -> Guess | None:
    if all(_ISO_DATE.fullmatch(text) for text in texts):
        return _guess(column, "date", f"ISO 8601; {missing}") if _fits("%Y-%m-%d", texts) else None
    zones = [match.group("zone") if (match := _ISO_DATETIME.fullmatch(text)) else "no date" for text in texts]
    if "no date" not in zones:
        if any(zones) and not all(zones):
            return Guess(None, "some of its times have a time zone and others have none")
        zone = "with a time zone" if all(zones) else "without a time zone"
        return _guess(column, "datetime", f"ISO 8601, {zone}; {missing}", time_zone=all(zones))
    dates = [form for form in DATE_FORMATS if _fits(form, texts)]
    times = [f"{form} {time}" for form in DATE_FORMATS for time in TIME_FORMATS if _fits(f"{form} {time}", texts)]
    kind: Kind = "date" if dates else "datetime"
    fitting = dates or times
    if fitting:
        # Where days and months can be told apart by nothing else, a file of one date a month has the same day in all.
        form = min(fitting, key=lambda form: len({datetime.strptime(text, form).day for text in texts}))  # noqa: DTZ007
        others = " or ".join(other for other in fitting if other != form)
        doubt = [f"dates are read as {form}, though {others} fits every row too"] if others else []
        return _guess(column, kind, f"dates as {form}; {missing}", doubt, date_format=form)
    everything = ("%Y-%m-%d", *DATE_FORMATS)
    if all(any(_parses(form, text) for form in everything) for text in islice(texts, _PROBE)) and all(
        any(_parses(form, text) for form in everything) for text in texts
    ):
        return Guess(None, "its dates are written in more than one format; write them in one")
    return None


def _fits(form: str, texts: Sequence[str]) -> bool:
    return all(_parses(form, text) for text in texts)


def _parses(form: str, text: str) -> bool:
    try:
        datetime.strptime(text, form)  # noqa: DTZ007 - a date or a naive time
    except ValueError:
        return False
    return True


def _text(column: Column, texts: Sequence[str], missing: str, *, codes: bool = False) -> Guess:
    n_present = sum(column.counts.values())
    strays = [text for text in texts if not _NUMBER.fullmatch(text)]
    n_stray = sum(column.counts[text] for text in strays)
    if strays and n_stray <= STRAY * n_present and len(texts) - len(strays) > CLASSES:
        shown = ", ".join(repr(text[:20]) for text in strays[:3])
        return Guess(None, f"it has numbers and {n_stray:,} other cells ({shown}); leave these empty, or correct them")
    if all(_NUMBER.fullmatch(text) or _SEPARATED.fullmatch(text) for text in texts) and strays:
        return Guess(
            None,
            _LOCAL_NUMBERS,
        )
    average = sum(len(text) * count for text, count in column.counts.items()) / n_present
    if len(texts) > FEW_LEVELS and len(texts) > MOST_DISTINCT * n_present:
        if average > LONG_TEXT or _has_words(texts):
            return _free_text(column, texts, missing)
        return Guess(None, f"it has {len(texts):,} distinct texts in {n_present:,} rows: an identifier, a name or text")
    if average > LONG_TEXT and len(texts) > FEW_LEVELS:
        return _free_text(column, texts, missing)
    suspicions = []
    if codes:
        suspicions.append("its numbers begin with zeros: they are taken as codes, and sent as text")
    if len(texts) > MANY_LEVELS:
        suspicions.append(f"it has {len(texts):,} levels; those of few rows count as one")
    if nulls := sorted({text for text in texts if text.lower() in NULL_LIKE}):
        suspicions.append(f"{', '.join(map(repr, nulls))} may stand for a missing value; an empty cell does")
    if len({text.casefold() for text in texts}) < len(texts):
        suspicions.append("some of its levels differ in case only")
    levels = f"{len(texts):,} {'level' if len(texts) == 1 else 'levels'}"
    return _guess(column, "category", f"{levels}; {missing}", suspicions)


def _has_words(texts: Sequence[str]) -> bool:
    """Whether most texts are of several words, as sentences are, and names are not."""
    return sum(text.count(" ") >= SENTENCE for text in texts) > len(texts) / 2


def _free_text(column: Column, texts: Sequence[str], missing: str) -> Guess:
    longest = max(map(len, texts))
    field = text_field(column.name, longest)
    evidence = f"free text of up to {longest:,} characters, {field.max_length:,} are accepted; {missing}"
    return Guess(field, evidence)


def text_field(name: str, longest: int) -> Field:
    """A field of texts of up to ``longest`` characters in training, and at least twice that in requests."""
    bound = next((one for one in MAX_LENGTHS if one >= 2 * longest), 2 * longest)
    return Field(name, "text", describe(name), max_length=bound)


@dataclass(frozen=True, slots=True)
class TargetGuess:
    """What a target's column is taken for.

    Attributes:
        fault: why it cannot be a target; empty if it can.
        classes: what is predicted one of; empty of a number.
        positive: of two classes, what rates and threshold are about.
        reason: why that one.
        suspicions: what a person should look at.
    """

    fault: str = ""
    classes: tuple[ClassValue, ...] = ()
    positive: ClassValue | None = None
    reason: str = ""
    suspicions: tuple[str, ...] = ()


def infer_target(
    column: Column, kind: Literal["number", "class"] | None = None, *, are_texts: bool = False
) -> TargetGuess:
    """Whether a column holds a number or a class.

    Texts and two whole numbers are classes, and a few whole numbers from 0 on, one after the other; others are numbers.

    Args:
        column: of the training file.
        kind: what it is, if that is known.
        are_texts: texts that look like numbers are none, so that "01" and "1" are two classes.
    """
    texts = tuple(column.counts)
    if column.n_missing:
        return TargetGuess(f"{column.n_missing:,} of {column.n_rows:,} rows have no value; remove these rows")
    if len(texts) == 1:
        return TargetGuess("it is constant: there is nothing to predict")
    are_numbers = not are_texts and all(_NUMBER.fullmatch(text) for text in texts)
    if are_numbers and len({float(text) for text in texts}) == 1:
        ways = f"{len(texts)} spellings of one number, as far as a float tells them apart"
        return TargetGuess(f"it is constant: it has {ways}; there is nothing to predict")
    if (
        not are_numbers
        and kind != "class"
        and all(_NUMBER.fullmatch(one) or _SEPARATED.fullmatch(one) for one in texts)
    ):
        return TargetGuess(_LOCAL_NUMBERS)
    if not are_numbers and kind == "number":
        return TargetGuess(f"it is no number: it has {len(texts):,} distinct texts; leave out --target-kind number")
    whole = are_numbers and all(float(text).is_integer() for text in texts)
    codes = sorted({int(float(text)) for text in texts}) if whole else []
    like_classes = len(codes) == 2 or (codes and codes == list(range(len(codes))) and len(codes) <= CLASSES)
    if kind == "number" or (kind is None and are_numbers and not like_classes):
        remark = f"its {len(codes)} whole numbers look like classes; they are predicted as numbers"
        return TargetGuess(suspicions=(remark,) if 0 < len(codes) <= CLASSES else ())
    if len(texts) > MOST_CLASSES or (are_numbers and not whole):
        return TargetGuess(
            f"it has {len(texts):,} distinct values; a class has at most {MOST_CLASSES}, and no fractions"
        )
    return _classes(column, texts, codes)


def _classes(column: Column, texts: Sequence[str], codes: Sequence[int]) -> TargetGuess:
    classes: tuple[ClassValue, ...] = tuple(codes) or tuple(sorted(texts))
    if {text.lower() for text in texts} == {"true", "false"}:
        classes = (False, True)
    few = sorted(text for text, count in column.counts.items() if count < FEW_ROWS)
    remarks = [f"{len(classes)} classes" + ("; are they numbers? see --target-kind number" if codes else "")]
    if few:
        remarks.append(f"{', '.join(map(repr, few[:5]))} has fewer than {FEW_ROWS} rows: too few to learn and to judge")
    if not codes and (remark := _same_but_for_spelling(column, classes)):
        remarks.append(remark)
    if len(classes) > 2:
        return TargetGuess(classes=classes, suspicions=tuple(remarks))
    counts = dict.fromkeys(classes, 0)
    for text, count in column.counts.items():
        counts[text if text in counts else int(float(text)) if codes else text.lower() == "true"] += count
    positive, reason = _positive(counts)
    return TargetGuess(classes=classes, positive=positive, reason=reason, suspicions=tuple(remarks))


def _same_but_for_spelling(column: Column, classes: Sequence[ClassValue]) -> str:
    """Which classes differ in case or blanks only, and what makes one of them; empty if none do."""
    spellings: dict[str, list[str]] = {}
    for text in sorted(column.counts, key=lambda text: (-column.counts[text], text)):
        spellings.setdefault(folded_class(text), []).append(text)
    if len(spellings) == len(classes):
        return ""
    same = next(found for found in spellings.values() if len(found) > 1)
    remark = f"{', '.join(map(repr, same))} differ in case or blanks only and are {len(same)} classes"
    if len(spellings) == 1:
        return remark
    # The positive one of two is the last where nothing else is declared.
    merged = {found[0]: sum(map(column.counts.__getitem__, found)) for found in spellings.values()}
    last = _positive(merged)[0] if len(merged) == 2 else None
    listed = ", ".join(
        json.dumps(one, ensure_ascii=False) for one in sorted(merged, key=lambda one: (one == last, one))
    )
    return f"{remark}; to make one of them, write classes=({listed}) in fields.py and train again"


def _positive(counts: Mapping[Any, int]) -> tuple[Any, str]:
    """Which of two classes is the positive one, and why."""
    first, last = counts
    by_text = {str(one).lower(): one for one in counts}
    for yes, no in OPPOSITES:
        if by_text.keys() == {yes, no}:
            return by_text[yes], f"of {first} and {last} it is the affirmative one"
    rarer = first if counts[first] < counts[last] else last
    if counts[first] == counts[last]:
        return last, "it is the last one; both have as many rows"
    return rarer, f"it is the rarer one, in {counts[rarer] / sum(counts.values()):.0%} of the rows"
