"""The loop: receive, score, send, and acknowledge what is stored."""

from __future__ import annotations

import time
from collections import deque
from contextlib import suppress
from typing import Final, NamedTuple, Protocol

from model_kit.errors import StreamError
from model_kit.streams.answers import AnswerMaker, Batch
from model_kit.streams.broker import Broker, Sent, Stop

#: Batches that may wait for the broker while the next one is scored.
AHEAD: Final = 1
#: Seconds between two looks at the lag.
LAG_INTERVAL: Final = 2.0


class Monitor(Protocol):
    """Is told what happens."""

    def received(self, n_in_flight: int) -> None:
        """So many messages are received and not acknowledged."""

    def settled(self, batch: Batch, seconds: float) -> None:
        """A batch is answered and acknowledged, so long after it was received."""

    def lag(self, messages: int | None) -> None:
        """So many messages wait; ``None``: it is not known."""


class _InFlight(NamedTuple):
    batch: Batch
    sent: Sent
    received: float


class StreamConsumer:
    """Answers messages until it is to stop.

    A message is acknowledged when the broker has stored its answer, or its dead letter, and those of all messages
    before it: it is answered at least once. At most ``AHEAD`` + 1 batches and one delivery are in memory.

    Args:
        broker: a connection; it is closed at the end.
        answers: what scores.
        max_rows: messages of a delivery.
        max_wait: seconds that the first message of a delivery waits for others.
        stop: when to end.
        monitor: what is told of the progress.
    """

    def __init__(
        self, broker: Broker, answers: AnswerMaker, max_rows: int, max_wait: float, stop: Stop, monitor: Monitor
    ) -> None:
        self._broker, self._answers, self._stop, self._monitor = broker, answers, stop, monitor
        self._max_rows, self._max_wait = max_rows, max_wait
        self._in_flight: deque[_InFlight] = deque()
        self._lag_asked = 0.0
        broker.before_revoke = self._settle

    def run(self) -> None:
        """Answer messages; returns when all that were received are acknowledged, after a request to stop.

        Raises:
            StreamError: the broker does not store answers, or has no more messages.
        """
        try:
            while not self._stop.is_requested:
                self._take()
            self._settle()
        except BaseException:
            # Leave, so that others get the messages at once.
            self._stop.request()
            self._broker.before_revoke = self._in_flight.clear
            with suppress(StreamError):
                self._broker.close()
            raise
        self._broker.close()

    def _take(self) -> None:
        """Answer what comes next."""
        messages = self._broker.receive(self._max_rows, self._max_wait)
        received = time.monotonic()
        for batch in self._answers.batches(messages):
            self._in_flight.append(_InFlight(batch, self._broker.send(batch.letters), received))
            self._monitor.received(sum(len(one.batch.messages) for one in self._in_flight))
            self._settle(AHEAD)
        if not messages:
            self._settle()
        self._watch_lag()

    def _settle(self, keep: int = 0) -> None:
        """Acknowledge all batches but the last ones, after their letters are stored."""
        while len(self._in_flight) > keep:
            batch, sent, received = self._in_flight[0]
            while refused := sent.wait():
                sent = self._broker.send([self._answers.smaller(letter) for letter in refused])
            self._in_flight.popleft()
            self._broker.acknowledge(batch.messages)
            self._monitor.received(sum(len(one.batch.messages) for one in self._in_flight))
            self._monitor.settled(batch, time.monotonic() - received)

    def _watch_lag(self) -> None:
        now = time.monotonic()
        if now - self._lag_asked >= LAG_INTERVAL:
            self._lag_asked = now
            self._monitor.lag(self._broker.lag())
