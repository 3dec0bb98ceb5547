"""Writes a comparison as one HTML file that loads nothing and runs no script; every text is escaped."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from string import Template
from typing import Any, Final

import numpy as np

from model_kit.comparison import text
from model_kit.comparison.run import Comparison, Points

#: Fields whose groups are shown; JSON has all.
_FIELDS: Final = 12
#: Sides and margins of the drawing, in its own units.
_SIZE: Final = 560
_LEFT: Final = 64
_BOTTOM: Final = 44
_TOP: Final = 12
#: Labels on an axis, at most.
_TICKS: Final = 5

_PAGE: Final = Template("""\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>$title</title>
<style>
:root {
  --paper: #ffffff; --panel: #f5f6f8; --ink: #1b1f24; --soft: #57606a; --line: #d5d9df;
  --dot: #5b7fa6; --far: #c2410c; --good: #17693a; --bad: #b3261e; --fair: #8a5a00; --bar: #8fb0d3;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #14171b; --panel: #1d2127; --ink: #e6e9ed; --soft: #a0a9b4; --line: #343a43;
    --dot: #86aedb; --far: #fb923c; --good: #6cd297; --bad: #ff8f85; --fair: #eebc5c; --bar: #3f6390;
  }
}
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 76rem; padding: 1.5rem; background: var(--paper); color: var(--ink);
  font: 15px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.5rem; margin: 0 0 .25rem; }
h2 { font-size: 1.1rem; margin: 2.2rem 0 .6rem; }
h3 { font-size: .95rem; margin: 0 0 .4rem; }
p, ul { margin: .4rem 0; }
.verdict { border-left: .4rem solid; padding: .6rem 1rem; background: var(--panel); font-weight: 600; }
.within { color: var(--good); } .beyond { color: var(--bad); } .accepted { color: var(--fair); }
.soft { color: var(--soft); font-weight: 400; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; padding: .3rem .8rem .3rem 0; border-bottom: 1px solid var(--line); vertical-align: top; }
th { color: var(--soft); font-weight: 600; }
.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
code { font: .88em ui-monospace, monospace; overflow-wrap: anywhere; }
.grid { display: grid; grid-template-columns: repeat(auto-fill, minmax(20rem, 1fr)); gap: 1rem; }
.panel { background: var(--panel); border-radius: .4rem; padding: .8rem 1rem; min-width: 0; }
.panel table { font-size: .85rem; } .panel td { border: 0; padding: .08rem .5rem .08rem 0; overflow-wrap: anywhere; }
.bars td:nth-child(2) { width: 45%; }
.bar { display: block; height: .75rem; margin-top: .3rem; background: var(--bar); border-radius: 2px; min-width: 1px; }
svg { display: block; width: 100%; max-width: 42rem; height: auto; }
svg text { fill: var(--soft); font: 12px system-ui, sans-serif; }
.axis { stroke: var(--line); } .same { stroke: var(--ink); } .band { stroke: var(--soft); stroke-dasharray: 4 4; }
.near { stroke: var(--dot); stroke-opacity: .45; } .far { stroke: var(--far); stroke-opacity: .8; }
.near, .far { stroke-width: 4; stroke-linecap: round; fill: none; }
.worst { fill: none; stroke: var(--far); stroke-width: 1.5; }
</style>
</head>
<body>
<main>
$body
</main>
</body>
</html>
""")


def page(comparison: Comparison) -> str:
    """The report as an HTML document."""
    document = comparison.document
    new = document["new"]
    old = document["old"]["version"] if document["old"] else "nothing"
    tables = {name: _titled(table) for name, table in text.tables(document).items()}
    parts = [
        f"<h1>{_e(document['target']['name'])}: from {_e(old)} to {_e(new['version'])}</h1>",
        f'<p class="verdict {"within" if document["passed"] else "beyond"}">{_e(text.verdict(document))}</p>',
        _sides(document),
        _notes(document),
        _checks(document),
        f"<p>Spec: {_e(text.compatibility(document))}</p>" if document["spec"] else "",
        tables.get("spec"),
        _scatter(comparison),
        _distribution(document),
        _fields(document["by_field"]),
        tables.get("worst"),
        tables.get("metrics"),
        tables.get("speed"),
    ]
    return _PAGE.substitute(title=_e(f"From {old} to {new['version']}"), body="\n".join(part for part in parts if part))


def _e(value: object) -> str:
    return escape(str(value))


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]], numbers: frozenset[int] = frozenset()) -> str:
    """A table of cells that are HTML already."""
    classes = [' class="number"' if column in numbers else "" for column in range(len(heads))]
    head = "".join(f'<th scope="col"{kind}>{_e(name)}</th>' for name, kind in zip(heads, classes, strict=True))
    body = "\n".join(
        "<tr>" + "".join(f"<td{kind}>{cell}</td>" for cell, kind in zip(row, classes, strict=True)) + "</tr>"
        for row in rows
    )
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>\n{body}\n</tbody></table></div>'


def _titled(table: text.Table) -> str:
    rows = [[_e(cell) for cell in row] for row in table.rows]
    return f"<h2>{_e(table.title)}</h2>\n" + _table(table.heads, rows, table.right)


def _sides(document: Mapping[str, Any]) -> str:
    old, new = document["old"], document["new"]

    def facts(side: Mapping[str, Any] | None) -> list[str]:
        if side is None:
            return ["none"] + [""] * 6
        data = side["data"]
        return [
            f"<strong>{_e(side['version'])}</strong>, {_e(side['source'])} <code>{_e(side['name'])}</code>",
            f"<code>{_e(side['artifact_sha256'])}</code>",
            f"{_e(data['name'])}{' <strong>(synthetic)</strong>' if data['synthetic'] else ''}, {data['rows']:,} rows",
            f"<code>{_e(data['sha256'])}</code>",
            _e(side["trained_at"]),
            f"<code>{_e(side['git_commit'] or 'not known')}</code>",
            f"{_e(side['scored_by'])}, model-kit {_e(side['model_kit'])}",
        ]

    heads = ("version", "artefact sha256", "trained on", "data sha256", "trained at", "commit", "scored by")
    rows = [(_e(head), before, after) for head, before, after in zip(heads, facts(old), facts(new), strict=True)]
    return "<h2>The two models</h2>\n" + _table(("", "old", "new"), rows)


def _notes(document: Mapping[str, Any]) -> str:
    entries = [*document["notes"], *(f"Stale: {entry}" for entry in document["stale_entries"])]
    return "<ul>" + "".join(f"<li>{_e(entry)}</li>" for entry in entries) + "</ul>" if entries else ""


def _checks(document: Mapping[str, Any]) -> str:
    rows = []
    for check in document["checks"]:
        status = check["status"]
        note = f'<br><span class="soft">{_e(text.acceptance(check))}</span>' if status != "within" else ""
        rows.append(
            (
                f'<strong class="{status}">{_e(status)}</strong>',
                f"{_e(text.what(check, document))}{note}",
                f"<code>{_e(check['name'])}</code>",
                _e(text.shown(check["value"], check)),
                _e(text.limit(check)),
            )
        )
    return "<h2>Checks</h2>\n" + _table(("", "what", "name", "is", "limit"), rows)


def _scatter(comparison: Comparison) -> str:
    document = comparison.document
    if not document["differences"]:
        return ""
    target, beyond = document["target"], float(document["differences"]["beyond"])
    drawing = _Drawing(comparison.old, comparison.new, log=target["scale"] == "log")
    unit = _e(", ".join(part for part in (target["name"], target["unit"]) if part))
    far = np.abs(comparison.differences) > beyond
    parts = [
        f'<svg viewBox="0 0 {_SIZE} {_SIZE}" role="img" aria-label="Prediction of the new model against the old one">',
        *drawing.axes(),
        drawing.line(1.0, "same"),
        *((drawing.line(1 + beyond, "band"), drawing.line(1 - beyond, "band")) if drawing.log and beyond < 1 else ()),
        f'<path class="near" d="{drawing.dots(~far)}"/>',
        f'<path class="far" d="{drawing.dots(far)}"/>',
        *(
            f'<circle class="worst" cx="{drawing.across(row["old"])}" cy="{drawing.up(row["new"])}" r="6">'
            f"<title>row {_e(row['row'])}, {_e(text.signed(row['difference']))}</title></circle>"
            for row in document["worst"]
        ),
        f'<text x="{_SIZE / 2}" y="{_SIZE - 6}" text-anchor="middle">old model: {unit}</text>',
        f'<text transform="translate(12 {_SIZE / 2}) rotate(-90)" text-anchor="middle">new model: {unit}</text>',
        "</svg>",
    ]
    words = (
        f"{text.counts(document['data'])}. Each dot is a row; on the line both agree"
        f"{', between the dashed lines they differ by less than ' + text.percent(beyond) if drawing.log else ''}. "
        "Circles are the worst rows."
    )
    return f"<h2>Predictions, old and new</h2>\n<p>{_e(words)}</p>\n" + "\n".join(parts)


class _Drawing:
    """Coordinates of predictions in the scatter plot; both axes have the same range."""

    def __init__(self, old: Points, new: Points, *, log: bool) -> None:
        both = np.concatenate([old, new])
        # A log scale does not guarantee that no prediction is 0.
        self.log = log and bool((both > 0).all())
        self._old, self._new = old, new
        low, high = (float(value) for value in (self._scaled(both).min(), self._scaled(both).max()))
        margin = (high - low) * 0.03 or 0.5
        self._low, self._high = low - margin, high + margin

    def _scaled(self, values: Any) -> Any:
        return np.log10(values) if self.log else np.asarray(values, float)

    def across(self, value: Any) -> Any:
        """Abscissa of a prediction of the old model."""
        share = (self._scaled(value) - self._low) / (self._high - self._low)
        return np.round(_LEFT + share * (_SIZE - _LEFT - _TOP), 1)

    def up(self, value: Any) -> Any:
        """Ordinate of a prediction of the new model."""
        share = (self._scaled(value) - self._low) / (self._high - self._low)
        return np.round(_SIZE - _BOTTOM - share * (_SIZE - _BOTTOM - _TOP), 1)

    def dots(self, chosen: Any) -> str:
        """A path of dots; dots at the same place are drawn once."""
        places = zip(self.across(self._old[chosen]).tolist(), self.up(self._new[chosen]).tolist(), strict=True)
        return "".join(f"M{x:g} {y:g}h0" for x, y in dict.fromkeys(places))

    def line(self, ratio: float, kind: str) -> str:
        """The line where new = ratio * old; on a linear scale only for a ratio of 1."""
        shift = math.log10(ratio) if self.log else 0.0
        # Cut where it leaves the square.
        first, last = self._low + max(0.0, -shift), self._high - max(0.0, shift)
        ends = [10.0 ** np.array([x, x + shift]) if self.log else np.array([x, x]) for x in (first, last)]
        (x1, y1), (x2, y2) = ((self.across(end[0]), self.up(end[1])) for end in ends)
        return f'<line class="{kind}" x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}"/>'

    def axes(self) -> Iterable[str]:
        """Grid lines with their labels."""
        for value in _ticks(self._low, self._high, log=self.log):
            x, y = self.across(value), self.up(value)
            yield f'<line class="axis" x1="{x}" y1="{_TOP}" x2="{x}" y2="{_SIZE - _BOTTOM}"/>'
            yield f'<line class="axis" x1="{_LEFT}" y1="{y}" x2="{_SIZE - _TOP}" y2="{y}"/>'
            yield f'<text x="{x}" y="{_SIZE - _BOTTOM + 16}" text-anchor="middle">{_short(value)}</text>'
            yield f'<text x="{_LEFT - 6}" y="{y + 4}" text-anchor="end">{_short(value)}</text>'


def _ticks(low: float, high: float, *, log: bool) -> list[float]:
    """Round values in a range; for a log scale the range is in powers of ten."""
    if log and high - low > 1:
        steps = [step * 10.0**power for power in range(math.floor(low), math.ceil(high)) for step in (1, 2, 5)]
        return [value for value in steps if low <= math.log10(value) <= high]
    first, last = (10.0**low, 10.0**high) if log else (low, high)
    size = 10.0 ** math.floor(math.log10((last - first) / _TICKS))
    step = next(size * factor for factor in (1, 2, 5, 10) if (last - first) / (size * factor) <= _TICKS)
    return [number * step for number in range(math.ceil(first / step), math.floor(last / step) + 1)]


def _short(value: float) -> str:
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:g}{letter}"
    return f"{value:.6g}"


def _distribution(document: Mapping[str, Any]) -> str:
    differences = document["differences"]
    if not differences:
        return ""
    names = {
        "median": "median of the size",
        "p90": "90 % of the rows, at most",
        "p99": "99 % of the rows, at most",
        "max": "largest",
        "signed_median": "median with its sign: above 0, the new model says more",
        "share_beyond_1_percent": "rows that differ by more than 1 %",
        "share_beyond_5_percent": "rows that differ by more than 5 %",
        "share_beyond_20_percent": "rows that differ by more than 20 %",
    }
    rows = [(_e(words), _e(text.percent(differences[name]))) for name, words in names.items()]
    size = f"max(|old|, {text.number(differences['spread'])})" if differences["spread"] else "|old|"
    return f"<h2>Relative differences, (new - old) / {size}</h2>\n" + _table(("", "share"), rows, frozenset({1}))


def _fields(fields: Sequence[Mapping[str, Any]]) -> str:
    fields = [entry for entry in fields if entry["strength"] > 0][:_FIELDS]
    if not fields:
        return ""
    sizes = [float(group["mean_size"]) for entry in fields for group in entry["groups"]]
    largest = max((size for size in sizes if math.isfinite(size)), default=0.0) or 1.0
    panels = []
    for entry in fields:
        rows = "".join(
            f"<tr><td>{_e(group['name'])}</td><td>{_bar(group['mean_size'], largest)}</td>"
            f'<td class="number">{_e(text.percent(group["mean_size"]))}</td>'
            f'<td class="number soft">{group["rows"]:,}</td></tr>'
            for group in entry["groups"]
        )
        heading = f'{_e(entry["field"])} <span class="soft">explains {entry["strength"]:.1%}</span>'
        panels.append(
            f'<section class="panel"><h3>{heading}</h3><table class="bars"><tbody>{rows}</tbody></table></section>'
        )
    words = "Mean size of the difference, and rows, by bin or level; the field that explains most of it comes first."
    return f'<h2>Where they differ</h2>\n<p>{words}</p>\n<div class="grid">' + "\n".join(panels) + "</div>"


def _bar(size: object, largest: float) -> str:
    width = min(float(str(size)) / largest, 1.0) * 100
    return f'<span class="bar" style="width:{width:.1f}%"></span>'
