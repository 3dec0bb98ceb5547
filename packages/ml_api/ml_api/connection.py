"""A client's connection: receives a request without blocking until it is whole, and buffers the response.

The event loop of :mod:`ml_api.worker` calls these methods when the socket is ready, so a slow client costs no thread.
"""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Callable, Collection, Mapping
from enum import Enum, auto
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from gunicorn.http import errors  # type: ignore[import-untyped]
from gunicorn.http.body import ChunkedReader  # type: ignore[import-untyped]
from gunicorn.http.unreader import IterUnreader  # type: ignore[import-untyped]

from ml_api.http1 import Request

if TYPE_CHECKING:
    from ml_api.prediction_log.writer import Commit

#: Key of the WSGI environ: the whole body, as bytes; absent if the server did not receive it.
BODY = "ml_api.body"
#: Key of the WSGI environ: a function that moves the request to a thread of its own.
LEAVE_LOOP = "ml_api.leave_loop"
#: Key of the WSGI environ: a function that has the response wait for a commit.
WAIT_FOR = "ml_api.wait_for"
#: Key of the WSGI environ: present if the server stops.
IS_STOPPING = "ml_api.is_stopping"
#: Key of the WSGI environ: a function that has another one called after the response.
CALL_AFTER = "ml_api.call_after"
#: Status in the log of a request whose client had left before it was computed; it is nginx's.
CLIENT_LEFT = 499
#: Requests whose body is received before the application is called; the body of others is discarded.
TAKES_BODY = re.compile(r"/v1/(predict/.|outcomes)|/v2/models/.+/infer|/invocations|/try/.")
#: A head for which no parser is needed to know where the request ends: one length, and no other header that has to do
#: with the body or the connection.
_PLAIN_HEADER = rb"(?!connection: ?+(?!keep-alive\r)|content-length|expect|transfer-encoding)[a-z0-9-]++:[ -~]*+\r\n"
PLAIN_HEAD = re.compile(
    rb"POST /(?:v1/predict/|v2/models/|invocations)[!-~]*+ HTTP/1\.1\r\n"
    rb"(?:%b)*+content-length: ?([0-9]{1,9})\r\n(?:%b)*+\r\n" % (_PLAIN_HEADER, _PLAIN_HEADER),
    re.IGNORECASE,
)
#: Bytes of an unread body that the server discards; a client that sends before it reads gets its response up to here.
MAX_DISCARDED = 1024 * 1024
#: Bytes of a request's head, and of one line between the chunks of a body.
MAX_HEAD, MAX_CHUNK_LINE = 64 * 1024, 8192
#: Bytes of a body or response up to which no memory is reserved. The connections of a worker hold 16 MB of these.
SMALL = 16 * 1024
#: Bytes received at a time: a request that is sent at once is mostly shorter, and a large body takes fewer calls.
PIECE, LARGE_PIECE = 16 * 1024, 256 * 1024
#: Bytes that extend a client's deadline by one second: 32 MiB at 2 Mbit/s is slow, but not stalled.
MIN_RATE = 256 * 1024
#: The same while other requests wait for memory that the client holds; the deadline is then ``CONTENDED_TIMEOUT``.
CONTENDED_TIMEOUT, CONTENDED_MIN_RATE = 2.0, 1024 * 1024

_CHUNK = re.compile(rb"([0-9A-Fa-f]{1,20})[ \t]*(?:;[^\r\n]*)?")


class RequestError(Exception):
    """The server itself answers the request: status, title, detail and further headers of the response."""

    def __init__(self, status: int, title: str, detail: str, *headers: str) -> None:
        super().__init__(status, title, detail)
        self.status, self.title, self.detail, self.headers = status, title, detail, headers


body_cut_short = partial(RequestError, 400, "Bad Request", "The body is shorter than its Content-Length.")
body_malformed = partial(RequestError, 400, "Bad Request", "The body could not be read to its end.")


class State(Enum):
    """What the event loop waits for on a connection."""

    REQUEST = auto()
    MEMORY = auto()
    RESPONSE = auto()
    SENDING = auto()
    LINGER = auto()


class Connection:
    """A client's socket, the request that is received on it, and the response that has not been sent.

    Args:
        cfg: gunicorn's configuration.
        sock: the socket.
        address: the client's address.
        server: the address that it connected to.
        max_body: bytes of a body from which on it is not received.
        timeout: seconds in which a request must be received, and its response sent.
    """

    #: Further paths whose body is received: other addresses of a model.
    aliases: Collection[str] = ()
    #: Whether to receive the body of a request with these headers; otherwise it is discarded.
    accepts_body: Callable[[Mapping[str, str]], bool] | None = None

    def __init__(self, cfg: Any, sock: socket.socket, address: Any, server: Any, max_body: int, timeout: float) -> None:
        sock.setblocking(False)
        self.cfg, self.sock, self.address, self.server = cfg, sock, address, server
        self.max_body, self.timeout = max_body, timeout
        self.state = State.REQUEST
        self.since = time.monotonic()
        self.deadline = self.since + timeout
        self.contended_deadline = 0.0
        #: Events that the selector watches, 0: none.
        self.events = 0
        #: Bytes that are reserved in the memory budget.
        self.reserved = 0
        self.keep = self.ended = False
        self.n_requests = 0
        self.received = b""
        self.output: list[Any] = []
        #: Bytes of the last request's body that are still to be discarded.
        self.unread = 0
        self.reset()

    @property
    def peer(self) -> str:
        """The client's IP address."""
        return str(self.address[0]) if isinstance(self.address, tuple) else ""

    @property
    def is_idle(self) -> bool:
        """Whether nothing of the next request has been received."""
        return self.state is State.REQUEST and self.request is None and not self.received and not self.unread

    def reset(self) -> None:
        """Forget the last request."""
        self.request: Any = None
        self.body: bytes | bytearray | None = None
        #: What the response waits for; 503 replaces it if that fails.
        self.commit: Commit | None = None
        #: Called after the response was sent, or as much as the client took at once; it does not wait.
        self.after: Callable[[], None] | None = None
        self._length = self._chunk = self._searched = 0
        self._chunked = self._in_trailer = False

    # Receiving

    def receive(self) -> None:
        """Receive what is there; ``ended`` tells that the client has ended its side.

        Raises:
            OSError: nothing is there, or the connection is lost.
        """
        if isinstance(self.body, bytearray) and not self._chunked:
            piece = self.sock.recv(min(self._length - len(self.body), LARGE_PIECE))
            self.body += piece
        else:
            piece = self.sock.recv(max(PIECE, min(self.unread, LARGE_PIECE)))
            self.received = self.received + piece if self.received else piece
        self.ended = not piece
        self.deadline += len(piece) / MIN_RATE
        self.contended_deadline += len(piece) / CONTENDED_MIN_RATE

    def parse(self) -> bool:
        """Process what was received; returns whether the request is whole, or wants memory (:attr:`wanted`).

        Raises:
            RequestError: the body is malformed, incomplete or too long.
            Exception: one of gunicorn's parser: the head is malformed.
        """
        if self.unread:
            discarded = min(self.unread, len(self.received))
            self.received, self.unread = self.received[discarded:], self.unread - discarded
        if self.request is None:
            if not self._parse_head():
                return False
            self._begin_body()
        if self.body is None:
            return True
        whole = self._decode_chunks() if self._chunked else len(self.body) == self._length
        if self.ended and not whole:
            raise body_malformed() if self._chunked else body_cut_short()
        return whole

    @property
    def wanted(self) -> int:
        """Bytes of memory that must be reserved before more of the body is received; 0 if none."""
        if self.body is None or self.reserved:
            return 0
        if self._chunked:
            return self.max_body if len(self.body) + len(self.received) > SMALL else 0
        return self._length if len(self.body) < self._length > SMALL else 0

    def skip(self) -> bool:
        """Discard the next request without parsing it; returns whether its head is plain enough."""
        head = None if self.unread else PLAIN_HEAD.match(self.received)
        if head is None:
            return False
        self.unread = head.end() + int(head[1])
        return True

    def _parse_head(self) -> bool:
        end = self.received.find(b"\r\n\r\n", self._searched)
        if end < 0 and len(self.received) <= MAX_HEAD:
            self._searched = max(len(self.received) - 3, 0)
            return False
        head = self.received[: end + 4] if end >= 0 else self.received
        try:
            self.request = Request(self.cfg, IterUnreader([head]), self.address, self.n_requests + 1)
        except errors.NoMoreData:
            raise errors.LimitRequestHeaders("head") if end < 0 else errors.InvalidRequestLine("") from None
        self.n_requests += 1
        self.received = self.received[end + 4 :]
        return True

    def _begin_body(self) -> None:
        reader = self.request.body.reader
        self._chunked = isinstance(reader, ChunkedReader)
        length = self._length = 0 if self._chunked else reader.length
        if self._chunked or length:
            path = self.request.path
            takes_body = self.request.method == "POST" and (
                TAKES_BODY.search(path) or any(path.endswith(alias) for alias in self.aliases)
            )
            if takes_body and self.accepts_body is not None:
                takes_body = self.accepts_body(dict(self.request.headers))
            if not takes_body or length > self.max_body:
                # The application refuses the request; it does not wait for the body.
                self.unread = MAX_DISCARDED + 1 if self._chunked else length
                return
            # gunicorn says so in a private attribute only, and clears it nowhere.
            if self.request._expected_100_continue and len(self.received) < (length or 1):  # noqa: SLF001
                self.request._expected_100_continue = False  # noqa: SLF001
                self.send(b"HTTP/1.1 100 Continue\r\n\r\n")
                self.flush()
        if self._chunked:
            self.body = bytearray()
        elif len(self.received) >= length:
            self.body, self.received = self.received[:length], self.received[length:]
        else:
            self.body, self.received = bytearray(self.received), b""

    def _decode_chunks(self) -> bool:
        """Move the chunks in ``received`` to the body; returns whether the last one was among them."""
        data, position, body = self.received, 0, cast("bytearray", self.body)
        try:
            while True:
                if self._chunk > 2:
                    taken = min(self._chunk - 2, len(data) - position)
                    body += data[position : position + taken]
                    position += taken
                    self._chunk -= taken
                    if self._chunk > 2:
                        return False
                if self._chunk:
                    if len(data) < position + 2:
                        return False
                    if data[position : position + 2] != b"\r\n":
                        raise body_malformed()
                    self._chunk, position = 0, position + 2
                end = data.find(b"\r\n", position)
                if end < 0:
                    if len(data) - position > MAX_CHUNK_LINE:
                        raise body_malformed()
                    return False
                line, position = data[position:end], end + 2
                if self._in_trailer:
                    if not line:
                        return True
                    continue
                size = _CHUNK.fullmatch(line)
                if size is None:
                    raise body_malformed()
                self._chunk = int(size[1], 16)
                self._in_trailer = not self._chunk
                if len(body) + self._chunk > self.max_body:
                    detail = f"The body is longer than the {self.max_body} bytes that are taken."
                    raise RequestError(413, "Request Entity Too Large", detail)
                self._chunk += 2 if self._chunk else 0
        finally:
            self.received = data[position:]

    # Sending

    def send(self, data: bytes) -> int:
        """Add ``data`` to the output; gunicorn sends the responses with this and :meth:`sendall`."""
        self.output.append(data)
        return len(data)

    sendall = send

    def flush(self) -> bool:
        """Send as much of the output as the client takes now; returns whether that is all.

        Raises:
            OSError: the connection is lost.
        """
        while self.output:
            try:
                sent = self.sock.sendmsg(self.output[:64])
            except BlockingIOError:
                return False
            self.deadline += sent / MIN_RATE
            self.contended_deadline += sent / CONTENDED_MIN_RATE
            while self.output and sent >= len(self.output[0]):
                sent -= len(self.output.pop(0))
            if sent:
                self.output[0] = memoryview(self.output[0])[sent:]
        return True

    def has_left(self) -> bool:
        """Return whether the client has closed the connection."""
        try:
            return not self.sock.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return False
        except OSError:
            return True

    def wait(self, state: State, timeout: float) -> None:
        """Begin to wait for what ``state`` says, for so many seconds."""
        self.state = state
        self.since = time.monotonic()
        self.deadline = self.since + timeout
        self.contended_deadline = self.since + CONTENDED_TIMEOUT


def leave_loop(environ: Mapping[str, Any]) -> None:
    """Move the request to a thread of its own, because it takes long, so that others do not wait for it."""
    leave: Callable[[], None] | None = environ.get(LEAVE_LOOP)
    if leave is not None:
        leave()


def wait_for(environ: Mapping[str, Any], commit: Commit) -> bool:
    """Have our server hold the response until ``commit`` is done; returns whether it can."""
    wait: Callable[[Commit], None] | None = environ.get(WAIT_FOR)
    if wait is not None:
        wait(commit)
    return wait is not None


def call_after(environ: Mapping[str, Any], function: Callable[[], None]) -> None:
    """Have our server call a function, which does not wait, after the response."""
    environ[CALL_AFTER](function)


def has_left(environ: Mapping[str, Any]) -> bool:
    """Return whether the client has closed its connection."""
    client = environ.get("gunicorn.socket")
    return isinstance(client, Connection) and client.has_left()
