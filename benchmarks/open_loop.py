"""A load generator for overload: sends requests when they are due, whatever has come back.

One thread, prebuilt bytes and epoll. It takes some 60 microseconds of processor time for a request, a tenth of what
asyncio's streams take, so that it holds its rate on the cores that it shares with the server.
"""

from __future__ import annotations

import select
import socket
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import cycle

#: Seconds after which a client gives up.
PATIENCE = 20.0
#: Seconds between two requests for readiness.
READINESS_INTERVAL = 0.1
READINESS = b"GET /health/ready HTTP/1.1\r\nHost: x\r\n\r\n"
#: Requests sent before responses are looked for, while the generator is late.
MOST_AT_ONCE = 16
#: Bytes received at a time; a response is shorter.
PIECE = 64 * 1024


@dataclass
class Found:
    """Milliseconds until the outcome of each request was known, by outcome.

    An outcome is the status of the response, or "reset" (closed without a response), "timed out", "unsent", "lost".
    """

    times: dict[str, list[float]] = field(default_factory=dict)

    def add(self, outcome: str, seconds: float) -> None:
        """Count a request."""
        self.times.setdefault(outcome, []).append(seconds * 1000)

    @property
    def counts(self) -> Counter[str]:
        """How many requests had each outcome."""
        return Counter({outcome: len(times) for outcome, times in self.times.items()})

    def quantile(self, share: float, outcome: str = "200") -> float:
        """Milliseconds within which this share of the requests with that outcome ended; NaN without any."""
        ordered = sorted(self.times.get(outcome, ()))
        return ordered[min(int(share * len(ordered)), len(ordered) - 1)] if ordered else float("nan")

    def __str__(self) -> str:
        parts = []
        for outcome, times in sorted(self.times.items()):
            shares = ", ".join(f"p{share * 100:.0f} {self.quantile(share, outcome):.1f}" for share in (0.5, 0.95, 0.99))
            parts.append(f"{outcome}: {len(times)} ({shares} ms)")
        return "; ".join(parts)


class Call:
    """A request on its way: what has not been sent of it, and what has been received."""

    __slots__ = ("due", "found", "received", "rest", "sock")

    def __init__(self, sock: socket.socket, request: bytes, due: float, found: Found) -> None:
        self.sock, self.rest, self.due, self.found = sock, memoryview(request), due, found
        self.received = b""


class LoadGenerator:
    """Sends requests in turn; for one measurement.

    Args:
        address: host and port of the server.
        requests: whole requests.
        reuse: use connections again; otherwise each request has its own.
    """

    def __init__(self, address: tuple[str, int], requests: Sequence[bytes], *, reuse: bool) -> None:
        self.address, self.requests, self.reuse = address, cycle(requests), reuse
        self.poll = select.epoll()
        self.calls: dict[int, Call] = {}
        self.kept: list[socket.socket] = []
        self.answered, self.readiness, self.lateness = Found(), Found(), Found()

    def closed(self, connections: int, seconds: float) -> float:
        """Send the next request after a response; returns the responses of status 200 in a second."""
        until = time.monotonic() + seconds
        while (now := time.monotonic()) < until or (self.calls and now < until + PATIENCE):
            while now < until and len(self.calls) < connections:
                self.start(next(self.requests), now, self.answered, reuse=self.reuse)
            self.handle_events()
        self.stop()
        return self.answered.counts["200"] / seconds

    def open(self, rate: float, seconds: float) -> None:
        """Send ``rate`` requests a second, and ask for readiness ten times a second, on connections of their own.

        A duration begins when the request is due; ``lateness`` has by how much each was sent later.
        """
        started = now = time.monotonic()
        sent = probes = 0
        while now < started + seconds or (self.calls and now < started + seconds + PATIENCE):
            for _ in range(MOST_AT_ONCE):
                if (due := started + sent / rate) > now or due >= started + seconds:
                    break
                self.lateness.add("late", now - due)
                self.start(next(self.requests), due, self.answered, reuse=self.reuse)
                sent += 1
                now = time.monotonic()
            if (due := started + probes * READINESS_INTERVAL) <= now and due < started + seconds:
                self.start(READINESS, due, self.readiness, reuse=False)
                probes += 1
            self.handle_events()
            now = time.monotonic()
        self.stop()

    def start(self, request: bytes, due: float, found: Found, *, reuse: bool) -> None:
        """Begin to send a request."""
        if reuse and self.kept:
            sock = self.kept.pop()
        else:
            try:
                sock = socket.socket()
            except OSError:  # as many files are open as may be
                found.add("unsent", time.monotonic() - due)
                return
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.connect_ex(self.address)
            self.poll.register(sock, select.EPOLLIN | select.EPOLLOUT | select.EPOLLET)
        self.calls[sock.fileno()] = call = Call(sock, request, due, found)
        self.advance(call)

    def handle_events(self) -> None:
        """Continue with the requests whose connections are ready."""
        for descriptor, _ in self.poll.poll(0.0005, 256):
            if descriptor in self.calls:
                self.advance(self.calls[descriptor])

    def advance(self, call: Call) -> None:
        """Send and receive what the connection takes and has."""
        try:
            while call.rest:
                call.rest = call.rest[call.sock.send(call.rest) :]
        except BlockingIOError:
            pass
        except OSError:
            # The server may have refused the request before it had all of it; then a response is there.
            call.rest = call.rest[:0]
        try:
            while (outcome := status_of(call.received)) is None:
                piece = call.sock.recv(PIECE)
                if not piece:
                    outcome = "reset"
                    break
                call.received += piece
        except BlockingIOError:
            return
        except OSError as error:
            outcome = "reset" if isinstance(error, ConnectionResetError) else "unsent"
        self.end(call, outcome)

    def end(self, call: Call, outcome: str) -> None:
        """Count a request, and keep its connection or close it."""
        del self.calls[call.sock.fileno()]
        call.found.add(outcome, time.monotonic() - call.due)
        if self.reuse and outcome.isdigit() and not call.rest and b"\r\nConnection: close" not in call.received:
            self.kept.append(call.sock)
        else:
            call.sock.close()

    def stop(self) -> None:
        """Give up what has no response, and close all connections."""
        for call in list(self.calls.values()):
            self.end(call, "timed out")
        for sock in self.kept:
            sock.close()
        self.poll.close()


def status_of(received: bytes) -> str | None:
    """Return the status of a response; ``None`` if it is not whole."""
    head, separator, body = received.partition(b"\r\n\r\n")
    if not separator:
        return None
    length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
    return head[9:12].decode() if len(body) >= int(length[15:]) else None
