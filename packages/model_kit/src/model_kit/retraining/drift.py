"""Reads what ``ml-api drift --json`` says of a model."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, Final

from model_kit.batch.file_systems import STANDARD
from model_kit.batch.sources import name_of
from model_kit.errors import DataError

DRIFTED: Final = "drifted"
_NEEDED: Final = "is no report of `ml-api drift --json`"


def read_drift(path: str, model: str, artifact_sha256: str) -> dict[str, Any]:
    """Return what a report says of the released artefact.

    Args:
        path: the report, ``-`` for standard input.
        model: its name.
        artifact_sha256: of the released model: the drift of another version says nothing about it.

    Returns:
        ``name`` of the report, ``verdict`` (``drifted``, ``steady``, ``too few rows``, ``no reference``, or ``no rows``
        if the report has none of the artefact), ``until``, ``rows`` and ``fields`` that have drifted, the worst first.

    Raises:
        DataError: it cannot be read, or is no such report.
    """
    name = name_of(path)
    try:
        content = sys.stdin.buffer.read() if path == STANDARD else Path(path).read_bytes()
        report = json.loads(content)
        entries = [one for one in report["models"] if one["model"] == model]
        own = [one for one in entries if one["artifact_sha256"] == artifact_sha256]
        verdicts = [one["verdict"] for one in own]
        drifted = [field["field"] for one in own for field in one["fields"] if field["verdict"] == DRIFTED]
        return {
            "name": name,
            "until": str(report["until"]),
            "verdict": DRIFTED if DRIFTED in verdicts else next(iter(verdicts), "no rows"),
            "rows": sum(int(one["rows"]) for one in own),
            "fields": drifted,
            "other_versions": sorted({str(one["version"]) for one in entries if one not in own}),
        }
    except OSError as error:
        raise DataError(f"{name}: the report of drift cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise DataError(f"{name}: {_NEEDED}: {'it is empty' if not content.strip() else error}") from error
    except (KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{name}: {_NEEDED}: {error!r}") from error
