"""gunicorn's threaded worker with deadlines, so that slow clients cannot block it.

A request occupies a thread from its first byte to the last byte of its response, so a stalled client costs a thread.
Waiting threads are cheap, so there are many (``gunicorn.conf.py``); the number that computes at the same time is
limited elsewhere. This module bounds the waiting: a request must be received, and its response sent, by a deadline; and
a graceful close waits in the connection's own thread, not in the loop that accepts connections. It also replaces
gunicorn's messages about malformed requests, which quote the request in the log.
"""

from __future__ import annotations

import errno
import json
import select
import socket
import threading
import time
from contextlib import suppress
from typing import Any
from uuid import uuid4

from gunicorn.http import errors  # type: ignore[import-untyped]
from gunicorn.http.body import LengthReader  # type: ignore[import-untyped]
from gunicorn.workers.gthread import (  # type: ignore[import-untyped]
    DEFAULT_WORKER_DATA_TIMEOUT,
    TConn,
    ThreadWorker,
)

from ml_api.compute_lock import ComputeLock
from ml_api.connection import MAX_DISCARDED
from ml_api.logs import LOGGER
from ml_api.memory import trim
from ml_api.memory_budget import SMALL, Reservation
from ml_api.request_id import HEADER
from ml_api.worker_loads import NO_WORKER, WorkerLoads

#: Bytes that extend a client's deadline by one second: 32 MiB at 2 Mbit/s is slow, but not stalled.
MIN_RATE = 256 * 1024
#: Seconds for which a client may hold memory that others wait for, and bytes that extend this by one second.
CONTENDED_TIMEOUT, CONTENDED_MIN_RATE = 2.0, 1024 * 1024
#: Seconds between two checks whether other requests wait for that memory.
CONTENTION_CHECK_INTERVAL = 0.5
#: Seconds for which a client may continue to send after the response, or take to close its side.
LINGER_TIMEOUT = 2.0
#: Seconds for which a thread waits for the next request on the same connection.
NEXT_REQUEST_TIMEOUT = 0.1
#: Seconds for which a request waits for the compute lock: a constant, and an addition for each connection.
LOCK_TIMEOUT, LOCK_TIMEOUT_PER_CONNECTION = 0.005, 0.0005
#: Received bytes from which on a request does not hold the compute lock, because it takes long.
LONG_REQUEST = 65536
#: Received bytes from which on freed memory is returned to the system after the request. That takes milliseconds; a
#: worker that had answered bodies of 10,000 rows, eight at a time, kept 250 MB without it and keeps 90 MB with it.
TRIM_THRESHOLD = 1024 * 1024
#: Seconds for which a connection is left to other workers, and for which it is not left to them again if none took it.
DEFER_SECONDS, ACCEPT_SECONDS = 0.01, 0.05
#: Bytes that gunicorn reads at a time while it parses a request's head; they may include the beginning of the body.
HEAD_CHUNK = 8192

#: Exception of gunicorn's parser -> status, title and detail of the response.
ERROR_RESPONSES: tuple[tuple[type[Exception], int, str, str], ...] = (
    (errors.LimitRequestLine, 414, "URI Too Long", "The request line is too long."),
    (errors.LimitRequestHeaders, 431, "Request Header Fields Too Large", "The headers are too long or too many."),
    (errors.ExpectationFailed, 417, "Expectation Failed", "The only expectation that is met is 100-continue."),
    (errors.ForbiddenProxyRequest, 403, "Forbidden", "The proxy protocol is not for this address."),
    (errors.InvalidResponseHeader, 500, "Internal Server Error", ""),
    (errors.InvalidResponseHeaderName, 500, "Internal Server Error", ""),
    (errors.ParseException, 400, "Bad Request", "The request is not valid HTTP/1.1."),
    (Exception, 500, "Internal Server Error", ""),
)
REQUEST_TIMEOUT = (408, "Request Timeout", "The request did not arrive in time.")


class Client(socket.socket):
    """A client's socket whose reads and writes have deadlines.

    The underlying socket never blocks: available bytes are read at once, and only otherwise does this class wait, with
    a deadline of its own. It raises errors of the kinds that gunicorn ignores because they mean that the client has
    disconnected.
    """

    #: Held while a request is processed, and never while waiting for its client.
    compute_lock: threading.Lock | None = None
    #: Memory reserved for a large request, and the time until which it may be held while other requests wait for it.
    reservation: Reservation | None = None
    contended_deadline = 0.0

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        super().setblocking(False)

    def begin(self, timeout: float) -> None:
        """Reset the state for the next request, which must arrive within ``timeout`` seconds, or more as it is sent."""
        self.request_timeout = timeout
        self.deadline = time.monotonic() + timeout
        self.timed_out = self.response_started = False
        self.received = 0
        self.buffered = b""
        self.reservation = None

    def set_reservation(self, reservation: Reservation) -> None:
        """Start reading a large body: the time spent waiting for memory does not count against the deadline."""
        self.reservation = reservation
        now = time.monotonic()
        self.deadline = max(self.deadline, now + self.request_timeout)
        self.contended_deadline = now + CONTENDED_TIMEOUT

    def setblocking(self, flag: bool, /) -> None:
        """Do nothing: gunicorn calls this several times per request, and each would be a system call."""

    def settimeout(self, value: float | None, /) -> None:
        """Do nothing: see :attr:`deadline`."""

    def wait(self, event: int, seconds: float) -> bool:
        """Wait for ``event`` (of :mod:`select`); returns whether the socket is ready for it within ``seconds``."""
        self.release_compute_lock()
        poller = select.poll()
        poller.register(self, event)
        return bool(poller.poll(max(seconds, 0) * 1000))

    def release_compute_lock(self) -> None:
        """Let other requests compute; does nothing if the lock is not held."""
        lock, self.compute_lock = self.compute_lock, None
        if lock is not None:
            lock.release()

    def _wait_until(self, event: int, deadline: float) -> bool:
        """Wait for ``event`` until the deadline, or until memory is contended and its shorter deadline has passed."""
        if self.reservation is None or not self.reservation.size:
            return self.wait(event, deadline - time.monotonic())
        while (now := time.monotonic()) < deadline:
            if now > self.contended_deadline and self.reservation.contended:
                break
            if self.wait(event, min(CONTENTION_CHECK_INTERVAL, deadline - now)):
                return True
        return False

    def recv(self, bufsize: int, flags: int = 0, /) -> bytes:
        """Receive up to ``bufsize`` bytes, at most ``SMALL`` without a reservation.

        Raises:
            TimeoutError: the client sends too slowly.
        """
        if bufsize > SMALL and self.reservation is None:
            bufsize = SMALL
        while True:
            try:
                piece = super().recv(bufsize, flags)
            except BlockingIOError:
                if not self._wait_until(select.POLLIN, self.deadline):
                    self.timed_out = True
                    raise TimeoutError(errno.ECONNRESET, "the client sends too slowly") from None
                continue
            self.deadline += len(piece) / MIN_RATE
            self.contended_deadline += len(piece) / CONTENDED_MIN_RATE
            self.received += len(piece)
            if self.received > LONG_REQUEST:
                self.release_compute_lock()
            return piece

    def send(self, data: Any, flags: int = 0, /) -> int:
        """Send all of ``data``: gunicorn sends "100 Continue" with this method and ignores how much was sent.

        Raises:
            TimeoutError: the client reads too slowly.
        """
        left = memoryview(data)
        deadline = None
        if self.reservation is not None:
            self.contended_deadline = time.monotonic() + CONTENDED_TIMEOUT
        while left:
            try:
                sent = super().send(left, flags)
                left = left[sent:]
                self.contended_deadline += sent / CONTENDED_MIN_RATE
            except BlockingIOError:
                deadline = deadline or time.monotonic() + self.request_timeout + left.nbytes / MIN_RATE
                if not self._wait_until(select.POLLOUT, deadline):
                    raise TimeoutError(errno.EPIPE, "the client reads too slowly") from None
        return len(data)

    def sendall(self, data: Any, flags: int = 0, /) -> None:
        """Send ``data``; the first call, with a response's head, is buffered until the second or :meth:`flush`."""
        if not self.response_started:
            self.response_started = True
            self.buffered = bytes(data)
            return
        self.send(self.buffered + data if self.buffered else data, flags)
        self.buffered = b""

    def flush(self) -> None:
        """Send what :meth:`sendall` has buffered."""
        buffered, self.buffered = self.buffered, b""
        self.send(buffered)

    def linger(self) -> None:
        """Close the connection so that the client receives the response even if it is still sending.

        The system would discard the response if the socket were closed while unread bytes of the body remain.
        """
        self.deadline = time.monotonic() + LINGER_TIMEOUT
        left = MAX_DISCARDED - HEAD_CHUNK
        with suppress(OSError):
            self.flush()
            self.shutdown(socket.SHUT_WR)
            while left > 0 and (piece := self.recv(min(left, 65536))):
                left -= len(piece)
        self.close()


class Connection(TConn):  # type: ignore[misc]
    """A connection that waits without a selector, and closes without blocking the loop that accepts connections."""

    data_ready: bool

    def wait_for_first_bytes(self) -> bool:
        """Wait for the first bytes of a new connection; returns whether they came in time."""
        client: Client = self.sock
        self.data_ready = self.data_ready or client.wait(select.POLLIN, DEFAULT_WORKER_DATA_TIMEOUT)
        return self.data_ready

    def wait_for_data(self, timeout: float) -> bool:
        """Return whether the first bytes have come, without waiting: see :meth:`wait_for_first_bytes`."""
        return self.data_ready

    def close(self, graceful: bool = False) -> None:
        """Close without waiting: :meth:`Worker.handle` has done that."""
        super().close()


class Worker(ThreadWorker):  # type: ignore[misc]
    """A worker with many threads that mostly wait. ``gunicorn.conf.py`` sets ``request_timeout`` and ``loads``."""

    request_timeout = 20.0
    loads = WorkerLoads(1)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Allocate a load slot; gunicorn calls this before it forks."""
        super().__init__(*args, **kwargs)
        self.load_slot = self.loads.acquire()
        self.compute_lock = ComputeLock()
        self.active: set[Connection] = set()
        #: Time since which new connections are left to other workers (0: they are not), and time until which they are
        #: accepted in any case.
        self.deferred_at = self.accepts_until = 0.0

    def publish_load(self) -> None:
        """Publish this worker's load: its connections, counting those with an active request twice."""
        self.load_slot.publish(self.nr_conns + len(self.active) if self.alive else NO_WORKER)

    def accept(self, listener: Any) -> None:
        """Accept the pending connections and give each to a thread, or leave them to a worker with less load."""
        while self.nr_conns < self.worker_connections:
            self.publish_load()
            now = time.monotonic()
            if now > self.accepts_until and self.load_slot.is_overloaded():
                self.deferred_at = now
                self.set_accept_enabled(False)
                return
            try:
                sock, address = listener.accept()
            except OSError as error:
                if error.errno not in (errno.EAGAIN, errno.EWOULDBLOCK, errno.ECONNABORTED):
                    raise
                return
            self.nr_conns += 1
            client = Client(fileno=sock.detach())
            self.enqueue_req(Connection(self.cfg, client, address, listener.getsockname()))

    def set_accept_enabled(self, enabled: bool) -> None:
        """Watch for new connections, unless they are left to other workers."""
        super().set_accept_enabled(enabled and not self.deferred_at)

    def wait_for_and_dispatch_events(self, timeout: float) -> None:
        """Handle events; then check whether other workers have accepted the connections that were left to them."""
        self.publish_load()
        super().wait_for_and_dispatch_events(min(timeout, DEFER_SECONDS / 10) if self.deferred_at else timeout)
        if not self.deferred_at:
            return
        now = time.monotonic()
        if not self._has_pending_connections() or not self.load_slot.is_overloaded():
            self.deferred_at = 0.0
        elif now > self.deferred_at + DEFER_SECONDS:
            self.deferred_at, self.accepts_until = 0.0, now + ACCEPT_SECONDS

    def _has_pending_connections(self) -> bool:
        poller = select.poll()
        for listener in self.sockets:
            poller.register(listener, select.POLLIN)
        return bool(poller.poll(0))

    def handle(self, conn: Any) -> Any:
        """Process the connection's requests while they follow each other; returns whether to keep the connection.

        Passing the connection back to the loop and out again would cost as much as a small response.
        """
        client: Client = conn.sock
        kept: Any = conn.initialized or conn.wait_for_first_bytes()
        while True:
            client.begin(self.request_timeout)
            if kept:
                timeout = LOCK_TIMEOUT + LOCK_TIMEOUT_PER_CONNECTION * self.nr_conns
                client.compute_lock = self.compute_lock.acquire(timeout)
            self.active.add(conn)
            self.publish_load()
            try:
                kept = super().handle(conn)
            finally:
                client.release_compute_lock()
                self.active.discard(conn)
                self.publish_load()
                if client.received > TRIM_THRESHOLD:
                    trim()
            if kept is not True or not self._wait_for_next_request(conn):
                break
        if not kept:
            if client.timed_out and not client.response_started:
                self._send_problem(client, *REQUEST_TIMEOUT)
            client.linger()
        return kept

    def _wait_for_next_request(self, conn: Any) -> bool:
        """Return whether another request comes so soon that the thread should wait; not when threads are scarce."""
        if not self.alive or self.nr_conns > self.cfg.threads // 2:
            return False
        return bool(conn.parser.unreader.buf.getvalue()) or conn.sock.wait(select.POLLIN, NEXT_REQUEST_TIMEOUT)

    def _keepalive_after(self, conn: Any, keepalive: Any) -> bool:
        """Discard the unread rest of a body, which is short: see :func:`ml_api.connection.close_if_unread`."""
        client: Client = conn.sock
        client.flush()
        if not keepalive:
            return False
        client.deadline = deadline = time.monotonic() + LINGER_TIMEOUT
        reader = conn.parser.mesg.body.reader
        if not isinstance(reader, LengthReader):
            return bool(conn.parser.finish_body(deadline=deadline, max_bytes=MAX_DISCARDED + 1))
        if reader.length > MAX_DISCARDED:
            return False
        # In larger pieces than gunicorn's.
        while reader.length and reader.read(HEAD_CHUNK):
            pass
        return not reader.length

    def handle_error(self, req: Any, client: Client, addr: Any, exc: Exception) -> None:
        """Respond to a request that the application did not receive or finish, without quoting it in the log."""
        _, status, title, detail = next(response for response in ERROR_RESPONSES if isinstance(exc, response[0]))
        if status == 500:
            LOGGER.error("request failed in the server", exc_info=exc)
        self._send_problem(client, status, title, detail or "The server failed.")

    def _send_problem(self, client: Client, status: int, title: str, detail: str) -> None:
        """Send problem details in the application's format, and write the log line."""
        request_id = uuid4().hex
        LOGGER.info("request", extra={"fields": {"request_id": request_id, "route": None, "status": status}})
        document = {"type": "about:blank", "title": title, "status": status, "detail": detail, "request_id": request_id}
        body = json.dumps(document, separators=(",", ":"))
        head = (
            f"HTTP/1.1 {status} {title}",
            "Connection: close",
            "Content-Type: application/problem+json",
            f"Content-Length: {len(body)}",
            f"{HEADER}: {request_id}",
        )
        client.response_started = True
        with suppress(OSError):
            client.send("\r\n".join((*head, "", body)).encode())
