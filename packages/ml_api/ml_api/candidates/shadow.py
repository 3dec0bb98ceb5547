"""Passes the records of a worker's requests to a shadow, without ever waiting for it."""

from __future__ import annotations

import atexit
import json
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from ml_api.candidates.packets import BUFFER, MAX_BODY, head

#: Seconds until the runner is tried again after it did not answer, and for sending what is large.
RETRY_INTERVAL, LARGE_TIMEOUT = 1.0, 10.0
#: Seconds until the runner is told of rows that were dropped, if no packet tells it before.
TELL_INTERVAL = 1.0


class Shadow:
    """The connection of one worker to the runner of a shadow; may be used in any thread.

    Args:
        address: of the runner.
    """

    def __init__(self, address: Path) -> None:
        self._address = str(address)
        self._sock: socket.socket | None = None
        self._retry_at = 0.0
        #: Rows that could not be sent; the next packet tells the runner.
        self._dropped = 0
        self._lock = threading.Lock()
        #: Held while a large body is sent; another one is dropped.
        self._large = threading.Lock()
        self._teller: threading.Timer | None = None
        atexit.register(self._tell)

    def send(self, prediction_id: str, body: bytes | bytearray, records: Sequence[object]) -> None:
        """Pass the records of a request on, or drop them where the runner does not keep up."""
        if len(body) <= MAX_BODY:
            self._send(prediction_id, 0, len(records), body)
        elif self._large.acquire(blocking=False):
            threading.Thread(target=self._send_large, args=(prediction_id, records), daemon=True).start()
        else:
            self._drop(len(records))

    def _send(self, prediction_id: str, first: int, n_rows: int, body: bytes | bytearray) -> None:
        with self._lock:
            told = self._dropped
            try:
                self._connected().sendmsg((head(prediction_id, first, n_rows, told), body))
                self._dropped -= told
            except BlockingIOError:
                self._add_dropped(n_rows)
            except OSError:
                self._add_dropped(n_rows)
                self.close()
                self._retry_at = time.monotonic() + RETRY_INTERVAL

    def _connected(self) -> socket.socket:
        if self._sock is None:
            if time.monotonic() < self._retry_at:
                raise BlockingIOError
            self._sock = sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            sock.setblocking(False)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER)
            sock.connect(self._address)
        return self._sock

    def close(self) -> None:
        """Close the connection; it is opened again when it is needed."""
        if self._sock is not None:
            self._sock.close()
        self._sock = None

    def _drop(self, n_rows: int) -> None:
        with self._lock:
            self._add_dropped(n_rows)

    def _add_dropped(self, n_rows: int) -> None:
        self._dropped += n_rows
        if self._dropped and self._teller is None:
            self._teller = threading.Timer(TELL_INTERVAL, self._tell, (True,))
            self._teller.daemon = True
            self._teller.start()

    def _tell(self, again: bool = False) -> None:
        """Tell the runner of what was dropped, ``again`` later where it does not take that now."""
        with self._lock:
            self._teller = None
            if not self._dropped:
                return
            try:
                self._connected().sendmsg((head("", 0, 0, self._dropped),))
                self._dropped = 0
            except OSError:
                if again:
                    self._add_dropped(0)

    def _send_large(self, prediction_id: str, records: Sequence[object]) -> None:
        """Send a large body in parts, waiting for the runner, which no request does."""
        sent = 0
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as sock:
                sock.settimeout(LARGE_TIMEOUT)
                sock.connect(self._address)
                for part in _parts(records):
                    if len(part) <= MAX_BODY:
                        n_rows = part.n_rows
                        sock.sendmsg((head(prediction_id, sent, n_rows, 0), part.body))
                    else:
                        self._drop(part.n_rows)
                    sent += part.n_rows
        except OSError:
            self._drop(len(records) - sent)
        finally:
            self._large.release()


class _Part:
    """Records that fit into a packet, or one that does not."""

    def __init__(self) -> None:
        self._texts: list[bytes] = []
        self._size = 2

    def __len__(self) -> int:
        return self._size

    def add(self, text: bytes) -> bool:
        """Add a record, if it fits."""
        if self._texts and self._size + len(text) + 1 > MAX_BODY:
            return False
        self._texts.append(text)
        self._size += len(text) + 1
        return True

    @property
    def n_rows(self) -> int:
        """How many records these are."""
        return len(self._texts)

    @property
    def body(self) -> bytes:
        """The records as a JSON array."""
        return b"[%b]" % b",".join(self._texts)


def _parts(records: Sequence[object]) -> Iterator[_Part]:
    part = _Part()
    for record in records:
        text = bytes(record) if isinstance(record, msgspec.Raw) else json.dumps(record).encode()
        if not part.add(text):
            yield part
            part = _Part()
            part.add(text)
    yield part
