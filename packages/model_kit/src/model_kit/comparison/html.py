"""Writes a comparison as one HTML file that loads nothing and runs no script; every text is escaped."""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined

from model_kit.comparison import text
from model_kit.comparison.run import Comparison

#: Fields whose groups are shown; JSON has all.
_FIELDS: Final = 12
#: Side and margins of the plot, in its own units.
_SIDES: Final = {"size": 560, "left": 64, "bottom": 44, "top": 12}
#: Labels on an axis, at most.
_TICKS: Final = 5
_SHARES: Final = {
    "median": "median of the size",
    "p90": "90 % of the rows, at most",
    "p99": "99 % of the rows, at most",
    "max": "largest",
    "signed_median": "median with its sign: above 0, the new model says more",
    "share_beyond_1_percent": "rows that differ by more than 1 %",
    "share_beyond_5_percent": "rows that differ by more than 5 %",
    "share_beyond_20_percent": "rows that differ by more than 20 %",
}


def page(comparison: Comparison) -> str:
    """Return the report as an HTML document."""
    document = comparison.document
    differences = document["differences"]
    fields = [entry for entry in document["by_field"] if entry["strength"] > 0][:_FIELDS]
    sizes = [float(group["mean_size"]) for entry in fields for group in entry["groups"]]
    largest = max((size for size in sizes if math.isfinite(size)), default=0.0) or 1.0
    environment = Environment(
        autoescape=True,
        loader=PackageLoader("model_kit", "comparison"),
        trim_blocks=True,
        undefined=StrictUndefined,
    )
    return environment.get_template("report.html.jinja").render(
        document | _SIDES,
        document=document,
        text=text,
        tables=text.tables(document),
        plot=_plot(comparison) if differences else None,
        shares=[(words, text.percent(differences[name])) for name, words in _SHARES.items()] if differences else [],
        fields=fields,
        largest=largest,
    )


def _plot(comparison: Comparison) -> dict[str, Any]:
    """Return the elements of the scatter plot, new prediction over old one, with their coordinates.

    Both axes have the same range. On a log scale it is in powers of ten.
    """
    document = comparison.document
    both = np.concatenate([comparison.old, comparison.new])
    # A log scale does not guarantee that no prediction is 0.
    is_log = document["target"]["scale"] == "log" and bool((both > 0).all())

    def scaled(values: Any) -> Any:
        return np.log10(values) if is_log else np.asarray(values, float)

    low, high = float(scaled(both).min()), float(scaled(both).max())
    margin = (high - low) * 0.03 or 0.5
    low, high = low - margin, high + margin
    size, left, bottom, top = _SIDES.values()

    def across(position: Any) -> Any:
        return np.round(left + (position - low) / (high - low) * (size - left - top), 1)

    def up(position: Any) -> Any:
        return np.round(size - bottom - (position - low) / (high - low) * (size - bottom - top), 1)

    def line(kind: str, ratio: float) -> tuple[Any, ...]:
        """The line where new = ratio * old, cut where it leaves the square."""
        shift = math.log10(ratio)
        first, last = low + max(0.0, -shift), high - max(0.0, shift)
        return kind, across(first), up(first + shift), across(last), up(last + shift)

    def dots(chosen: Any) -> str:
        """A path of dots; dots at the same place are drawn once."""
        x, y = across(scaled(comparison.old[chosen])), up(scaled(comparison.new[chosen]))
        return "".join(f"M{x:g} {y:g}h0" for x, y in dict.fromkeys(zip(x.tolist(), y.tolist(), strict=True)))

    beyond = float(document["differences"]["beyond"])
    far = np.abs(comparison.differences) > beyond
    has_band = is_log and beyond < 1
    return {
        "is_log": is_log,
        "ticks": [(_short(at), across(scaled(at)), up(scaled(at))) for at in _ticks(low, high, is_log=is_log)],
        "lines": [line("same", 1.0), *(line("band", 1 + sign * beyond) for sign in (1, -1) if has_band)],
        "dots": {"near": dots(~far), "far": dots(far)},
        "worst": [(row, across(scaled(row["old"])), up(scaled(row["new"]))) for row in document["worst"]],
    }


def _ticks(low: float, high: float, *, is_log: bool) -> list[float]:
    """Return round values in a range; for a log scale the range is in powers of ten."""
    if is_log and high - low > 1:
        steps = [step * 10.0**power for power in range(math.floor(low), math.ceil(high)) for step in (1, 2, 5)]
        return [value for value in steps if low <= math.log10(value) <= high]
    first, last = (10.0**low, 10.0**high) if is_log else (low, high)
    size = 10.0 ** math.floor(math.log10((last - first) / _TICKS))
    step = next(size * factor for factor in (1, 2, 5, 10) if (last - first) / (size * factor) <= _TICKS)
    return [number * step for number in range(math.ceil(first / step), math.floor(last / step) + 1)]


def _short(value: float) -> str:
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:g}{letter}"
    return f"{value:.6g}"
