"""Drift of what was scored, as a document, a table, and an HTML file with histograms."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from model_kit.scoring.reference import PREDICTION, Reference

from ml_api.drift.statistics import DRIFTED, NO_REFERENCE, Check, Finding, judge, verdict_of
from ml_api.drift.store import Artifact, Window
from ml_api.html_report import render

#: Fields of a model that a table shows, and of which there are histograms; the worst first. JSON has all.
SHOWN, DRAWN = 20, 12
#: Cells of a histogram; of more levels the rarest are one.
MOST_CELLS = 14
#: Width of a histogram, and of its labels, and height of a cell.
WIDTH, LABELS, HEIGHT = 440, 150, 26


def report(windows: Sequence[Window], references: Mapping[Artifact, Reference]) -> dict[str, Any]:
    """Judge windows, each by the reference of the very artefact that scored its rows.

    Returns:
        JSON values: ``until``, ``verdict``, and ``models``, each with what scored, ``start`` and ``end`` of its hours,
        ``rows``, ``verdict``, ``reason`` (of ``no reference``) and ``fields``, the worst first.
    """
    models = []
    for window in windows:
        reference = references.get(window.artifact)
        findings = [] if reference is None else judge(window.counts, reference)
        reason = None
        if reference is None:
            reason = "this version is not installed, or its bundle has no reference"
        elif all(one.name != PREDICTION for one in reference.distributions):
            reason = "no reference of predictions: the model was trained without cross-validation, or by an older kit"
        models.append(
            {
                "model": window.artifact.model,
                "version": window.artifact.version,
                "artifact_sha256": window.artifact.sha256 or None,
                "start": _utc(window.start),
                "end": _utc(window.end),
                "rows": window.rows,
                "reference_rows": reference and reference.rows,
                "verdict": verdict_of(findings),
                "reason": reason,
                "fields": [_field(one) for one in sorted(findings, key=_worst_first)],
            }
        )
    verdicts = [model["verdict"] for model in models]
    return {
        "until": _utc(datetime.now(UTC)),
        "verdict": DRIFTED if DRIFTED in verdicts else verdicts[0] if verdicts else NO_REFERENCE,
        "models": models,
    }


def _worst_first(finding: Finding) -> tuple[bool, float]:
    return finding.verdict != DRIFTED, -finding.excess


def _field(finding: Finding) -> dict[str, Any]:
    check = finding.distribution
    return {
        "field": finding.name,
        "verdict": finding.verdict,
        "rows": finding.rows,
        "psi": check and check.psi,
        "threshold": check and check.threshold,
        "missing": finding.missing,
        "unknown": finding.unknown,
        "drifted": [_reason(one) for one in finding.checks if one.has_drifted],
        "cells": [
            {"label": label, "window": window, "reference": reference} for label, window, reference in finding.cells
        ],
    }


def _reason(check: Check) -> str:
    if check.window is None or check.reference is None:
        return f"PSI {check.psi:.3f}, above {check.threshold:.3f}"
    what = f"share of {check.label}" if check.what == "share" else check.what
    # The unknown ones of training are those that are expected of new rows.
    return f"{what} {check.window:.1%}, in training {check.reference:.1%}"


def _utc(moment: datetime) -> str:
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return moment.isoformat(timespec="seconds").replace("+00:00", "Z")


def tables(document: Mapping[str, Any]) -> Iterator[tuple[Mapping[str, Any], str, list[list[str]], str]]:
    """Yield of each model its entry, a heading, the rows of a table of its worst fields, and a note."""
    for model in document["models"]:
        heading = f"{model['model']} {model['version']}: {model['verdict']}"
        rows = [
            [
                one["field"],
                one["verdict"],
                *("" if one[key] is None else f"{one[key]:.3f}" for key in ("psi", "threshold")),
                *("" if one[key] is None else f"{one[key]:.1%}" for key in ("missing", "unknown")),
                "; ".join(one["drifted"]),
            ]
            for one in model["fields"][:SHOWN]
        ]
        n_drifted = sum(one["verdict"] == DRIFTED for one in model["fields"])
        note = f"{model['rows']:,} rows from {model['start']} to {model['end']}"
        if model["reference_rows"]:
            note += f", training had {model['reference_rows']:,}; {n_drifted} of {len(model['fields'])} have drifted"
        if len(model["fields"]) > SHOWN:
            note += f" (the worst {SHOWN} are shown)"
        if model["reason"]:
            note += f". {model['reason'][0].upper()}{model['reason'][1:]}"
        yield model, heading, rows, f"{note}."


HEADS = ["field", "verdict", "PSI", "threshold", "missing", "unknown", "what"]


def as_text(document: Mapping[str, Any]) -> str:
    """Return the report for a terminal."""
    lines: list[str] = []
    for _, heading, rows, note in tables(document):
        lines += [heading, note]
        if rows:
            widths = [max(map(len, column)) for column in zip(HEADS, *rows, strict=True)]
            lines += [_line(row, widths) for row in (HEADS, *rows)]
        lines.append("")
    return "\n".join(lines or ["No counts are in the prediction log for this window.", ""])


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    return "  ".join(f"{cell:<{width}}" for cell, width in zip(cells, widths, strict=True)).rstrip()


def as_html(document: Mapping[str, Any]) -> str:
    """Return the report as one HTML file that loads nothing and runs no script."""
    found = [
        {"heading": heading, "note": note, "rows": rows, "histograms": [_histogram(one) for one in _drawn(model)]}
        for model, heading, rows, note in tables(document)
    ]
    return render(
        "drift/report.html.jinja", until=document["until"], heads=HEADS, models=found, width=WIDTH, labels=LABELS
    )


def _drawn(model: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [one for one in model["fields"] if len(one["cells"]) > 1][:DRAWN]


def _histogram(field: Mapping[str, Any]) -> dict[str, Any]:
    """What the template draws: bars in pixels."""
    cells = [(one["label"], one["window"], one["reference"]) for one in field["cells"]]
    if len(cells) > MOST_CELLS:
        cells.sort(key=lambda cell: -max(cell[1:]))
        kept, rest = cells[: MOST_CELLS - 1], cells[MOST_CELLS - 1 :]
        cells = [*kept, (f"{len(rest)} more", sum(cell[1] for cell in rest), sum(cell[2] for cell in rest))]
    most = max(max(cell[1:]) for cell in cells) or 1.0
    room = WIDTH - LABELS - 100
    bars = [
        {
            "label": label if len(label) < 26 else f"{label[:24]}…",
            "y": number * HEIGHT,
            "window": round(window / most * room, 1),
            "reference": round(reference / most * room, 1),
            "text": f"{window:.1%} / {reference:.1%}",
        }
        for number, (label, window, reference) in enumerate(cells)
    ]
    return {"field": field["field"], "verdict": field["verdict"], "bars": bars, "height": len(bars) * HEIGHT + 4}
