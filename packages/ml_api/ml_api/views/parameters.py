"""From a URL's query to values, each refused by its name."""

from __future__ import annotations

import re
from dataclasses import dataclass

from model_kit.scoring.intervals import BEYOND, HIGHEST, LOWEST
from werkzeug.datastructures import MultiDict
from werkzeug.exceptions import BadRequest

#: Records of one sample: enough to try a batch, little enough to be looked at.
MAX_SAMPLE = 100
DEFAULT_SAMPLE = 5
MAX_SEED = 2**32 - 1
#: Contributions of one explanation: more than anybody reads.
MAX_CONTRIBUTIONS = 50
#: What a prediction takes.
DETAILS = ("interval", "explain", "warnings")
#: Characters of an unknown parameter's name that are repeated.
_LONGEST_NAME = 60


@dataclass(frozen=True, slots=True)
class Sample:
    """What is asked of a sample.

    Attributes:
        n: how many records.
        seed: the same seed gives the same records; ``None`` if it does not matter.
    """

    n: int
    seed: int | None


def sample(query: MultiDict[str, str]) -> Sample:
    """The parameters ``n`` and ``seed``; others are ignored.

    Raises:
        BadRequest: one of them is no whole number in its range, or is given twice.
    """
    n = _whole(query, "n", 1, MAX_SAMPLE)
    return Sample(DEFAULT_SAMPLE if n is None else n, _whole(query, "seed", 0, MAX_SEED))


@dataclass(frozen=True, slots=True)
class Details:
    """What is asked of predictions beside themselves.

    Attributes:
        interval: level of the intervals, ``None`` for none.
        explain: contributions of each explanation, ``None`` for none.
        warnings: whether warnings are wanted.
    """

    interval: float | None = None
    explain: int | None = None
    warnings: bool = False


def details(query: MultiDict[str, str]) -> Details | None:
    """The parameters ``interval``, ``explain`` and ``warnings``; ``None`` if they ask for nothing.

    Raises:
        BadRequest: one is malformed or given twice, or there is no such parameter; the text names it.
    """
    for name in query:
        if name not in DETAILS:
            shown = name if len(name) <= _LONGEST_NAME else f"{name[:_LONGEST_NAME]}..."
            raise BadRequest(f"There is no query parameter {shown!r}; it takes {', '.join(DETAILS)}.")
    found = Details(_level(query), _whole(query, "explain", 1, MAX_CONTRIBUTIONS), _flag(query, "warnings"))
    return None if found == Details() else found


def _level(query: MultiDict[str, str]) -> float | None:
    text = _once(query, "interval")
    if text is None:
        return None
    if not re.fullmatch(r"0?\.[0-9]{1,20}", text) or not LOWEST <= float(text) <= HIGHEST:
        raise BadRequest(f"The query parameter interval must be a decimal number from {LOWEST} to {HIGHEST}; {BEYOND}.")
    return float(text)


def _flag(query: MultiDict[str, str], name: str) -> bool:
    text = _once(query, name)
    if text not in (None, "true", "false"):
        raise BadRequest(f"The query parameter {name} must be true or false.")
    return text == "true"


def _whole(query: MultiDict[str, str], name: str, low: int, high: int) -> int | None:
    text = _once(query, name)
    if text is None:
        return None
    if not re.fullmatch(r"[0-9]{1,10}", text) or not low <= int(text) <= high:
        raise BadRequest(f"The query parameter {name} must be a whole number from {low} to {high}.")
    return int(text)


def _once(query: MultiDict[str, str], name: str) -> str | None:
    given = query.getlist(name)
    if len(given) > 1:
        raise BadRequest(f"The query parameter {name} is given {len(given)} times; it can be given once.")
    return given[0] if given else None
