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

from ml_api.compute_lock import Turns
from ml_api.connection import MAX_DISCARDED
from ml_api.logs import LOGGER
from ml_api.memory import trim
from ml_api.memory_budget import SMALL, Place
from ml_api.request_id import HEADER
from ml_api.worker_loads import NOBODY, Shares

#: Bytes a second that buy a client more time: who sends 32 MiB at 2 Mbit/s is not stalling.
SLOWEST = 256 * 1024
#: Seconds, and bytes a second that buy more, for which a client may hold room that others wait for.
BRIEF, BRISK = 2.0, 1024 * 1024
#: Seconds between two looks whether others wait for it.
GLANCE = 0.5
#: Seconds in which a client may go on sending what nobody reads, or close its end.
LINGER = 2.0
#: Seconds for which a thread waits for the next request of the connection that it has just served.
STAY = 0.1
#: Seconds for which a request waits while another is worked on: so many, and so many for each connection.
TURN, TURN_EACH = 0.005, 0.0005
#: Bytes of a request from which on it counts as long work, for which nobody waits.
LONG = 65536
#: Bytes of a request from which on what it took is given back to the system at once. That takes milliseconds; a worker
#: that had answered bodies of 10,000 rows, eight at a time, kept 250 MB without it and has 90 with it.
HUGE = 1024 * 1024
#: Seconds in which others may take a connection, and for which they are not asked again if they did not.
LEAVE, INSIST = 0.01, 0.05
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

    The system's socket never blocks: what is there is read at once, and only for what is not there does this wait, by
    its own clock. gunicorn ignores errors of the kinds that are raised here: to it the client has gone.
    """

    #: Held while a request is worked on, and never while its client is waited for.
    turn: threading.Lock | None = None
    #: What the request has of the room for large ones, and until when it may have it though others wait for it.
    place: Place | None = None
    brisk = 0.0

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        super().setblocking(False)

    def begin(self, patience: float) -> None:
        """Give the client ``patience`` seconds, and more as it sends, for the next request."""
        self.patience = patience
        self.deadline = time.monotonic() + patience
        self.late = self.answered = False
        self.received = 0
        self.held = b""
        self.place = None

    def hold(self, place: Place) -> None:
        """Read what is large, from now on; the time in which nothing was read of it does not count."""
        self.place = place
        now = time.monotonic()
        self.deadline = max(self.deadline, now + self.patience)
        self.brisk = now + BRIEF

    def setblocking(self, flag: bool, /) -> None:
        """Nothing: gunicorn asks for it several times a request, and each would be a call of the system."""

    def settimeout(self, value: float | None, /) -> None:
        """Nothing: see :attr:`deadline`."""

    def wait(self, event: int, seconds: float) -> bool:
        """Whether the socket is ready for ``event`` (of :mod:`select`) within so many seconds."""
        self.end_turn()
        poller = select.poll()
        poller.register(self, event)
        return bool(poller.poll(max(seconds, 0) * 1000))

    def end_turn(self) -> None:
        """Let others work on their requests."""
        turn, self.turn = self.turn, None
        if turn is not None:
            turn.release()

    def _is_ready(self, event: int, until: float) -> bool:
        """Whether the socket is ready for ``event`` by then, or before it has to give way."""
        if self.place is None or not self.place.taken:
            return self.wait(event, until - time.monotonic())
        while (now := time.monotonic()) < until and not (now > self.brisk and self.place.crowded):
            if self.wait(event, min(GLANCE, until - now)):
                return True
        return False

    def recv(self, bufsize: int, flags: int = 0, /) -> bytes:
        if bufsize > SMALL and self.place is None:
            bufsize = SMALL
        while True:
            try:
                piece = super().recv(bufsize, flags)
            except BlockingIOError:
                if not self._is_ready(select.POLLIN, self.deadline):
                    self.late = True
                    raise TimeoutError(errno.ECONNRESET, "the client is too slow in sending") from None
                continue
            self.deadline += len(piece) / SLOWEST
            self.brisk += len(piece) / BRISK
            self.received += len(piece)
            if self.received > LONG:
                self.end_turn()
            return piece

    def send(self, data: Any, flags: int = 0, /) -> int:
        """All of ``data``: gunicorn sends its "100 Continue" so and does not look at how much went."""
        left = memoryview(data)
        until = None
        if self.place is not None:
            self.brisk = time.monotonic() + BRIEF
        while left:
            try:
                sent = super().send(left, flags)
                left = left[sent:]
                self.brisk += sent / BRISK
            except BlockingIOError:
                until = until or time.monotonic() + self.patience + left.nbytes / SLOWEST
                if not self._is_ready(select.POLLOUT, until):
                    raise TimeoutError(errno.EPIPE, "the client is too slow in reading") from None
        return len(data)

    def sendall(self, data: Any, flags: int = 0, /) -> None:
        """Send ``data``; the first piece of an answer, its head, goes with the second or with :meth:`flush`."""
        if not self.answered:
            self.answered = True
            self.held = bytes(data)
            return
        self.send(self.held + data if self.held else data, flags)
        self.held = b""

    def flush(self) -> None:
        """Send what was held back."""
        held, self.held = self.held, b""
        self.send(held)

    def linger(self) -> None:
        """End the connection so that the client gets what was sent, though it may be sending still.

        Closing at once would have the system throw away the answer with the rest of the body.
        """
        self.deadline = time.monotonic() + LINGER
        left = MAX_DISCARDED - HEAD_PIECE
        with suppress(OSError):
            self.flush()
            self.shutdown(socket.SHUT_WR)
            while left > 0 and (piece := self.recv(min(left, 65536))):
                left -= len(piece)
        self.close()


class Connection(TConn):  # type: ignore[misc]
    """A connection whose waiting costs no descriptor, and whose close costs the accepting loop no time."""

    data_ready: bool

    def arrives(self) -> bool:
        """Whether the first bytes of a new connection come soon."""
        client: Client = self.sock
        self.data_ready = self.data_ready or client.wait(select.POLLIN, DEFAULT_WORKER_DATA_TIMEOUT)
        return self.data_ready

    def wait_for_data(self, timeout: float) -> bool:
        """Whether the first bytes have come; the waiting was done in :meth:`arrives`."""
        return self.data_ready

    def close(self, graceful: bool = False) -> None:
        """Close; the waiting that belongs to a graceful close was done by :meth:`Worker.handle`."""
        super().close()


class Worker(ThreadWorker):  # type: ignore[misc]
    """Many threads that mostly wait. ``patience`` and ``shares`` are set by ``gunicorn.conf.py``."""

    patience = 20.0
    shares = Shares(1)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Take a place among the workers; gunicorn calls this before it forks."""
        super().__init__(*args, **kwargs)
        self.share = self.shares.take()
        self.turns = Turns()
        self.busy: set[Connection] = set()
        #: Since when new connections are left to others (0: they are not), and until when they are taken nevertheless.
        self.left_at = self.insists_until = 0.0

    def tell(self) -> None:
        """Tell the other workers how much there is to do here: a request that is worked on counts like a connection."""
        self.share.tell(self.nr_conns + len(self.busy) if self.alive else NOBODY)

    def accept(self, listener: Any) -> None:
        """Accept the connections that wait and give each to a thread, or leave them to a worker with less to do."""
        while self.nr_conns < self.worker_connections:
            self.tell()
            now = time.monotonic()
            if now > self.insists_until and self.share.is_large():
                self.left_at = now
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
        """Look out for new connections, unless they are left to others."""
        super().set_accept_enabled(enabled and not self.left_at)

    def wait_for_and_dispatch_events(self, timeout: float) -> None:
        """Do what there is to do; then look whether others have taken what was left to them."""
        self.tell()
        super().wait_for_and_dispatch_events(min(timeout, LEAVE / 10) if self.left_at else timeout)
        if not self.left_at:
            return
        now = time.monotonic()
        if not self._somebody_waits() or not self.share.is_large():
            self.left_at = 0.0
        elif now > self.left_at + LEAVE:
            self.left_at, self.insists_until = 0.0, now + INSIST

    def _somebody_waits(self) -> bool:
        """Whether there are connections to accept."""
        poller = select.poll()
        for listener in self.sockets:
            poller.register(listener, select.POLLIN)
        return bool(poller.poll(0))

    def handle(self, conn: Any) -> Any:
        """Answer the connection's requests as long as they follow each other; what is returned says whether it is kept.

        To hand the connection back to the loop and to get it from there again costs as much as a small answer.
        """
        client: Client = conn.sock
        kept: Any = conn.initialized or conn.arrives()
        while True:
            client.begin(self.patience)
            if kept:
                client.turn = self.turns.take(TURN + TURN_EACH * self.nr_conns)
            self.busy.add(conn)
            self.tell()
            try:
                kept = super().handle(conn)
            finally:
                client.end_turn()
                self.busy.discard(conn)
                self.tell()
                if client.received > HUGE:
                    trim()
            if kept is not True or not self._follows(conn):
                break
        if not kept:
            if client.late and not client.answered:
                self._refuse(client, *TOO_SLOW)
            client.linger()
        return kept

    def _follows(self, conn: Any) -> bool:
        """Whether another request comes so soon that the thread should wait for it; as long as threads abound."""
        if not self.alive or self.nr_conns > self.cfg.threads // 2:
            return False
        return bool(conn.parser.unreader.buf.getvalue()) or conn.sock.wait(select.POLLIN, STAY)

    def _keepalive_after(self, conn: Any, keepalive: Any) -> bool:
        """Read what is left of a body that the application did not want; it has seen to it that this is not much."""
        client: Client = conn.sock
        client.flush()
        if not keepalive:
            return False
        client.deadline = deadline = time.monotonic() + LINGER
        reader = conn.parser.mesg.body.reader
        if not isinstance(reader, LengthReader):
            return bool(conn.parser.finish_body(deadline=deadline, max_bytes=MAX_DISCARDED + 1))
        if reader.length > MAX_DISCARDED:
            return False
        # In larger pieces than gunicorn's.
        while reader.length and reader.read(HEAD_PIECE):
            pass
        return not reader.length

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
        client.answered = True
        with suppress(OSError):
            client.send("\r\n".join((*head, "", body)).encode())
