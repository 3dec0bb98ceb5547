"""The record of a run: one JSON file that says what was looked at, how the run ended and why; kept for ever."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

import model_kit
from model_kit.batch.output import replacing
from model_kit.errors import DataError

#: How a run may end; ``unfinished`` is what a killed one leaves.
End: TypeAlias = Literal[
    "unfinished",
    "not_drifted",
    "too_few_outcomes",
    "bad_outcomes",
    "training_failed",
    "gate_failed",
    "passed",
    "published",
    "publishing_failed",
    "unusable",
    "busy",
    "interrupted",
    "failed",
]
#: Ends that need nobody's attention.
GOOD: Final = frozenset({"not_drifted", "too_few_outcomes", "passed", "published"})
FORMAT: Final = 1


class Record:
    """A run's record, which is on disk from the beginning.

    Args:
        folder: of the records; it is made if it is not there.
        model: its name.

    Attributes:
        document: JSON values, see ``docs/retraining.md``.
        path: the file.

    Raises:
        DataError: it cannot be written, so that nothing is done.
    """

    def __init__(self, folder: Path, model: str) -> None:
        now = datetime.now(UTC)
        self.path = folder / f"{now:%Y-%m-%dT%H%M%S.%fZ}-{os.getpid()}.json"
        self.document: dict[str, Any] = {
            "format": FORMAT,
            "model": model,
            "model_kit": model_kit.__version__,
            "started": _text(now),
            "ended": None,
            "end": "unfinished",
            "sentence": f"{model}: the run has not ended, or it was killed.",
        }
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self.write()
        except OSError as error:
            raise DataError(f"{error.filename or folder}: no record can be written: {error.strerror}") from error

    @property
    def end(self) -> End:
        """How the run ended."""
        found: End = self.document["end"]
        return found

    @property
    def is_good(self) -> bool:
        """Whether the run needs nobody's attention."""
        return self.end in GOOD

    @property
    def sentence(self) -> str:
        """Why, for people."""
        return str(self.document["sentence"])

    def note(self, **facts: Any) -> None:
        """Add facts, and write them."""
        self.document |= facts
        self.write()

    def close(self, end: End, sentence: str) -> None:
        """Write how the run ended."""
        self.note(ended=_text(datetime.now(UTC)), end=end, sentence=sentence)

    def write(self) -> None:
        """Write the file, whole or not at all."""
        with replacing(self.path) as file:
            file.write(json.dumps(self.document, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def find_passed(folder: Path, artifact_sha256: str) -> dict[str, Any] | None:
    """Return the newest record of a run whose candidate passed, and has this artefact."""
    for path in sorted(folder.glob("*.json"), reverse=True):
        with suppress(OSError, ValueError, KeyError, TypeError):
            found: dict[str, Any] = json.loads(path.read_bytes())
            if found["candidate"]["artifact_sha256"] == artifact_sha256:
                return found
    return None


def _text(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds").replace("+00:00", "Z")
