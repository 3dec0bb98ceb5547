"""A comparison as people read it: words for values, and the table that a terminal shows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

#: Fields, and promises broken, that the table shows; JSON has all.
_FIELDS: Final = 6
_BREAKS: Final = 20
#: Names of a list that are spelled out.
_NAMED: Final = 6

#: What a check is about, by its name or the part before the dot.
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
    "contract.breaks": "what would break a client",
    "size.bundle": "size of the bundle, new / old",
    "size.wheel": "size of the wheel, new / old",
    "latency.one_row": "shortest time for one row, new / old",
    "latency.thousand_rows": "shortest time for 1,000 rows, new / old",
    "floor.golden_row": "the golden row scores as recorded",
    "floor.r2": "R2, cross-validated",
    "floor.rmse": "RMSE, cross-validated",
    "floor.evaluated": "evaluated",
    "floor.real_data": "trained on real data",
}
_RATIOS: Final = ("size", "latency")
_PERCENT: Final = ("difference", "rows", "metric")


def what(check: Mapping[str, Any], document: Mapping[str, Any]) -> str:
    """What a check of the document is about, in words."""
    name = check["name"]
    section, _, rest = name.partition(".")
    differences = document["differences"] or {}
    words = WORDS[name] if name in WORDS else WORDS.get(section, "{name}")
    return words.format(name=rest, beyond=percent(differences.get("beyond")))


def shown(value: object, check: Mapping[str, Any]) -> str:
    """A value or limit of a check, in words."""
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
    """What a check allows, in words."""
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
    """A figure of a card or a prediction with the digits that matter."""
    if not isinstance(value, int | float):
        return "" if value is None else str(value)
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}" if abs(value) < 1 else f"{value:,.2f}"


def milliseconds(seconds: float) -> str:
    """A duration in milliseconds."""
    return f"{seconds * 1000:.3f} ms" if seconds < 0.01 else f"{seconds * 1000:.1f} ms"


def verdict(document: Mapping[str, Any]) -> str:
    """The verdict in one line."""
    by_status = {"beyond": 0, "accepted": 0}
    for check in document["checks"]:
        if check["status"] in by_status:
            by_status[check["status"]] += 1
    accepted = f", {by_status['accepted']} accepted by a reviewed entry" if by_status["accepted"] else ""
    total = len(document["checks"])
    if document["passed"]:
        return f"PASSED: {total - by_status['accepted']} of {total} checks within their limits{accepted}"
    return f"STOPPED: {by_status['beyond']} of {total} checks beyond their limits{accepted}"


def title(side: Mapping[str, Any]) -> str:
    """One of the two models in a line."""
    data = side["data"]
    synthetic = " (SYNTHETIC)" if data["synthetic"] else ""
    return (
        f"{side['version']} ({side['name']}, artefact {side['artifact_sha256'][:12]}), "
        f"trained on {data['name']}{synthetic}, {data['rows']:,} rows"
    )


def counts(data: Mapping[str, Any]) -> str:
    """The table that was scored, and what became of its rows."""
    rows = data["rows"]
    failed = [
        f"{rows[key]:,} scored by {who}"
        for key, who in (("only_old", "the old alone"), ("only_new", "the new alone"), ("neither", "neither"))
        if rows[key]
    ]
    seed = f", seed {data['seed']}" if data["seed"] is not None else ""
    return ", ".join([f"{data['name']}{seed}: {rows['total']:,} rows, {rows['compared']:,} scored by both", *failed])


def acceptance(check: Mapping[str, Any]) -> str:
    """Who accepted what is beyond the limit, and why."""
    entry = check["accepted"]
    if entry is None:
        return str(check["note"])
    upper = shown(entry["limit"], check)
    return f"{entry['by']}, {entry['on']}, up to {upper}: {entry['reason']}"


def table(document: Mapping[str, Any]) -> str:
    """The comparison as a terminal shows it."""
    return "\n".join(line.rstrip() for line in _lines(document)) + "\n"


def _lines(document: Mapping[str, Any]) -> Iterator[str]:
    yield verdict(document)
    yield ""
    yield f"old   {title(document['old'])}" if document["old"] else "old   none"
    yield f"new   {title(document['new'])}"
    if document["data"]:
        yield f"rows  {counts(document['data'])}"
    yield from (f"note  {note}" for note in document["notes"])
    yield ""
    marks = {"within": "ok", "accepted": "accepted", "beyond": "BEYOND"}
    rows = [("", "check", "", "is", "limit")]
    for check in document["checks"]:
        is_list = isinstance(check["value"], list)
        value = (f"{len(check['value'])}" if check["value"] else "none") if is_list else shown(check["value"], check)
        rows.append((marks[check["status"]], check["name"], what(check, document), value, limit(check)))
    yield from _aligned(rows, right={3})
    for check in document["checks"]:
        if check["status"] != "within" and acceptance(check):
            yield f"  {check['name']}: {acceptance(check)}"
    yield from _contract(document["contract"])
    yield from _metrics(document["metrics"])
    yield from _by_field(document["by_field"])
    yield from _worst(document["worst"])
    yield from _speed(document)
    yield from (f"stale: {entry}" for entry in document["stale_entries"])


def _contract(contract: Mapping[str, Any] | None) -> Iterator[str]:
    if contract and contract["breaks"]:
        yield ""
        yield "what would break a client"
        for entry in contract["breaks"][:_BREAKS]:
            yield f"  {entry['text']}    ({entry['id']})"
        if len(contract["breaks"]) > _BREAKS:
            yield f"  and {len(contract['breaks']) - _BREAKS} more: --json"
    if contract and contract["additions"]:
        yield f"new optional fields: {', '.join(contract['additions'])}"


def _metrics(metrics: Sequence[Mapping[str, Any]] | None) -> Iterator[str]:
    if metrics:
        yield ""
        rows = [("metrics of the cards", "old", "new", "worse by")]
        for entry in metrics:
            worse = "" if entry["worse_by"] is None else percent(entry["worse_by"])
            rows.append((f"  {entry['name']}", number(entry["old"]), number(entry["new"]), worse))
        yield from _aligned(rows, right={1, 2, 3})


def _by_field(fields: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    if fields and fields[0]["strength"] > 0:
        yield ""
        rows = [("where they differ", "explains", "most, on average", "least")]
        for entry in fields[:_FIELDS]:
            groups = sorted(entry["groups"], key=lambda group: float(group["mean_size"]))
            most, least = (f"{percent(group['mean_size'])} {group['name']}" for group in (groups[-1], groups[0]))
            rows.append((f"  {entry['field']}", f"{entry['strength']:.0%}", most, least))
        yield from _aligned(rows, right={1})


def _worst(worst: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    if worst:
        yield ""
        rows = [("worst rows", "old", "new", "differs", "what is unusual about it")]
        for entry in worst:
            words = unusual(entry)
            cells = (f"  {entry['row']}", number(entry["old"]), number(entry["new"]), signed(entry["difference"]))
            rows.append((*cells, words))
        yield from _aligned(rows, right={1, 2, 3})


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


def _speed(document: Mapping[str, Any]) -> Iterator[str]:
    old, new, seconds = document["old"], document["new"], document["latency"]
    if not old:
        return
    yield ""
    rows = [("size and speed", "old", "new")]
    rows.append(("  bundle", f"{old['bundle_bytes']:,} bytes", f"{new['bundle_bytes']:,} bytes"))
    if old["wheel_bytes"] and new["wheel_bytes"]:
        rows.append(("  wheel", f"{old['wheel_bytes']:,} bytes", f"{new['wheel_bytes']:,} bytes"))
    if seconds:
        for name, words in (("one_row", "one row"), ("thousand_rows", "1,000 rows")):
            entry = seconds[name]
            rows.append((f"  {words}, median", milliseconds(entry["old"]), milliseconds(entry["new"])))
    yield from _aligned(rows, right={1, 2})


def _aligned(rows: Sequence[Sequence[str]], right: set[int]) -> Iterator[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        cells = zip(row, widths, strict=True)
        yield "  ".join(
            cell.rjust(width) if column in right else cell.ljust(width) for column, (cell, width) in enumerate(cells)
        )
