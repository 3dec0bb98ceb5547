"""Parses and validates query parameters; an error names the parameter."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from model_kit.records.target_classes import ClassReader
from model_kit.scoring.intervals import HIGHEST, LEVELS_REASON, LOWEST
from model_kit.spec import Target
from werkzeug.datastructures import MultiDict
from werkzeug.exceptions import BadRequest

from ml_api.moments import moment

#: Maximum number of records in one sample: enough to try a batch, and few enough to read.
MAX_SAMPLE = 100
DEFAULT_SAMPLE = 5
MAX_SEED = 2**32 - 1
#: Maximum number of contributions in one explanation: more than a person reads.
MAX_CONTRIBUTIONS = 50
#: Parameters of a prediction, and those that there are for a class only.
DETAILS = ("interval", "explain", "against", "warnings")
CLASS_DETAILS = ("probabilities", "class")
#: What explanations compare with: the typical record, or the first one of the request.
FIRST = "first"
AGAINST = ("typical", FIRST)
#: Parameter of a prediction where there is a prediction log: the field with the caller's own id of each record.
ID_FIELD = "id_field"
#: Parameter of a prediction that is answered with a table.
ECHO = "echo"
#: Parameter of outcomes.
REPLACE = "replace"
#: Parameters of the page of live errors, and its window by default.
REPORT = ("since", "model", "by")
DEFAULT_WINDOW = "7d"
#: Parameters of a sample.
SAMPLE = ("n", "seed")
#: Characters of an unknown parameter's name that the error message repeats.
_LONGEST_NAME = 60


@dataclass(frozen=True, slots=True)
class SampleOptions:
    """Options of a sample.

    Attributes:
        n: number of records.
        seed: the same seed gives the same records; ``None`` for a random seed.
    """

    n: int
    seed: int | None


def sample(query: MultiDict[str, str]) -> SampleOptions:
    """Parse the parameters ``n`` and ``seed``.

    Raises:
        BadRequest: a parameter is not an integer within its range, repeated or unknown; the message names it.
    """
    _check_names(query, SAMPLE)
    n = _integer(query, "n", 1, MAX_SAMPLE)
    return SampleOptions(DEFAULT_SAMPLE if n is None else n, _integer(query, "seed", 0, MAX_SEED))


@dataclass(frozen=True, slots=True)
class DetailOptions:
    """Details that are added to predictions.

    Attributes:
        interval: level of the intervals; ``None``: no intervals.
        explain: number of contributions in each explanation; ``None``: no explanations.
        warnings: whether to add warnings.
        probabilities: whether to add the probabilities of the classes.
        of_class: the class, as text, whose probability is explained; ``None``: the predicted one.
        against_first: whether explanations compare with the first record, and not with the typical one.
    """

    interval: float | None = None
    explain: int | None = None
    warnings: bool = False
    probabilities: bool = False
    of_class: str | None = None
    against_first: bool = False


def detail_names(target: Target) -> tuple[str, ...]:
    """Return the names of the parameters that a prediction of ``target`` takes."""
    return (*DETAILS, *(CLASS_DETAILS if target.is_class else ()), ECHO)


def echo(query: MultiDict[str, str]) -> bool:
    """Parse the parameter ``echo``: whether a table that is answered with a table has the columns that were sent.

    Raises:
        BadRequest: it is malformed or repeated.
    """
    return _flag(query, ECHO)


def replace(query: MultiDict[str, str]) -> bool:
    """Parse the parameter of outcomes.

    Raises:
        BadRequest: it is malformed or repeated, or there is another one.
    """
    _check_names(query, (REPLACE,))
    return _flag(query, REPLACE)


@dataclass(frozen=True, slots=True)
class ReportOptions:
    """Options of the page of live errors.

    Attributes:
        since: start of the window.
        model: the model, ``None`` for all.
        by: the fields whose groups are told apart.
    """

    since: datetime
    model: str | None
    by: list[str]


def report(query: MultiDict[str, str]) -> ReportOptions:
    """Parse the parameters of the page of live errors.

    Raises:
        BadRequest: one is malformed, repeated or unknown; the message names it.
    """
    _check_names(query, REPORT)
    try:
        since = moment(_single(query, "since") or DEFAULT_WINDOW)
    except (ValueError, OverflowError) as error:
        raise BadRequest("The query parameter since must be such as 7d, 12h or 30m, or a date.") from error
    by = _single(query, "by")
    return ReportOptions(since, _single(query, "model"), [by] if by else [])


def id_field(query: MultiDict[str, str]) -> str | None:
    """Return the parameter ``id_field``.

    Raises:
        BadRequest: it is repeated.
    """
    return _single(query, ID_FIELD)


def details(query: MultiDict[str, str], target: Target, *others: str) -> DetailOptions | None:
    """Parse the parameters of a prediction of ``target``; returns ``None`` if they request no details.

    Args:
        query: the parameters.
        target: of the model.
        others: names of further parameters that it may have.

    Raises:
        BadRequest: a parameter is malformed, repeated or unknown; the message names it.
    """
    _check_names(query, (*detail_names(target), *others))
    explain = _integer(query, "explain", 1, MAX_CONTRIBUTIONS)
    options = DetailOptions(
        _level(query),
        explain,
        _flag(query, "warnings"),
        _flag(query, "probabilities"),
        _class(query, target, explain),
        _against_first(query, explain),
    )
    return None if options == DetailOptions() else options


def _against_first(query: MultiDict[str, str], explain: int | None) -> bool:
    text = _single(query, "against")
    if text not in (None, *AGAINST):
        raise BadRequest(f"The query parameter against must be {' or '.join(AGAINST)}.")
    if text == FIRST and explain is None:
        raise BadRequest("The query parameter against says what is explained; it needs explain.")
    return text == FIRST


def _class(query: MultiDict[str, str], target: Target, explain: int | None) -> str | None:
    text = _single(query, "class")
    if text is None:
        return None
    position = ClassReader(target)(text)
    if position is None:
        raise BadRequest(f"The query parameter class must be one of {', '.join(target.keys)}.")
    if explain is None:
        raise BadRequest("The query parameter class says whose probability is explained; it needs explain.")
    return target.keys[position]


def _check_names(query: MultiDict[str, str], known: Sequence[str]) -> None:
    for name in query:
        if name not in known:
            shown = name if len(name) <= _LONGEST_NAME else f"{name[:_LONGEST_NAME]}..."
            raise BadRequest(f"There is no query parameter {shown!r}; it takes {', '.join(known)}.")


def _level(query: MultiDict[str, str]) -> float | None:
    text = _single(query, "interval")
    if text is None:
        return None
    if not re.fullmatch(r"0?\.[0-9]{1,20}", text) or not LOWEST <= float(text) <= HIGHEST:
        raise BadRequest(
            f"The query parameter interval must be a decimal number from {LOWEST} to {HIGHEST}; {LEVELS_REASON}."
        )
    return float(text)


def _flag(query: MultiDict[str, str], name: str) -> bool:
    text = _single(query, name)
    if text not in (None, "true", "false"):
        raise BadRequest(f"The query parameter {name} must be true or false.")
    return text == "true"


def _integer(query: MultiDict[str, str], name: str, low: int, high: int) -> int | None:
    text = _single(query, name)
    if text is None:
        return None
    if not re.fullmatch(r"[0-9]{1,10}", text) or not low <= int(text) <= high:
        raise BadRequest(f"The query parameter {name} must be a whole number from {low} to {high}.")
    return int(text)


def _single(query: MultiDict[str, str], name: str) -> str | None:
    given = query.getlist(name)
    if len(given) > 1:
        raise BadRequest(f"The query parameter {name} is given {len(given)} times; it can be given once.")
    return given[0] if given else None
