"""Runs a model in its own process, with its own code, and exchanges lines of JSON with it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, TypeAlias

from model_kit.comparison.sources import Source
from model_kit.errors import DataError, SpecError
from model_kit.scoring.bundle import MODEL_DIR, MODEL_SHA256
from model_kit.spec import InputSpec

#: A number; of a class, the probability of each.
Prediction: TypeAlias = float | dict[str, float]

_WORKER: Final = Path(__file__).with_name("worker.py")
#: Seconds that the process has to exit after its input is closed.
_EXIT_TIMEOUT: Final = 10
#: Characters of the error output of a failed process that are reported.
_ERROR_TAIL: Final = 2000


class Scorer:
    """One of the two models, running in its process until :meth:`close`.

    Args:
        source: where it comes from.

    Raises:
        DataError: the model cannot be loaded, or its spec cannot be read by this code.
    """

    def __init__(self, source: Source) -> None:
        self.source = source
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the process
        job = {
            "paths": [str(path) for path in source.paths],
            "loader": source.loader,
            "arguments": [str(argument) for argument in source.arguments],
        }
        # Each model is its own, whatever the service here is told to serve.
        hidden = ("PACKAGE_INDEX_", MODEL_DIR, MODEL_SHA256)
        environ = {name: value for name, value in os.environ.items() if not name.startswith(hidden)}
        # Isolated: neither the script's folder, nor PYTHONPATH, nor the user's site-packages are on the path.
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-B", str(_WORKER), json.dumps(job)],
            env=environ,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            encoding="utf-8",
        )
        try:
            facts = self._receive()
            self.spec = InputSpec.from_json(facts["spec"])
        except (SpecError, DataError) as error:
            self.close()
            raise DataError(f"{source.name}: {error}") from error
        self.version: str = facts["version"]
        self.card: dict[str, Any] = facts["card"]
        self.lineage: dict[str, Any] = facts["lineage"]
        self.golden_prediction: Any = facts["golden_prediction"]
        #: Why the golden row does not score as recorded; ``None`` if it does.
        self.golden_fault: str | None = facts["golden_fault"]
        #: Version of the model kit that it runs with.
        self.kit: str = facts["kit"]

    def close(self) -> None:
        """End the process."""
        if self._process.stdin:
            with suppress(OSError):
                self._process.stdin.close()
        try:
            self._process.wait(_EXIT_TIMEOUT)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stdout:
            self._process.stdout.close()
        self._errors.close()

    def ask(self, records: Sequence[object]) -> None:
        """Send records without waiting, so that two models can work at the same time; see :meth:`predictions`."""
        self._send({"records": records})

    def predictions(self) -> list[Prediction | None]:
        """Wait for the predictions of the records sent last, in order; ``None`` where the model gives none."""
        found: list[Prediction | None] = self._receive()["predictions"]
        return found

    def seconds(self, times: int) -> list[float]:
        """Seconds of each of ``times`` predictions of all records that were sent last."""
        self._send({"times": times})
        found: list[float] = self._receive()["seconds"]
        return found

    def _send(self, message: object) -> None:
        assert self._process.stdin  # noqa: S101 - it was opened as a pipe
        try:
            self._process.stdin.write(json.dumps(message, ensure_ascii=True) + "\n")
            self._process.stdin.flush()
        except OSError as error:
            raise DataError(f"{self.source.name}: {self._error_tail()}") from error

    def _receive(self) -> dict[str, Any]:
        assert self._process.stdout  # noqa: S101 - it was opened as a pipe
        line = self._process.stdout.readline()
        if not line:
            raise DataError(self._error_tail())
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise DataError(f"cannot be loaded: {answer['error']}")
        return answer

    def _error_tail(self) -> str:
        self._errors.seek(0)
        tail = self._errors.read().decode("utf-8", "replace").strip()[-_ERROR_TAIL:]
        return f"its process ended; the end of its error output:\n{tail}"
