"""A gunicorn worker whose event loop receives whole requests, so that slow clients cost no thread.

One thread, the leader, runs the event loop and computes short requests itself: passing each to another thread costs a
tenth of a small response (``benchmarks/settings.md``). If a request takes longer than ``WATCH_INTERVAL``, or declares
that it will (:func:`ml_api.connection.leave_loop`), another thread becomes the leader, and the first one only finishes
its request.

Connection limits: a client has a deadline for its request and for reading the response; when connections run out, the
one that has waited longest is closed. Admission control: requests in flight are bounded, in number and in the time for
which they wait, and those beyond are refused, if possible without parsing them.
"""

from __future__ import annotations

import ctypes
import os
import select
import selectors
import signal
import socket
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from io import BytesIO
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import msgspec
from gunicorn.http import errors, wsgi  # type: ignore[import-untyped]
from gunicorn.workers import base  # type: ignore[import-untyped]

from ml_api import http1, logs, shared_folder
from ml_api.admission import (
    CANARY_SLOTS,
    MAX_WAITING,
    NO_MEMORY,
    NO_RECORD,
    RECORD_RETRY_AFTER,
    RETRY_AFTER,
    WaitLimit,
)
from ml_api.connection import (
    BODY,
    CALL_AFTER,
    CLIENT_LEFT,
    IS_STOPPING,
    LEAVE_LOOP,
    MAX_DISCARDED,
    MIN_RATE,
    WAIT_FOR,
    Connection,
    RequestError,
    State,
)
from ml_api.memory import trim
from ml_api.memory_budget import MemoryBudget
from ml_api.request_id import HEADER
from ml_api.served import Served
from ml_api.settings import Settings
from ml_api.shared_folder import Place, SharedFolder
from ml_api.worker_loads import NO_WORKER, READY, REPLACED, UNEXPECTED, WorkerLoads

if TYPE_CHECKING:
    from ml_api.candidates.launcher import Launcher
    from ml_api.metrics.recorder import Recorder

#: Events after which one more request is computed before the next ones: refusing must not take all of the time.
EVENTS_PER_REQUEST = 64
#: Seconds after which a request that still computes loses the event loop, and between two looks at an idle worker.
WATCH_INTERVAL, IDLE_INTERVAL = 0.02, 0.05
#: Seconds between two checks of deadlines.
CHECK_INTERVAL = 0.25
#: Seconds for which a client may continue to send after the response, or take to close its side.
LINGER_TIMEOUT = 2.0
#: Bytes of a body from which on a request gets a thread of its own at once.
LONG_BODY = 128 * 1024
#: Bytes of bodies and responses after which freed memory is returned to the system; that takes milliseconds.
TRIM_THRESHOLD = 8 * 1024 * 1024
#: Connections accepted at a time, before their requests are received: a burst of more than ``max_connections`` would
#: otherwise close those whose requests have not been looked at.
MAX_ACCEPTED = 64
#: Seconds of gunicorn's ``graceful_timeout`` that are left for what follows the last response: the prediction log.
FLUSH_SECONDS = 3.0
#: Seconds for which connections are left to other workers with less load.
DEFER_SECONDS = 0.03
#: Paths, or their beginnings, that are answered before all requests that wait: operators ask them under load.
URGENT = ("/health", "/metrics", "/ping", "/v2/health")

SERVER_ERROR = RequestError(500, "Internal Server Error", "The server failed.")
#: Exceptions of gunicorn's parser and their responses.
PARSE_ERRORS = {
    errors.LimitRequestLine: RequestError(414, "URI Too Long", "The request line is too long."),
    errors.LimitRequestHeaders: RequestError(
        431, "Request Header Fields Too Large", "The headers are too long or too many."
    ),
    errors.ExpectationFailed: RequestError(
        417, "Expectation Failed", "The only expectation that is met is 100-continue."
    ),
    errors.ForbiddenProxyRequest: RequestError(403, "Forbidden", "The proxy protocol is not for this address."),
    errors.InvalidResponseHeader: SERVER_ERROR,
    errors.InvalidResponseHeaderName: SERVER_ERROR,
    errors.ParseException: RequestError(400, "Bad Request", "The request is not valid HTTP/1.1."),
}
TIMED_OUT = RequestError(408, "Request Timeout", "The request did not arrive in time.")
BODY_TIMED_OUT = RequestError(408, "Request Timeout", "The body did not arrive in time.")
TOO_MANY = RequestError(
    503, "Service Unavailable", "The server has as many requests as it can handle; try again soon.", "Retry-After: 1"
)
NOT_RECORDED = RequestError(503, "Service Unavailable", NO_RECORD, f"Retry-After: {RECORD_RETRY_AFTER}")
OUT_OF_MEMORY = RequestError(503, "Service Unavailable", NO_MEMORY, f"Retry-After: {RETRY_AFTER}")

#: Response -> reason of the refusal, in its log line and in the metrics.
REASONS = {TOO_MANY: "in_flight", OUT_OF_MEMORY: "memory", TIMED_OUT: "timeout", BODY_TIMED_OUT: "timeout"}


class Worker(base.Worker):  # type: ignore[misc]
    """A worker with one event loop. ``gunicorn.conf.py`` sets what is shared: ``settings`` to ``launcher``."""

    settings = Settings()
    loads: WorkerLoads | None = None
    shared: SharedFolder | None = None
    served: Served | None = None
    #: Whether systemd opened the listeners (socket activation), and keeps them when the server ends.
    is_socket_activated = False
    #: In the master process, starts the candidates.
    launcher: Launcher | None = None
    #: Time of the first SIGTERM, and time until which the worker accepts connections all the same; 0: none has come.
    stopping_since = accepting_until = 0.0
    #: Counts the responses that the application does not make, if metrics are on.
    metrics: Recorder | None = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Allocate a load slot; gunicorn calls this before it forks."""
        super().__init__(*args, **kwargs)
        self.load_slot = (self.loads or WorkerLoads(1)).acquire()

    def init_process(self) -> None:
        """Create the state of the event loop, load the application, and run."""
        self.cfg: Any = http1.CachedConfig(self.cfg)
        self.selector = selectors.DefaultSelector()
        self.budget = MemoryBudget(self.settings.max_held_bytes)
        #: All connections but those whose request computes or waits for that, in the order in which they began to wait.
        self.idle: dict[Connection, None] = {}
        self.in_flight: set[Connection] = set()
        self.peers: Counter[str] = Counter()
        #: Whole requests that wait; those for health first.
        self.urgent: deque[Connection] = deque()
        self.queue: deque[Connection] = deque()
        self.limit = WaitLimit()
        #: Short requests that compute, at most ``settings.threads``, and those that another thread than the leader has
        #: computed.
        self.computing: set[Connection] = set()
        self.returned: deque[Connection] = deque()
        #: What the leader computes. Whoever replaces it under the lock takes the event loop over.
        self.current: object = None
        #: Identifier of the leader's thread, which needs no wake-up.
        self.leader = 0
        self.handover = threading.Lock()
        self.stopped = threading.Event()
        self.stop_at = 0.0
        self.accepting = False
        #: Time until which new connections are left to other workers; how many are accepted in any case if none took
        #: them, which doubles each time; and how many of those are left.
        self.deferred_until = 0.0
        self.untaken, self.surplus = 1, 0
        self.next_check = 0.0
        self.freed = 0
        #: Writes what the prediction log has taken; called before the event loop waits.
        self.flush_log: Callable[[], None] | None = None
        # The leader, its successor, and everything that may wait outside the event loop.
        canaries = CANARY_SLOTS * len(self.settings.canary_models)
        self.threads = ThreadPoolExecutor(self.settings.threads + 2 * MAX_WAITING + 4 + canaries)
        if self.shared is not None:
            shared_folder.place = Place(self.shared.path, self.load_slot.number)
        super().init_process()

    def load_wsgi(self) -> None:
        """Load the application."""
        super().load_wsgi()
        self.metrics = getattr(self.wsgi, "metrics", None)
        if self.served is not None:
            is_expected = self.served.publish(self.wsgi.registry.identities())
            self.load_slot.state = READY if is_expected else UNEXPECTED
        registry = getattr(self.wsgi, "registry", None)
        Connection.aliases = tuple(registry.aliases) if registry else ()
        guard = getattr(self.wsgi, "guard", None)
        # Who has no key must not take memory either.
        Connection.accepts_body = staticmethod(guard.accepts_body) if guard else None

    def run(self) -> None:
        """Start the event loop; then watch it, and let another thread continue it when a request takes long."""
        self.selector.register(self.PIPE[0], selectors.EVENT_READ)
        for listener in self.sockets:
            listener.setblocking(False)
        self.threads.submit(self.lead)
        notified = 0.0
        while not self.stopped.is_set():
            now = time.monotonic()
            if now > notified + 1:
                notified = now
                self.notify()
                logs.flush()
                if self.freed > TRIM_THRESHOLD:
                    self.freed = 0
                    trim()
                if self.ppid != os.getppid():
                    self.alive = False
            if self.stopping_since and now >= self.accepting_until:
                self.alive = False
            current = self.current
            self.stopped.wait(IDLE_INTERVAL if current is None else WATCH_INTERVAL)
            if current is not None:
                self.replace_leader(current)

    def init_signals(self) -> None:
        """Handle signals; SIGHUP is the master's business, even if the whole process group gets it."""
        super().init_signals()
        signal.signal(signal.SIGHUP, signal.SIG_IGN)

    def handle_exit(self, sig: Any, frame: Any) -> None:
        """Stop; accept connections during the delay, unless another worker does. A second SIGTERM changes nothing."""
        if not self.stopping_since:
            self.stopping_since = time.monotonic()
            delay = 0 if self.load_slot.state == REPLACED else self.settings.shutdown_delay
            self.accepting_until = self.stopping_since + delay
            self.alive = delay > 0

    def handle_quit(self, sig: Any, frame: Any) -> None:
        """Stop at once."""
        self.stopped.set()
        super().handle_quit(sig, frame)

    # Leader

    def replace_leader(self, current: object) -> None:
        """Let another thread continue the event loop, if the leader still computes ``current``."""
        with self.handover:
            if self.current is current:
                self.current = None
                self.leader = 0
                self.threads.submit(self.lead)

    def lead(self) -> None:
        """Run the event loop until the worker stops, or another thread takes over."""
        self.leader = threading.get_ident()
        try:
            while not self.stopped.is_set():
                n_events = self.turn()
                flush = self.flush_log
                if flush is not None and not n_events and not self.has_request() and not self.write_log(flush):
                    return
                for _ in range(1 + n_events // EVENTS_PER_REQUEST):
                    request = self.next_request()
                    if request is not None and not self.compute(request):
                        return
        except BaseException:
            logs.LOGGER.exception("the event loop failed")
            self.stopped.set()
            raise

    def has_request(self) -> bool:
        """Return whether a request may compute now."""
        return bool(self.urgent or (self.queue and len(self.computing) < self.settings.threads))

    def next_request(self) -> Connection | None:
        """Take the next request that may compute now."""
        if not self.has_request():
            return None
        return (self.urgent or self.queue).popleft()

    def compute(self, connection: Connection) -> bool:
        """Answer a whole request; returns whether this thread is still the leader."""
        self.current = current = object()
        self.computing.add(connection)
        started = time.thread_time()
        try:
            self.respond(connection, current)
        finally:
            if connection in self.computing:  # otherwise it is a long one, and has left
                self.limit.observe(time.thread_time() - started)
                self.computing.discard(connection)
            leads = self.still_leads(current)
        if connection.commit is not None:
            # The event loop goes on; whoever writes the prediction log gives the connection back.
            commit, self.flush_log = connection.commit, connection.commit.flush
            commit.notify = self.wake
            commit.add_done_callback(lambda _: self.returned.append(connection))
            if not leads or commit.done():
                self.wake()
        elif leads:
            self.settle(connection)
        else:
            self.returned.append(connection)
            self.wake()
        return leads

    def write_log(self, flush: Callable[[], None]) -> bool:
        """Have the prediction log write; returns whether this thread is still the leader."""
        self.flush_log = None
        self.current = current = object()
        try:
            flush()
        finally:
            leads = self.still_leads(current)
        return leads

    def still_leads(self, current: object) -> bool:
        """Return whether no other thread has replaced this one while it computed ``current``."""
        with self.handover:
            leads = self.current is current
            if leads:
                self.current = None
        return leads

    def leave(self, connection: Connection, current: object) -> None:
        """Let the event loop continue, and other short requests compute, while ``connection`` computes."""
        self.replace_leader(current)
        self.computing.discard(connection)
        self.wake()

    def wake(self) -> None:
        """Interrupt the event loop's wait."""
        if threading.get_ident() != self.leader:
            with suppress(OSError):
                os.write(self.PIPE[1], b"1")

    # Event loop

    def turn(self) -> int:
        """Handle what has happened on the connections, and return how much; waits for it if no request can compute."""
        now = time.monotonic()
        if now > self.next_check or not (self.alive or self.stop_at):
            self.check(now)
        self.load_slot.publish(len(self.idle) + 2 * len(self.in_flight) if self.alive else NO_WORKER)
        self.set_accepting(now)
        wait = 0.0 if self.returned or self.flush_log or self.has_request() else self.next_check - now
        if self.deferred_until:
            wait = min(wait, DEFER_SECONDS / 30)
        events = self.selector.select(wait)
        for key, _ in events:
            if isinstance(key.data, Connection):
                self.on_ready(key.data)
            elif key.data is not None:
                self.accept(key.data)
            else:
                with suppress(BlockingIOError):
                    os.read(self.PIPE[0], 4096)
        while self.returned:
            self.settle(self.returned.popleft())
        return len(events)

    def check(self, now: float) -> None:
        """Close connections whose deadline has passed, and stop when the worker has been told to."""
        self.next_check = now + CHECK_INTERVAL
        for connection in list(self.idle):
            contended = connection.reserved and self.budget.waiting and now > connection.contended_deadline
            if contended or now > connection.deadline:
                self.expire(connection)
        if self.alive:
            return
        if not self.stop_at:
            self.stop_at = (self.stopping_since or now) + self.cfg.graceful_timeout - FLUSH_SECONDS
            self.stop_accepting()
            # A request may be on its way on a connection that was kept.
            for connection in self.idle:
                if connection.is_idle:
                    connection.deadline = min(connection.deadline, now + LINGER_TIMEOUT)
        if now > self.stop_at or not (self.idle or self.in_flight):
            self.stopped.set()

    def expire(self, connection: Connection) -> None:
        """Close a connection whose deadline has passed; tell the client if it has sent part of a request."""
        if connection.state is State.MEMORY:
            self.budget.waiting.remove(connection)
            connection.state = State.REQUEST
            self.refuse(connection, OUT_OF_MEMORY)
        elif connection.state is State.REQUEST and (connection.request or connection.received):
            self.refuse(connection, BODY_TIMED_OUT if connection.request else TIMED_OUT)
        else:
            self.close(connection)

    def set_accepting(self, now: float) -> None:
        """Watch the listeners, except while connections are left to other workers."""
        if self.deferred_until and not (self.alive and self.load_slot.is_overloaded()):
            self.deferred_until = 0.0
        elif self.deferred_until and now > self.deferred_until:
            self.deferred_until = 0.0
            if self.has_pending():
                self.surplus = self.untaken
                self.untaken *= 2
        wanted = self.alive and not self.deferred_until
        if wanted != self.accepting:
            self.accepting = wanted
            for listener in self.sockets:
                if wanted:
                    self.selector.register(listener, selectors.EVENT_READ, listener)
                else:
                    self.selector.unregister(listener)

    def has_pending(self) -> bool:
        """Return whether connections wait to be accepted."""
        poller = select.poll()
        for listener in self.sockets:
            poller.register(listener, select.POLLIN)
        return bool(poller.poll(0))

    def accept(self, listener: Any, most: int = MAX_ACCEPTED) -> None:
        """Accept pending connections, or leave them to a worker with less load."""
        for _ in range(most):
            self.load_slot.publish(len(self.idle) + 2 * len(self.in_flight))
            if not self.load_slot.is_overloaded():
                self.untaken = 1
            elif self.surplus:
                self.surplus -= 1
            elif self.alive:
                self.deferred_until = time.monotonic() + DEFER_SECONDS
                return
            try:
                sock, address = listener.accept()
            except BlockingIOError:
                self.surplus = 0
                return
            except OSError as error:
                # The client is gone, or the system has run out of files or memory.
                logs.LOGGER.warning("a connection was not accepted", extra={"fields": {"reason": error.strerror}})
                return
            settings = self.settings
            connection = Connection(
                self.cfg, sock, address, listener.getsockname(), settings.max_body_bytes, settings.request_timeout
            )
            peer = connection.peer
            self.peers[peer] += 1
            if self.peers[peer] > (settings.max_connections_per_peer or self.peers[peer]):
                self.evict(peer)
            elif len(self.idle) + len(self.in_flight) >= settings.max_connections:
                self.evict()
            self.idle[connection] = None
            self.watch(connection, selectors.EVENT_READ)

    def evict(self, peer: str | None = None) -> None:
        """Close the connection that has waited longest, of all or of one client."""
        for connection in self.idle:
            if peer in (None, connection.peer):
                self.close(connection)
                return

    def stop_accepting(self) -> None:
        """Close the listeners; the last worker first accepts what the system has accepted already.

        What waits at a listener of systemd is for the next server, which a filter would make deaf.
        """
        self.set_accepting(0.0)
        self.load_slot.publish(NO_WORKER)
        if not (self.is_socket_activated or self.load_slot.has_sisters()):
            for listener in self.sockets:
                refuse_handshakes(listener)
                self.accept(listener, sys.maxsize)
        for listener in self.sockets:
            listener.close()

    def watch(self, connection: Connection, events: int) -> None:
        """Have the selector watch for ``events`` on a connection; 0: for none."""
        if events == connection.events:
            return
        if not events:
            self.selector.unregister(connection.sock)
        elif connection.events:
            self.selector.modify(connection.sock, events, connection)
        else:
            self.selector.register(connection.sock, events, connection)
        connection.events = events

    def close(self, connection: Connection) -> None:
        """Close a connection and free what it holds."""
        self.watch(connection, 0)
        connection.sock.close()
        self.idle.pop(connection, None)
        self.in_flight.discard(connection)
        self.peers[connection.peer] -= 1
        if not self.peers[connection.peer]:
            del self.peers[connection.peer]
        if connection.state is State.MEMORY:
            self.budget.waiting.remove(connection)
        self.release(connection, 0)

    def release(self, connection: Connection, size: int) -> None:
        """Reduce the memory that a connection has reserved, and let those receive that wait for it."""
        self.budget.resize(connection, size)
        while (admitted := self.budget.admit()) is not None:
            admitted.wait(State.REQUEST, self.settings.request_timeout)
            self.watch(admitted, selectors.EVENT_READ)

    # Requests

    def on_ready(self, connection: Connection) -> None:
        """Receive from or send to a client that is ready for it."""
        try:
            match connection.state:
                case State.RESPONSE | State.MEMORY:
                    # It sends the next request, or has left; look again afterwards.
                    self.watch(connection, 0)
                case State.SENDING:
                    if connection.flush():
                        self.after_response(connection)
                case State.LINGER:
                    received = len(connection.sock.recv(65536))
                    connection.deadline += received / MIN_RATE
                    connection.unread -= received or connection.unread
                    if connection.unread <= 0:
                        self.close(connection)
                case State.REQUEST:
                    if connection.is_idle:
                        connection.wait(State.REQUEST, self.settings.request_timeout)
                    connection.receive()
                    self.advance(connection)
        except BlockingIOError:
            pass
        except OSError:
            self.close(connection)
        except Exception:  # noqa: BLE001  it must not end the event loop, on which all others are
            logs.LOGGER.exception("a connection failed in the server")
            self.close(connection)

    def advance(self, connection: Connection) -> None:
        """Pass a request on if it is whole, or reserve memory for the rest of it."""
        try:
            if connection.request is None and self.is_full() and connection.skip():
                self.refuse_excess(connection)
            elif connection.parse():
                self.admit(connection)
            elif connection.ended:
                self.close(connection)
            elif connection.is_idle:
                # The rest of a body that the server did not want has been discarded.
                connection.wait(State.REQUEST, self.cfg.keepalive if self.alive else LINGER_TIMEOUT)
            elif connection.wanted and not self.budget.acquire(connection):
                self.watch(connection, 0)
                connection.wait(State.MEMORY, self.settings.request_timeout / 2)
        except OSError:
            raise
        except Exception as error:  # noqa: BLE001  the parser's own, and what a client may provoke besides
            self.refuse(connection, error)

    def admit(self, connection: Connection) -> None:
        """Queue a whole request, or refuse it if too many are in flight."""
        urgent = connection.request.path.startswith(URGENT)
        if not urgent and self.is_full():
            self.refuse_excess(connection)
            return
        self.idle.pop(connection, None)
        self.in_flight.add(connection)
        if connection.reserved:
            # A body in chunks has reserved what it might have needed.
            self.release(connection, len(connection.body or b""))
        connection.wait(State.RESPONSE, self.settings.request_timeout)
        (self.urgent if urgent else self.queue).append(connection)

    def is_full(self) -> bool:
        """Return whether another request would be too many in flight, or would wait too long."""
        queue, full = self.queue, len(self.in_flight) >= self.settings.max_in_flight
        if not (queue and self.limit.is_exceeded(len(queue), queue[0].since, full=full)):
            return full
        # When an overload begins, the queue is longer than it may be from now on. The first have waited longest.
        while self.limit.is_exceeded(len(queue) - 1, queue[0].since):
            self.refuse_excess(queue.popleft())
        return True

    def refuse_excess(self, connection: Connection) -> None:
        """Refuse a request that is one too many, and keep its connection if the rest of the body is short."""
        closes = connection.request is not None and connection.request.should_close()
        keep = connection.unread <= MAX_DISCARDED and not closes
        self.refuse(connection, TOO_MANY, keep=keep)

    def respond(self, connection: Connection, current: object) -> None:
        """Call the application, and send what the client takes of the response at once."""
        request, body = connection.request, connection.body
        # The event loop has stopped watching if something has come from the client meanwhile.
        if not connection.events and connection.has_left():
            connection.ended = True
            logs.log_request(request_id=uuid4().hex, route=None, status=CLIENT_LEFT)
            if self.metrics is not None:
                self.metrics.refusal(CLIENT_LEFT, None)
            return
        if body is not None and len(body) > LONG_BODY:
            self.replace_leader(current)
        # A large body is not copied: the application takes it from the environ.
        request.body = BytesIO(body if isinstance(body, bytes) else b"")
        try:
            response, environ = wsgi.create(
                request, connection, connection.address, connection.server, self.cfg, http1.Response
            )
            environ["wsgi.multithread"] = True
            environ[LEAVE_LOOP] = partial(self.leave, connection, current)
            environ[WAIT_FOR] = partial(setattr, connection, "commit")
            if self.settings.shadow_models:
                environ[CALL_AFTER] = partial(setattr, connection, "after")
            if body is not None:
                environ[BODY] = body
            is_stopping = bool(self.stopping_since) or not self.alive
            if is_stopping and self.load_slot.state != REPLACED:
                environ[IS_STOPPING] = True
            if is_stopping or connection.unread > MAX_DISCARDED:
                response.force_close()
            chunks = self.wsgi(environ, response.start_response)
            try:
                for chunk in chunks:
                    response.write(chunk)
                response.close()
            finally:
                if hasattr(chunks, "close"):
                    chunks.close()
            connection.keep = not response.should_close()
            self.freed += response.sent
        except Exception as error:  # noqa: BLE001  whatever it is, the client gets a response and the log a line
            connection.keep = False
            connection.output = [self.problem(error)]
            connection.commit = None
        if connection.commit is None:
            with suppress(OSError):
                connection.flush()

    def settle(self, connection: Connection) -> None:
        """Take a connection back whose response was made."""
        self.in_flight.discard(connection)
        self.idle[connection] = None
        self.freed += len(connection.body or b"")
        commit, connection.commit = connection.commit, None
        after, connection.after = connection.after, None
        if commit is not None and not commit.is_kept():
            connection.output = [self.problem(NOT_RECORDED, keep=connection.keep, request_id=commit.request_id)]
            after = None
        try:
            if connection.ended and not connection.output:
                self.close(connection)
            elif connection.flush():
                self.after_response(connection)
            else:
                connection.reset()
                connection.wait(State.SENDING, self.settings.request_timeout)
                self.release(connection, sum(map(len, connection.output)))
                self.watch(connection, selectors.EVENT_WRITE)
        except OSError:
            self.close(connection)
        if after is not None:
            after()

    def after_response(self, connection: Connection) -> None:
        """Wait for the next request, or close the connection so that the client can still read the response."""
        connection.reset()
        if connection.reserved:
            self.release(connection, 0)
        if connection.keep:
            timeout = self.cfg.keepalive
            if connection.received:
                timeout = self.settings.request_timeout
            elif connection.unread or not self.alive:
                timeout = LINGER_TIMEOUT
            connection.wait(State.REQUEST, timeout)
            self.watch(connection, selectors.EVENT_READ)
            if connection.received:
                self.advance(connection)
            return
        # The system would discard the response if the socket were closed while unread bytes of a request remain.
        connection.wait(State.LINGER, LINGER_TIMEOUT)
        connection.unread = MAX_DISCARDED
        self.watch(connection, selectors.EVENT_READ)
        connection.sock.shutdown(socket.SHUT_WR)

    def refuse(self, connection: Connection, error: Exception, *, keep: bool = False) -> None:
        """Answer a request that the application does not receive, and close the connection unless ``keep``."""
        connection.keep = keep = keep and not self.stopping_since
        # It has just been active, and is not the one that has waited longest.
        self.idle.pop(connection, None)
        connection.output.append(self.problem(error, keep=keep))
        self.settle(connection)

    def problem(self, error: Exception, *, keep: bool = False, request_id: str | None = None) -> bytes:
        """Return problem details in the application's format, and write the log line, which quotes no request.

        Args:
            error: what is wrong.
            keep: whether the connection stays open.
            request_id: of a request that has its log line.
        """
        answer = error
        if not isinstance(answer, RequestError):
            answer = next((found for kind, found in PARSE_ERRORS.items() if isinstance(error, kind)), SERVER_ERROR)
        if answer is SERVER_ERROR:
            logs.LOGGER.error("request failed in the server", exc_info=error)
        status, title = answer.status, answer.title
        if request_id is None:
            request_id, reason = uuid4().hex, REASONS.get(answer)
            refused = {"refused": reason} if reason else {}
            logs.log_request(request_id=request_id, route=None, status=status, **refused)
            if self.metrics is not None:
                self.metrics.refusal(status, reason)
        document = {
            "type": "about:blank",
            "title": title,
            "status": status,
            "detail": answer.detail,
            "request_id": request_id,
        }
        body = msgspec.json.encode(document)
        head = (
            f"HTTP/1.1 {status} {title}",
            f"Connection: {'keep-alive' if keep else 'close'}",
            "Content-Type: application/problem+json",
            f"Content-Length: {len(body)}",
            f"{HEADER}: {request_id}",
            "X-Content-Type-Options: nosniff",
            *answer.headers,
            "\r\n",
        )
        return "\r\n".join(head).encode() + body


def refuse_handshakes(listener: Any) -> bool:
    """Have the system ignore new connections, so that none is accepted after the last look; whether it does (on Linux).

    Kernels that keep such filters from processes without CAP_NET_ADMIN refuse; then a connection that is made in the
    last moment is reset, and its client has sent nothing yet.
    """
    # A filter of one instruction (return 0) drops every packet that reaches the listener; SO_ATTACH_FILTER is 26.
    instruction = ctypes.create_string_buffer(b"\x06\0\0\0\0\0\0\0", 8)
    program = (1).to_bytes(8, "little") + ctypes.addressof(instruction).to_bytes(8, "little")
    if sys.platform != "linux":
        return False
    try:
        listener.setsockopt(socket.SOL_SOCKET, 26, program)
    except PermissionError:
        return False
    return True
