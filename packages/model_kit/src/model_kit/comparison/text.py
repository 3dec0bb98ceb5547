"""Formats a comparison for people: values in words, the tables that both reports show, and the report as text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

#: Fields and rows of a table that the text shows; JSON has all.
_FIELDS: Final = 6
_ROWS: Final = 20
#: Items of a list that are shown.
_NAMED: Final = 6

#: Description of a check, by its name or the part before the dot.
WORDS: Final[Mapping[str, str]] = {
    "difference.median": "half of the rows differ by at most",
    "difference.p90": "90 % of the rows differ by at most",
    "difference.p99": "99 % of the rows differ by at most",
    "difference.max": "all rows differ by at most",
    "difference.share": "rows that differ by more than {beyond}",
    "rows.compared": "rows that both score",
    "rows.newly_failing": "rows that only the old model scores",
    "metric.removed": "metrics that are gone",
    "metric": "{name} is worse by",
    "data.sha256": "training data",
    "data.rows": "training rows",
    "spec.breaking": "breaking changes of the spec",
    "spec.version": "major version",
    "size.bundle": "size of the bundle, new / old",
    "size.wheel": "size of the wheel, new / old",
    "latency.one_row": "shortest time for one row, new / old",
    "latency.thousand_rows": "shortest time for 1,000 rows, new / old",
    "floor.golden_row": "the golden row scores as recorded",
    "floor": "{name}, cross-validated",
    "floor.r2": "R2, cross-validated",
    "floor.rmse": "RMSE, cross-validated",
    "floor.evaluated": "evaluated",
    "floor.real_data": "trained on real data",
}
_RATIOS: Final = ("size", "latency")
_PERCENT: Final = ("difference", "rows", "metric")


@dataclass(frozen=True)
class Table:
    """A table of plain text.

    Attributes:
        title: heading.
        heads: of the columns; the first is that of the rows' names.
        rows: cells.
        right: columns that are aligned to the right.
    """

    title: str
    heads: Sequence[str]
    rows: Sequence[Sequence[str]]
    right: frozenset[int] = frozenset()


def tables(document: Mapping[str, Any]) -> dict[str, Table]:
    """The tables that all reports show, by section of the document; one without rows is left out."""
    spec, old, new, seconds = (document[name] for name in ("spec", "old", "new", "latency"))
    changes = [
        (change["text"], "breaking" if change["breaking"] else "compatible", change["id"])
        for change in (spec["changes"] if spec else ())
    ]
    metrics = [
        (
            entry["name"],
            number(entry["old"]),
            number(entry["new"]),
            "" if entry["worse_by"] is None else percent(entry["worse_by"]),
            f"{entry['better']} is better" if entry["better"] else "not judged",
        )
        for entry in document["metrics"] or ()
    ]
    worst = [
        (str(row["row"]), number(row["old"]), number(row["new"]), signed(row["difference"]), unusual(row))
        for row in document["worst"]
    ]
    sizes = [
        (name, *(f"{side[f'{name}_bytes']:,} bytes" for side in (old, new)))
        for name in ("bundle", "wheel")
        if old and old[f"{name}_bytes"] and new[f"{name}_bytes"]
    ]
    times = [
        (words, milliseconds(seconds[name]["old"]), milliseconds(seconds[name]["new"]))
        for name, words in (("one_row", "one row, median"), ("thousand_rows", "1,000 rows, median"))
        if seconds
    ]
    found = {
        "spec": Table("Changes of the spec", ("what", "", "id"), changes),
        "metrics": Table(
            "Metrics of the cards", ("metric", "old", "new", "worse by", ""), metrics, frozenset({1, 2, 3})
        ),
        "worst": Table(
            "Worst rows", ("row", "old", "new", "differs", "what is unusual about it"), worst, frozenset({1, 2, 3})
        ),
        "speed": Table("Size and speed", ("", "old", "new"), [*sizes, *times], frozenset({1, 2})),
    }
    return {name: table for name, table in found.items() if table.rows}


def compatibility(document: Mapping[str, Any]) -> str:
    """The verdict on the spec in one line; empty if there is no old one."""
    spec = document["spec"]
    if not spec:
        return ""
    n_breaking = sum(change["breaking"] for change in spec["changes"])
    total = f"{len(spec['changes'])} change{'' if len(spec['changes']) == 1 else 's'}"
    words = {
        "identical": "",
        "compatible": f": {total}, clients need none",
        "breaking": f": {n_breaking} of {total}",
    }
    return f"{spec['verdict']}{words[spec['verdict']]}"


def what(check: Mapping[str, Any], document: Mapping[str, Any]) -> str:
    """The description of a check."""
    name = check["name"]
    section, _, rest = name.partition(".")
    differences = document["differences"] or {}
    words = WORDS[name] if name in WORDS else WORDS.get(section, "{name}")
    return words.format(name=rest, beyond=percent(differences.get("beyond")))


def shown(value: object, check: Mapping[str, Any]) -> str:
    """A value or limit of a check."""
    section = check["name"].partition(".")[0]
    if value is None:
        return "not known"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        more = f", and {len(value) - _NAMED} more" if len(value) > _NAMED else ""
        return ", ".join(map(str, value[:_NAMED])) + more if value else "none"
    if isinstance(value, str):
        return value[:12] if check["rule"] == "same" else value
    if not isinstance(value, int | float):
        return str(value)
    if section in _RATIOS:
        return f"{value:.2f} x"
    if section in _PERCENT:
        return percent(value)
    return f"{value:,}" if isinstance(value, int) or value.is_integer() else f"{value:.4f}"


def limit(check: Mapping[str, Any]) -> str:
    """The limit of a check, with its rule."""
    words = shown(check["limit"], check)
    rule = check["rule"]
    if rule == "true":
        return "must be"
    if rule == "none but":
        return "none"
    return words if rule == "same" else f"{rule} {words}"


def percent(value: object) -> str:
    """A share in percent."""
    if not isinstance(value, int | float):
        return "not known" if value is None else str(value)
    return f"{value:.3%}" if 0 < abs(value) < 0.001 else f"{value:.2%}"


def number(value: object) -> str:
    """A metric or prediction with its significant digits."""
    if not isinstance(value, int | float):
        return "" if value is None else str(value)
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}" if abs(value) < 1 else f"{value:,.2f}"


def milliseconds(seconds: float) -> str:
    """A duration in milliseconds."""
    return f"{seconds * 1000:.3f} ms" if seconds < 0.01 else f"{seconds * 1000:.1f} ms"


def verdict(document: Mapping[str, Any]) -> str:
    """The verdict in one line."""
    total = len(document["checks"])
    count = Counter(check["status"] for check in document["checks"])
    accepted = f", {count['accepted']} accepted by a reviewed entry" if count["accepted"] else ""
    if document["passed"]:
        return f"PASSED: {count['within']} of {total} checks within their limits{accepted}"
    return f"STOPPED: {count['beyond']} of {total} checks beyond their limits{accepted}"


def title(side: Mapping[str, Any]) -> str:
    """One of the two models in a line."""
    data = side["data"]
    synthetic = " (SYNTHETIC)" if data["synthetic"] else ""
    return (
        f"{side['version']} ({side['name']}, artefact {side['artifact_sha256'][:12]}), "
        f"trained on {data['name']}{synthetic}, {data['rows']:,} rows"
    )


def counts(data: Mapping[str, Any]) -> str:
    """The table that was scored, with the numbers of rows by who scored them."""
    rows = data["rows"]
    failed = [
        f"{rows[key]:,} scored by {who}"
        for key, who in (("only_old", "the old alone"), ("only_new", "the new alone"), ("neither", "neither"))
        if rows[key]
    ]
    seed = f", seed {data['seed']}" if data["seed"] is not None else ""
    return ", ".join([f"{data['name']}{seed}: {rows['total']:,} rows, {rows['compared']:,} scored by both", *failed])


def acceptance(check: Mapping[str, Any]) -> str:
    """Who accepted the value beyond the limit and why, else what there is to do."""
    entry = check["accepted"]
    if entry is None:
        return str(check["note"])
    upper = shown(entry["limit"], check)
    return f"{entry['by']}, {entry['on']}, up to {upper}: {entry['reason']}"


def report(document: Mapping[str, Any]) -> str:
    """The report as a terminal shows it."""
    return "\n".join(line.rstrip() for line in _lines(document)) + "\n"


def _lines(document: Mapping[str, Any]) -> Iterator[str]:
    yield verdict(document)
    yield ""
    yield f"old   {title(document['old'])}" if document["old"] else "old   none"
    yield f"new   {title(document['new'])}"
    if document["data"]:
        yield f"rows  {counts(document['data'])}"
        yield f"gate  {document['thresholds']}"
        yield f"spec  {compatibility(document)}"
    yield from (f"note  {note}" for note in document["notes"])
    yield ""
    marks = {"within": "ok", "accepted": "accepted", "beyond": "BEYOND"}
    rows = [("", "check", "", "is", "limit")]
    for check in document["checks"]:
        is_list = isinstance(check["value"], list)
        value = (f"{len(check['value'])}" if check["value"] else "none") if is_list else shown(check["value"], check)
        rows.append((marks[check["status"]], check["name"], what(check, document), value, limit(check)))
    yield from _aligned(rows, right=frozenset({3}))
    for check in document["checks"]:
        if check["status"] != "within" and acceptance(check):
            yield f"  {check['name']}: {acceptance(check)}"
    shown_tables = tables(document)
    yield from _table(shown_tables.get("spec"))
    yield from _table(shown_tables.get("metrics"))
    yield from _by_field(document["by_field"])
    yield from _table(shown_tables.get("worst"))
    yield from _table(shown_tables.get("speed"))
    yield from (f"stale: {entry}" for entry in document["stale_entries"])


def _table(table: Table | None) -> Iterator[str]:
    if table:
        yield ""
        rows = [(f"  {row[0]}", *row[1:]) for row in table.rows[:_ROWS]]
        yield from _aligned([(table.title.lower(), *table.heads[1:]), *rows], table.right)
        if len(table.rows) > _ROWS:
            yield f"  and {len(table.rows) - _ROWS} more: --json"


def _by_field(fields: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    if fields and fields[0]["strength"] > 0:
        yield ""
        rows = [("where they differ", "explains", "most, on average", "least")]
        for entry in fields[:_FIELDS]:
            groups = sorted(entry["groups"], key=lambda group: float(group["mean_size"]))
            most, least = (f"{percent(group['mean_size'])} {group['name']}" for group in (groups[-1], groups[0]))
            rows.append((f"  {entry['field']}", f"{entry['strength']:.0%}", most, least))
        yield from _aligned(rows, right=frozenset({1}))


def unusual(entry: Mapping[str, Any]) -> str:
    """What is unusual about one of the worst rows."""
    parts = []
    for fact in entry["unusual"]:
        value = f" {fact['value']}" if fact.get("value") is not None else ""
        parts.append(f"{fact['field']}{value} ({fact['how']})")
    return "; ".join(parts)


def signed(value: object) -> str:
    """A difference in percent, with its sign."""
    return f"{value:+.1%}" if isinstance(value, int | float) else str(value)


def _aligned(rows: Sequence[Sequence[str]], right: frozenset[int]) -> Iterator[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        cells = zip(row, widths, strict=True)
        yield "  ".join(
            cell.rjust(width) if column in right else cell.ljust(width) for column, (cell, width) in enumerate(cells)
        )
