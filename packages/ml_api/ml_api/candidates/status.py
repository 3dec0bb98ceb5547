"""What a candidate is doing: a small file that its runner writes and the workers read."""

from __future__ import annotations

from pathlib import Path

import msgspec

from ml_api.settings import Candidate

#: Of a candidate: it loads, answers, waits to be started again, was given up, or cannot be used.
STARTING, READY, RESTARTING, CUT_OFF, REFUSED = "starting", "ready", "restarting", "cut off", "refused"
#: Faults of a canary: it does not answer now, or its code raised an exception.
NOT_READY, FAILED = "not_ready", "failed"


class Status(msgspec.Struct, frozen=True):
    """The state of a candidate.

    Attributes:
        kind: ``shadow`` or ``canary``.
        name: of the model.
        state: one of the above.
        version: of the candidate; ``None`` until it is loaded.
        artifact_sha256: of its bundle, likewise.
        reason: why it is not ready.
    """

    kind: str
    name: str
    state: str = STARTING
    version: str | None = None
    artifact_sha256: str | None = None
    reason: str | None = None


def path(folder: Path, candidate: Candidate, number: int, suffix: str) -> Path:
    """Return the path of a file of a candidate; its name may not be one that a file can have, so it has a number."""
    return folder / f"{candidate.kind}-{number}.{suffix}"


def write(file: Path, status: Status) -> None:
    """Replace the status in a file."""
    temporary = file.with_suffix(".new")
    temporary.write_bytes(msgspec.json.encode(status))
    temporary.replace(file)


def read_all(folder: Path) -> list[Status]:
    """Return the status of every candidate."""
    return [msgspec.json.decode(file.read_bytes(), type=Status) for file in sorted(folder.glob("*.status"))]
