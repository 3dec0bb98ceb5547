"""Loads one candidate with its own import path, and scores what it is sent: the script of a process of its own.

Its argument is a JSON object (:class:`Job`), its standard input a socket to the process that started it. The first
frame that it sends says what was loaded, or why nothing was; then it answers each frame with one. No model is
imported before the import path is set, so that a candidate may have modules of the names of those that are installed.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from importlib.metadata import Distribution, EntryPoint, entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from ml_api.candidates.frames import Receiver, send
from ml_api.candidates.lifetime import end_with_parent
from ml_api.candidates.status import FAILED

if TYPE_CHECKING:
    from model_kit.scoring.predictor import Answer, Predictor
    from model_kit.scoring.protocol import Model

_GROUP = "ml_api.models"
#: Attributes of an answer that a worker needs, as far as it has them.
_ANSWER = ("predictions", "errors", "n_fast", "unusual", "intervals", "probabilities", "explanations", "warnings")
_MODEL_DIR, _MODEL_SHA256 = "MODEL_DIR", "MODEL_SHA256"


class Job(msgspec.Struct, frozen=True):
    """What to load.

    Attributes:
        kind: ``shadow``, ``canary``, or ``installed``, whose spec a canary is compared with.
        name: of the model.
        place: the folder of a bundle, or of an unpacked wheel; empty: what is installed.
        parent: process id of the parent.
    """

    kind: str
    name: str
    place: str
    parent: int


class CandidateError(Exception):
    """The candidate cannot be used; the message says why."""


def main() -> None:
    """Load the candidate, then answer frames until the socket closes."""
    job = msgspec.json.decode(sys.argv[1], type=Job)
    end_with_parent(job.parent, signal.SIGKILL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the server, which ends this process
    if job.kind == "shadow":
        _give_way()
    sock = socket.socket(fileno=os.dup(0))
    # What the candidate's code prints goes to the errors, and what it reads is empty.
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)
    try:
        scorer = _Scorer(_load(job))
        scorer.model.check()
    except Exception as error:  # noqa: BLE001  a candidate may do anything wrong
        send(sock, {"error": _describe(error)})
        return
    lineage = scorer.model.lineage
    described = {"version": scorer.model.version, "artifact_sha256": lineage.get("artifact_sha256")}
    send(sock, described | {"spec": scorer.model.spec.to_json()})
    receiver = Receiver(sock)
    answer = scorer.shadow if job.kind == "shadow" else scorer.canary
    with suppress(ConnectionError):
        while (frame := receiver.receive()) is not None:
            send(sock, *answer(*frame))


def _give_way() -> None:
    """Compute only when no other process wants the processor."""
    with suppress(OSError):
        os.nice(19)
    with suppress(OSError, AttributeError):
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))


def _load(job: Job) -> Model:
    """Load the candidate.

    Raises:
        Exception: any exception of its code.
        CandidateError: there is no such model.
    """
    if job.kind == "installed":
        (installed,) = entry_points(group=_GROUP, name=job.name)
        return _checked(installed.load()())
    if job.kind == "shadow":
        # It names what may answer, and a shadow never does.
        os.environ.pop(_MODEL_SHA256, None)
    if (Path(job.place) / "manifest.json").exists():
        from model_kit.scoring.definition import find_definition  # noqa: PLC0415  not before the import path is set

        return find_definition(job.name).load_bundle(Path(job.place), pinned=job.kind == "canary")
    os.environ.pop(_MODEL_DIR, None)
    sys.path.insert(0, job.place)
    point = _entry_point(Path(job.place), job.name)
    loader = point.load()
    file = Path(sys.modules[point.module].__file__ or "").resolve()
    if not file.is_relative_to(Path(job.place).resolve()):
        raise CandidateError(f"the wheel announces {point.value}, which it does not contain")
    return _checked(loader())


def _entry_point(folder: Path, name: str) -> EntryPoint:
    points = [
        point
        for path in folder.glob("*.dist-info")
        for point in Distribution.at(path).entry_points.select(group=_GROUP)
    ]
    for point in points:
        if point.name == name:
            return point
    announced = ", ".join(sorted(point.name for point in points)) or "none"
    raise CandidateError(f"the wheel announces no model {name}; it announces: {announced}")


def _checked(model: Any) -> Model:
    from model_kit.scoring.protocol import Model  # noqa: PLC0415  as above

    if not isinstance(model, Model):
        raise CandidateError(f"load() returned {type(model).__name__}, which is no model")
    return model


class _Scorer:
    """Answers frames.

    Args:
        model: the candidate.
    """

    def __init__(self, model: Model) -> None:
        from model_kit.scoring.predictor import Predictor  # noqa: PLC0415  as above

        from ml_api.prediction_log.details import RowDetails  # noqa: PLC0415

        self.model = model
        self._predictor: Predictor = Predictor(model)
        self._details = RowDetails(self._predictor)

    def shadow(self, header: dict[str, Any], payload: bytes) -> tuple[dict[str, Any], bytes]:
        """Score the bodies of requests; the answer has the rows for the database.

        Args:
            header: ``requests``: prediction id, index of the first record and length of each body.
            payload: the bodies.
        """
        keys: list[tuple[str, int]] = []
        records: list[object] = []
        start = 0
        for identity, first, size in header["requests"]:
            sent = _records(payload[start : start + size])
            keys += [(identity, first + row) for row in range(len(sent))]
            records += sent
            start += size
        try:
            rows = self._rows(keys, records)
        except Exception:  # noqa: BLE001  it may be about one record
            rows = [row for key, record in zip(keys, records, strict=True) for row in self._row(key, record)]
        failed = sum(row["failed"] for row in rows)
        text = msgspec.json.encode([{name: value for name, value in row.items() if name != "failed"} for row in rows])
        return {"scored": len(rows) - failed, "failed": failed}, text

    def _row(self, key: tuple[str, int], record: object) -> list[dict[str, Any]]:
        try:
            return self._rows([key], [record])
        except Exception as error:  # noqa: BLE001  that is what is recorded
            errors = {"_schema": [f"The candidate failed: {type(error).__name__}."]}
            return [self._described(key) | {"prediction": None, "detail": None, "errors": _text(errors), "failed": 1}]

    def _rows(self, keys: Sequence[tuple[str, int]], records: Sequence[object]) -> list[dict[str, Any]]:
        answer = self._predictor(records)
        details = self._details(answer)
        return [
            self._described(key)
            | {
                "prediction": None if self._details.is_class else prediction,
                "detail": details[row],
                "errors": _text(answer.errors[row]) if row in answer.errors else None,
                "failed": 0,
            }
            for row, (key, prediction) in enumerate(zip(keys, answer.predictions, strict=True))
        ]

    def _described(self, key: tuple[str, int]) -> dict[str, Any]:
        return {"prediction_id": key[0], "row": key[1], "version": self.model.version}

    def canary(self, header: dict[str, Any], payload: bytes) -> tuple[dict[str, Any], bytes]:
        """Answer one request.

        Args:
            header: ``options``: the details that are asked for, or ``None``; ``is_logged``: whether those of the
                prediction log are needed.
            payload: the body.
        """
        try:
            answer = self._answer(_records(payload), header["options"])
            details = self._details(answer) if header["is_logged"] else []
            found = {name: value for name in _ANSWER if (value := getattr(answer, name, None)) is not None}
            # As views/responses.py does: they may repeat integers of any size.
            text = json.dumps({"answer": found, "details": details}, default=asdict, allow_nan=False)
        except Exception:  # noqa: BLE001  the installed version answers
            return {"fault": FAILED}, b""
        return {}, text.encode()

    def _answer(self, records: Sequence[object], options: dict[str, Any] | None) -> Answer:
        return self._predictor(records) if options is None else self._predictor.detailed(records, **options)


def _records(body: bytes) -> Sequence[object]:
    """Return the records of a body that the server has accepted."""
    from model_kit.records import json_text  # noqa: PLC0415  as above

    texts = json_text.split(body)
    if texts is not None:
        return texts
    document = json_text.loads(body)
    return [document] if isinstance(document, dict) else list(document)


def _text(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def _describe(error: Exception) -> str:
    """Say why it was not loaded: in words of ours or of model_kit, else with the name of the exception too."""
    from model_kit.errors import ModelKitError  # noqa: PLC0415  as above

    known = isinstance(error, ModelKitError | CandidateError)
    return str(error) if known else f"{type(error).__name__}: {error}"


if __name__ == "__main__":
    main()
