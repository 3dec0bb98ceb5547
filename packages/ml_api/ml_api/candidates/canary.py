"""Has a canary answer a share of the callers of a worker."""

from __future__ import annotations

import hashlib
import json
import socket
import threading
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
from model_kit.scoring.explanation import Explanation
from model_kit.scoring.predictor import Answer, DetailedAnswer

from ml_api.admission import CANARY_SLOTS
from ml_api.candidates import frames
from ml_api.candidates.status import NOT_READY
from ml_api.prediction_log.details import Served


class Canary:
    """The connections of one worker to the runner of a canary; may be used in any thread.

    Args:
        name: of the model.
        address: of the runner.
        share: of the callers, from 0 to 1.
        timeout: seconds for an answer.
    """

    def __init__(self, name: str, address: Path, share: float, timeout: float) -> None:
        self._name, self._address, self._timeout = name, str(address), timeout
        self.share = share
        self._slots = threading.Semaphore(CANARY_SLOTS)
        self._idle: deque[tuple[socket.socket, frames.Receiver]] = deque()

    def is_for(self, caller: str) -> bool:
        """Return whether a caller is among those that the canary serves: always the same for the same caller."""
        digest = hashlib.sha256(f"{self._name}\0{caller}".encode("utf-8", "backslashreplace")).digest()
        return int.from_bytes(digest[:8]) < self.share * 2**64

    def ask(
        self, body: bytes | bytearray, options: dict[str, Any] | None, *, is_logged: bool, wait: Callable[[], None]
    ) -> tuple[Served | None, str]:
        """Return the answer of the candidate, and ``answered``; or ``None``, and why the installed version answers.

        Args:
            body: of the request.
            options: the details that are asked for.
            is_logged: whether the details of the prediction log are needed.
            wait: called before the answer is waited for.
        """
        if not self._slots.acquire(blocking=False):
            return None, "busy"
        try:
            wait()
            header, payload = self._exchange({"options": options, "is_logged": is_logged}, body)
        except TimeoutError:
            return None, "timeout"
        except OSError:
            return None, NOT_READY
        finally:
            self._slots.release()
        if "fault" in header:
            return None, header["fault"]
        found = json.loads(payload)
        served = Served(_answer(found["answer"]), header["version"], header["artifact_sha256"], found["details"])
        return served, "answered"

    def _exchange(self, header: dict[str, Any], body: bytes | bytearray) -> tuple[dict[str, Any], bytes]:
        while True:
            try:
                connection, is_new = self._idle.pop(), False
            except IndexError:
                connection, is_new = self._connect(), True
            sock, receiver = connection
            try:
                frames.send(sock, header, body)
                frame = receiver.receive()
            except BaseException as error:
                # A late answer must not be taken for that of the next request.
                sock.close()
                if is_new or not isinstance(error, ConnectionError):
                    raise
                continue  # the runner was restarted since the last request
            if frame is not None:
                self._idle.append(connection)
                return frame

    def _connect(self) -> tuple[socket.socket, frames.Receiver]:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.settimeout(self._timeout)
        try:
            sock.connect(self._address)
        except BaseException:
            sock.close()
            raise
        return sock, frames.Receiver(sock)


def _answer(found: dict[str, Any]) -> Answer:
    found["errors"] = {int(row): messages for row, messages in found["errors"].items()}
    if "explanations" in found:
        found["explanations"] = msgspec.convert(found["explanations"], list[Explanation | None])
    is_detailed = found.keys() & {"intervals", "probabilities", "explanations", "warnings"}
    return DetailedAnswer(**found) if is_detailed else Answer(**found)
