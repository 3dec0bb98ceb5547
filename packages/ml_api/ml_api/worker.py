"""gunicorn's threaded worker, which no client can hold up.

A request holds a thread from its first byte to the last of its answer, so a client that stalls costs a thread. Threads
that wait are cheap, so there are many (``gunicorn.conf.py``); how many compute at a time is seen to where they do. Here
is what ends the waiting: a time by which a request must have come and its answer been taken, and a close that waits in
a thread of its own, not in the loop that accepts connections. And what gunicorn says of a malformed request is said in
our words: its own quote the request in the log.
"""

from __future__ import annotations

import errno
import json
import select
import socket
import time
from contextlib import suppress
from typing import Any
from uuid import uuid4

from gunicorn.http import errors  # type: ignore[import-untyped]
from gunicorn.workers.gthread import TConn, ThreadWorker  # type: ignore[import-untyped]

from ml_api.connection import MAX_DISCARDED
from ml_api.logs import LOGGER
from ml_api.request_id import HEADER

#: Bytes a second that buy a client more time: who sends 32 MiB at 2 Mbit/s is not stalling.
SLOWEST = 256 * 1024
#: Seconds in which a client may go on sending what nobody reads, or close its end.
LINGER = 2.0
#: gunicorn reads a request's head in pieces of this size, and with it the beginning of the body.
HEAD_PIECE = 8192

#: What is wrong with a request that never reached the application.
REFUSALS: tuple[tuple[type[Exception], int, str, str], ...] = (
    (errors.LimitRequestLine, 414, "URI Too Long", "The request line is too long."),
    (errors.LimitRequestHeaders, 431, "Request Header Fields Too Large", "The headers are too long or too many."),
    (errors.ExpectationFailed, 417, "Expectation Failed", "The only expectation that is met is 100-continue."),
    (errors.ForbiddenProxyRequest, 403, "Forbidden", "The proxy protocol is not for this address."),
    (errors.InvalidResponseHeader, 500, "Internal Server Error", ""),
    (errors.InvalidResponseHeaderName, 500, "Internal Server Error", ""),
    (errors.ParseException, 400, "Bad Request", "The request is not valid HTTP/1.1."),
    (Exception, 500, "Internal Server Error", ""),
)
TOO_SLOW = (408, "Request Timeout", "The request did not arrive in time.")


class Client(socket.socket):
    """A client's socket that waits for it only so long.

    gunicorn ignores errors of the kinds that are raised here: to it the client has gone.
    """

    def begin(self, patience: float) -> None:
        """Give the client ``patience`` seconds, and more as it sends, for the next request."""
        self.patience = patience
        self.deadline = time.monotonic() + patience
        self.late = self.answered = False

    def recv(self, bufsize: int, flags: int = 0, /) -> bytes:
        left = self.deadline - time.monotonic()
        try:
            if left <= 0:
                raise TimeoutError
            self.settimeout(left)
            piece = super().recv(bufsize, flags)
        except TimeoutError:
            self.late = True
            raise TimeoutError(errno.ECONNRESET, "the client is too slow in sending") from None
        self.deadline += len(piece) / SLOWEST
        return piece

    def sendall(self, data: Any, flags: int = 0, /) -> None:
        self.answered = True
        self.settimeout(self.patience + memoryview(data).nbytes / SLOWEST)
        try:
            super().sendall(data, flags)
        except TimeoutError:
            raise TimeoutError(errno.EPIPE, "the client is too slow in reading") from None

    def linger(self) -> None:
        """End the connection so that the client gets what was sent, though it may be sending still.

        Closing at once would have the system throw away the answer with the rest of the body.
        """
        self.deadline = time.monotonic() + LINGER
        left = MAX_DISCARDED - HEAD_PIECE
        with suppress(OSError):
            self.shutdown(socket.SHUT_WR)
            while left > 0 and (piece := self.recv(min(left, 65536))):
                left -= len(piece)
        self.close()


class Connection(TConn):  # type: ignore[misc]
    """A connection whose waiting costs no descriptor, and whose close costs the accepting loop no time."""

    data_ready: bool

    def wait_for_data(self, timeout: float) -> bool:
        """Whether the first bytes came within ``timeout`` seconds."""
        poller = select.poll()
        poller.register(self.sock, select.POLLIN)
        self.data_ready = self.data_ready or bool(poller.poll(timeout * 1000))
        return self.data_ready

    def close(self, graceful: bool = False) -> None:
        """Close; the waiting that belongs to a graceful close was done by :meth:`Worker.handle`."""
        super().close()


class Worker(ThreadWorker):  # type: ignore[misc]
    """Many threads that mostly wait. ``patience`` is set by ``gunicorn.conf.py``."""

    patience = 20.0

    def accept(self, listener: Any) -> None:
        """Accept a connection and give it to a thread."""
        try:
            sock, address = listener.accept()
        except OSError as error:
            if error.errno not in (errno.EAGAIN, errno.EWOULDBLOCK, errno.ECONNABORTED):
                raise
            return
        self.nr_conns += 1
        client = Client(fileno=sock.detach())
        self.enqueue_req(Connection(self.cfg, client, address, listener.getsockname()))

    def handle(self, conn: Any) -> Any:
        """Answer one request; what is returned says whether the connection is kept."""
        client: Client = conn.sock
        client.begin(self.patience)
        kept = super().handle(conn)
        if not kept:
            if client.late and not client.answered:
                self._refuse(client, *TOO_SLOW)
            client.linger()
        return kept

    def _keepalive_after(self, conn: Any, keepalive: Any) -> bool:
        """Read what is left of a body that the application did not want; it has seen to it that this is not much."""
        if not keepalive:
            return False
        conn.sock.deadline = deadline = time.monotonic() + LINGER
        return bool(conn.parser.finish_body(deadline=deadline, max_bytes=MAX_DISCARDED + 1))

    def handle_error(self, req: Any, client: Client, addr: Any, exc: Exception) -> None:
        """Answer what the application never saw or could not finish, without a word of it in the log."""
        _, status, title, detail = next(refusal for refusal in REFUSALS if isinstance(exc, refusal[0]))
        if status == 500:
            LOGGER.error("request failed in the server", exc_info=exc)
        self._refuse(client, status, title, detail or "The server failed.")

    def _refuse(self, client: Client, status: int, title: str, detail: str) -> None:
        """A problem as the application would tell it, and its line in the log."""
        name = uuid4().hex
        LOGGER.info("request", extra={"fields": {"request_id": name, "route": None, "status": status}})
        document = {"type": "about:blank", "title": title, "status": status, "detail": detail, "request_id": name}
        body = json.dumps(document, separators=(",", ":"))
        head = (
            f"HTTP/1.1 {status} {title}",
            "Connection: close",
            "Content-Type: application/problem+json",
            f"Content-Length: {len(body)}",
            f"{HEADER}: {name}",
        )
        with suppress(OSError):
            client.sendall("\r\n".join((*head, "", body)).encode())
