"""From a URL's query to values, each refused by its name."""

from __future__ import annotations

import re
from dataclasses import dataclass

from werkzeug.datastructures import MultiDict
from werkzeug.exceptions import BadRequest

#: Records of one sample: enough to try a batch, little enough to be looked at.
MAX_SAMPLE = 100
DEFAULT_SAMPLE = 5
MAX_SEED = 2**32 - 1


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


def _whole(query: MultiDict[str, str], name: str, low: int, high: int) -> int | None:
    given = query.getlist(name)
    if not given:
        return None
    if len(given) > 1:
        raise BadRequest(f"The query parameter {name} is given {len(given)} times; it can be given once.")
    (text,) = given
    if not re.fullmatch(r"[0-9]{1,10}", text) or not low <= int(text) <= high:
        raise BadRequest(f"The query parameter {name} must be a whole number from {low} to {high}.")
    return int(text)
