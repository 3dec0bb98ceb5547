"""Compares what a shadow predicts with what was answered: whether they agree, where not, and which is better."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from statistics import NormalDist
from typing import Any

from sqlalchemy import Select, select

from ml_api.prediction_log.database import Database
from ml_api.prediction_log.report import FEW, SMALLEST, TableText, finite, number, render_html, render_text, utc, wilson
from ml_api.prediction_log.retention import since, stream
from ml_api.prediction_log.schema import outcomes, predictions, shadow_predictions

#: Two numbers agree if they differ by at most this share of the one that was answered.
TOLERANCE = 0.01
#: Rows of a comparison that are kept for groups and for the distribution of differences, chosen at random.
SAMPLE = 20_000
#: Groups of a number's values, and groups that are shown.
QUARTERS, SHOWN = 4, 10
#: Distinct values of a field up to which each is a group.
MAX_VALUES = 50
#: Requests with outcomes below which nothing is said about which is better.
ENOUGH = 30
#: Quantiles of the differences.
QUANTILES = (0.5, 0.9, 0.99)

BETTER, WORSE, UNKNOWN = "better", "worse", "not yet known"


@dataclass
class PairedDifference:
    """The mean difference of two losses on the same rows, with its 95 % interval.

    Rows of one request may be about one thing, so their differences are summed by request, and the interval is that of
    a ratio of means over requests (the cluster-robust standard error, with Student's t).

    Attributes:
        loss: what is compared: ``absolute error``, ``squared log error`` or ``log loss``.
    """

    loss: str
    rows: int = 0
    requests: int = 0
    served: float = 0.0
    candidate: float = 0.0
    _request: str | None = None
    _sum: float = 0.0
    _size: int = 0
    _squares: list[float] = field(default_factory=lambda: [0.0, 0.0, 0.0])

    def add(self, request: str, served: float, candidate: float) -> None:
        """Add the losses of a row; the rows of a request must come together."""
        if request != self._request:
            self._end_request()
            self._request = request
        self.rows += 1
        self.served += served
        self.candidate += candidate
        self._sum += candidate - served
        self._size += 1

    def _end_request(self) -> None:
        if self._size:
            self.requests += 1
            for position, product in enumerate((self._sum**2, self._sum * self._size, self._size**2)):
                self._squares[position] += product
        self._sum, self._size = 0.0, 0

    def made(self) -> dict[str, Any]:
        """Return the means, their difference (candidate - served), its interval, and the verdict."""
        self._end_request()
        n = self.rows
        difference = (self.candidate - self.served) / n
        found: dict[str, Any] = {
            "loss": self.loss,
            "rows": self.rows,
            "requests": self.requests,
            "served": self.served / n,
            "candidate": self.candidate / n,
            "difference": difference,
            "low": None,
            "high": None,
            "verdict": UNKNOWN,
            "requests_needed": None,
        }
        if self.requests < 2:
            return found
        own, mixed, sizes = self._squares
        variance = max(own - 2 * difference * mixed + difference**2 * sizes, 0.0) / n**2
        variance *= self.requests / (self.requests - 1)
        half = student_t(self.requests - 1) * math.sqrt(variance)
        found |= {"low": difference - half, "high": difference + half}
        if self.requests >= ENOUGH:
            found["verdict"] = BETTER if found["high"] < 0 else WORSE if found["low"] > 0 else UNKNOWN
        if found["verdict"] == UNKNOWN and difference:
            found["requests_needed"] = max(ENOUGH, math.ceil(self.requests * (half / difference) ** 2))
        return found


def student_t(freedom: int) -> float:
    """Return the .975 quantile of Student's t distribution (Cornish-Fisher expansion, Abramowitz and Stegun 26.7.5)."""
    z = 1.959963984540054
    if freedom == 1:
        return 12.706204736432095
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return float(z + sum(term / freedom**power for power, term in enumerate(terms, 1)))


class _Comparison:
    """One version beside its shadow."""

    def __init__(self, tolerance: float) -> None:
        self._tolerance, self._is_class = tolerance, False
        self.rows = self.agreeing = self.served_only = self.candidate_only = self.neither = 0
        self._differences: list[float] = []
        self._sum = 0.0
        self._pairs: dict[tuple[str, str], int] = {}
        self._sample: list[tuple[dict[str, Any], bool]] = []
        # Differences of the sample are those of the same rows each time that the report is made.
        self._random = random.Random(20240)  # noqa: S311  it keeps no secret
        self._absolute = PairedDifference("absolute error")
        self._logarithmic = PairedDifference("squared log error")
        self._log_loss = PairedDifference("log loss")
        #: Whether there are logarithms of all numbers.
        self._is_positive = True

    def add(self, row: Any) -> None:
        """Add a row of the query."""
        served, candidate = _Prediction(row.prediction, row.detail), _Prediction(row.shadow, row.shadow_detail)
        if not (served.is_there and candidate.is_there):
            self.served_only += served.is_there
            self.candidate_only += candidate.is_there
            self.neither += not (served.is_there or candidate.is_there)
            return
        self.rows += 1
        self._is_class = row.prediction is None
        if self._is_class:
            agrees = served.label == candidate.label
            difference = max(abs(candidate.share(name) - share) for name, share in served.probabilities.items())
            if not agrees:
                pair = served.label, candidate.label
                self._pairs[pair] = self._pairs.get(pair, 0) + 1
        else:
            difference = _relative(served.number, candidate.number)
            agrees = abs(difference) <= self._tolerance
        self.agreeing += agrees
        self._sum += difference
        self._keep(difference, json.loads(row.inputs) if row.inputs else {}, agrees=agrees)
        if row.value is not None:
            self._add_losses(row.prediction_id, served, candidate, json.loads(row.value))

    def _keep(self, difference: float, inputs: dict[str, Any], *, agrees: bool) -> None:
        """Keep a row, or one in its place, so that each has the same chance."""
        position = len(self._sample) if self.rows <= SAMPLE else self._random.randrange(self.rows)
        if position == len(self._sample):
            self._sample.append((inputs, agrees))
            self._differences.append(abs(difference))
        elif position < SAMPLE:
            self._sample[position], self._differences[position] = (inputs, agrees), abs(difference)

    def _add_losses(self, request: str, served: _Prediction, candidate: _Prediction, outcome: Any) -> None:
        if self._is_class:
            true = _key(outcome)
            losses = (-math.log(max(one.share(true), SMALLEST)) for one in (served, candidate))
            self._log_loss.add(request, *losses)
            return
        numbers = served.number, candidate.number
        self._absolute.add(request, *(abs(one - outcome) for one in numbers))
        self._is_positive = self._is_positive and min(*numbers, outcome) > 0
        if self._is_positive:
            self._logarithmic.add(request, *(math.log(one / outcome) ** 2 for one in numbers))

    def made(self) -> dict[str, Any]:
        """Return the figures, as JSON values."""
        ordered = sorted(self._differences)
        low, high = wilson(self.agreeing, self.rows) if self.rows else (None, None)
        pairs = sorted(self._pairs.items(), key=lambda item: (-item[1], item[0]))
        losses = [self._absolute, self._log_loss]
        if self._is_positive:
            losses.insert(1, self._logarithmic)
        return {
            "is_class": self._is_class,
            "rows": self.rows,
            "agreeing": self.agreeing,
            "agreement": self.agreeing / self.rows if self.rows else None,
            "agreement_low": low,
            "agreement_high": high,
            "served_only": self.served_only,
            "candidate_only": self.candidate_only,
            "neither": self.neither,
            "mean_difference": None if self._is_class or not self.rows else finite(self._sum / self.rows),
            "differences": {
                str(share): finite(ordered[min(int(share * len(ordered)), len(ordered) - 1)])
                for share in QUANTILES
                if ordered
            },
            "disagreements": [
                {"served": served, "candidate": candidate, "rows": n} for (served, candidate), n in pairs[:SHOWN]
            ],
            "groups": self._groups(),
            "losses": [loss.made() for loss in losses if loss.rows],
        }

    def _groups(self) -> list[dict[str, Any]]:
        """Return the groups in which they surely agree less than overall, the surest first.

        Surely: 95 % that none of all groups is named by chance (Bonferroni).
        """
        overall = sum(not agrees for _, agrees in self._sample) / max(len(self._sample), 1)
        names = sorted({name for inputs, _ in self._sample for name in inputs})
        groups = [
            (name, label, members)
            for name in names
            for label, members in _grouped(
                [(inputs[name], agrees) for inputs, agrees in self._sample if inputs.get(name) is not None]
            )
            if len(members) >= FEW
        ]
        z = NormalDist().inv_cdf(1 - 0.025 / max(len(groups), 1))
        found: list[dict[str, Any]] = []
        for name, label, members in groups:
            apart = sum(not agrees for agrees in members)
            low, high = wilson(apart, len(members), z)
            if apart and low > overall:
                group = {"field": name, "group": label, "rows": len(members), "differing": apart / len(members)}
                found.append(group | {"low": low, "high": high, "overall": overall})
        found.sort(key=lambda group: (-group["low"], group["field"], group["group"]))
        return found[:SHOWN]


class _Prediction:
    """A prediction as the log has it."""

    def __init__(self, value: float | None, detail: str | None) -> None:
        found = json.loads(detail) if detail else {}
        self.is_there = value is not None or "class" in found
        self.number = value if value is not None else math.nan
        self.label = _key(found.get("class"))
        self.probabilities: dict[str, float] = found.get("probabilities", {})

    def share(self, name: str) -> float:
        """The probability of a class; 0 of one that the model does not have."""
        return self.probabilities.get(name, 0.0)


def _key(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _relative(served: float, candidate: float) -> float:
    if served == candidate:
        return 0.0
    return (candidate - served) / abs(served) if served else math.copysign(math.inf, candidate)


def _grouped(values: Sequence[tuple[Any, bool]]) -> Iterator[tuple[str, list[bool]]]:
    """Group the rows by a field: by its values, or by quarters of a number that has many."""
    groups: dict[str, list[bool]] = {}
    numbers = sorted(value for value, _ in values if isinstance(value, int | float) and not isinstance(value, bool))
    if len(numbers) == len(values) and len(set(numbers)) > MAX_VALUES:
        bounds = [numbers[len(numbers) * step // QUARTERS] for step in range(1, QUARTERS)]
        for value, agrees in values:
            position = sum(value >= bound for bound in bounds)
            ends = [numbers[0], *bounds, numbers[-1]]
            groups.setdefault(f"{ends[position]:g} to {ends[position + 1]:g}", []).append(agrees)
    else:
        for value, agrees in values:
            groups.setdefault(_key(value), []).append(agrees)
    yield from groups.items()


def shadow_report(
    database: Database, start: datetime | None, model: str | None = None, tolerance: float = TOLERANCE
) -> dict[str, Any]:
    """Compare, from a time on, what was answered with what the shadows predicted for the same rows.

    Args:
        database: of the log.
        start: ``None``: all.
        model: ``None``: all.
        tolerance: share of the number that was answered up to which another one agrees.

    Returns:
        JSON values: ``since``, ``until``, ``tolerance`` and ``comparisons``, each with ``model``, ``version``,
        ``candidate`` and its figures.
    """
    columns, shadow = predictions.c, shadow_predictions.c
    query: Select[Any] = select(
        columns.prediction_id,
        columns.model,
        columns.version,
        columns.prediction,
        columns.detail,
        columns.inputs,
        shadow.version.label("candidate"),
        shadow.prediction.label("shadow"),
        shadow.detail.label("shadow_detail"),
        outcomes.c.value,
    )
    joined = predictions.join(shadow_predictions).outerjoin(
        outcomes, (outcomes.c.prediction_id == columns.prediction_id) & (outcomes.c.row == columns.row)
    )
    query = since(query.select_from(joined), start, model)
    found: dict[tuple[str, str, str], _Comparison] = {}
    for row in stream(database, query.order_by(*predictions.primary_key, shadow.version)):
        key = row.model, row.version, row.candidate
        if key not in found:
            found[key] = _Comparison(tolerance)
        found[key].add(row)
    return {
        "since": start and utc(start),
        "until": utc(datetime.now(UTC)),
        "tolerance": tolerance,
        "comparisons": [
            {"model": key[0], "version": key[1], "candidate": key[2]} | comparison.made()
            for key, comparison in sorted(found.items())
        ],
    }


def tables(document: dict[str, Any]) -> Iterator[TableText]:
    """Return the report as tables."""
    for one in document["comparisons"]:
        title = f"{one['model']}: {one['version']} answered, {one['candidate']} is the shadow"
        yield title, ["rows", "agree", "predicted by one only", "differences"], [_agreement(one)]
        if one["losses"]:
            heads = ["loss", "rows, requests", "answered", "shadow", "difference, 95 % interval", "the shadow is"]
            yield f"Against outcomes, of {one['candidate']}", heads, [_loss(loss) for loss in one["losses"]]
        if one["disagreements"]:
            rows = [[pair["served"], pair["candidate"], f"{pair['rows']:,}"] for pair in one["disagreements"]]
            yield "Classes that differ", ["answered", "shadow", "rows"], rows
        if one["groups"]:
            rows = [
                [group["field"], group["group"], f"{group['rows']:,}", f"{group['differing']:.1%}"]
                for group in one["groups"]
            ]
            overall = f"{one['groups'][0]['overall']:.1%}"
            yield f"Where they differ more than in all rows ({overall})", ["field", "group", "rows", "differ"], rows


def _agreement(one: dict[str, Any]) -> list[str]:
    share = ""
    if one["agreement"] is not None:
        share = f"{one['agreement']:.1%} ({one['agreement_low']:.1%} to {one['agreement_high']:.1%})"
    sides = f"{one['served_only']:,} answered, {one['candidate_only']:,} shadow"
    found = [
        f"{float(level):.0%}: {'infinite' if value is None else f'{value:.2%}'}"
        for level, value in one["differences"].items()
    ]
    return [f"{one['rows']:,}", share, sides, ", ".join(found)]


def _loss(loss: dict[str, Any]) -> list[str]:
    counts = f"{loss['rows']:,}, {loss['requests']:,}"
    if loss["low"] is None:
        return [loss["loss"], counts, number(loss["served"]), number(loss["candidate"]), "", loss["verdict"]]
    interval = f"{number(loss['difference'])} ({number(loss['low'])} to {number(loss['high'])})"
    verdict = loss["verdict"]
    if loss["requests_needed"]:
        verdict += f"; about {loss['requests_needed']:,} requests would tell a difference of this size"
    return [loss["loss"], counts, number(loss["served"]), number(loss["candidate"]), interval, verdict]


#: Said of a report without rows.
EMPTY = "No prediction of a shadow is in the log (SHADOW_MODELS, docs/shadow.md)."


def _frame(document: dict[str, Any]) -> tuple[str, list[TableText], list[str]]:
    agree = (
        f"Agree: within {document['tolerance']:.1%} of what was answered, or the same class. Differences: quantiles, "
        "as shares of what was answered; of classes, of the largest change of a probability."
    )
    better = (
        f"Better or worse: the 95 % interval of the paired difference is on one side of 0, with {ENOUGH} requests or "
        "more. Asked again and again, one of twenty such verdicts on equal versions is wrong."
    )
    heading = f"Shadows from {document['since'] or 'the beginning'} to {document['until']}"
    return heading, list(tables(document)), [agree, better]


def as_text(document: dict[str, Any]) -> str:
    """Return the report for a terminal."""
    return render_text(*_frame(document), EMPTY)


def as_html(document: dict[str, Any]) -> str:
    """Return the report as one HTML file."""
    return render_html("Shadows", *_frame(document), EMPTY)
