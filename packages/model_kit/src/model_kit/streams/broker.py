"""What the loop needs of a message broker, whatever its protocol."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import quote

from model_kit.errors import StreamError


@dataclass(frozen=True, slots=True)
class Route:
    """Where messages come from, and where their answers go.

    Attributes:
        topic: what is read; a subject in NATS.
        to: where answers go.
        dead_letter: where messages go that have an error.
        group: name of the consumer group in Kafka, of the durable consumer in NATS; consumers that share it share the
            messages.
        id_header: name of the header with a message's own id; ``None``: the place of a message identifies it.
    """

    topic: str
    to: str
    dead_letter: str
    group: str
    id_header: str | None = None


@dataclass(frozen=True, slots=True)
class Message:
    """A message that was received.

    Attributes:
        value: its bytes; ``None`` if it has none.
        id: identifies its answer; the same whenever the message is delivered again.
        source: headers that say where it is, ASCII.
        receipt: what the broker acknowledges it by.
    """

    value: bytes | None
    id: str
    source: Mapping[str, str]
    receipt: Any


@dataclass(frozen=True, slots=True)
class Letter:
    """A message to send.

    Attributes:
        message: what it is about.
        topic: where it goes.
        id: the key in Kafka, ``Nats-Msg-Id`` in NATS.
        value: its bytes.
        headers: names and values, ASCII.
    """

    message: Message
    topic: str
    id: str
    value: bytes
    headers: Mapping[str, str]


class Sent(Protocol):
    """Letters that the broker has not acknowledged yet."""

    def wait(self) -> list[Letter]:
        """Wait until all are stored; returns those that the broker refuses for their size.

        Raises:
            StreamError: one cannot be stored, or not in the time that is left to stop.
        """


class Broker(Protocol):
    """A connection; used by one thread.

    Attributes:
        before_revoke: called before messages are given to another consumer, within :meth:`receive` or :meth:`close`.
    """

    before_revoke: Callable[[], None]

    def receive(self, count: int, seconds: float) -> list[Message]:
        """Return at most ``count`` messages, those that come within some seconds; may be empty.

        Raises:
            StreamError: none will come any more.
        """

    def send(self, letters: Sequence[Letter]) -> Sent:
        """Begin to send.

        Raises:
            StreamError: the broker takes none.
        """

    def acknowledge(self, messages: Sequence[Message]) -> None:
        """Say that messages need not be delivered again: all that were received, in order."""

    def lag(self) -> int | None:
        """Return how many messages wait for this group, as far as this consumer can tell; ``None`` if it cannot.

        Raises:
            StreamError: the group no longer exists.
        """

    def close(self) -> None:
        """Leave the group.

        Raises:
            StreamError: what was acknowledged could not be stored.
        """


class Stop:
    """A request to stop, from a signal handler, and the time until everything must be done.

    Args:
        seconds: from the request on.

    Attributes:
        is_requested: whether it has come.
    """

    def __init__(self, seconds: float) -> None:
        self.is_requested = False
        self._seconds = seconds
        self._deadline = 0.0

    def request(self) -> None:
        """Stop soon."""
        if not self.is_requested:
            self._deadline = time.monotonic() + self._seconds
            self.is_requested = True

    def check(self) -> None:
        """Make sure that there is time left.

        Raises:
            StreamError: there is none.
        """
        if self.is_requested and time.monotonic() > self._deadline:
            raise StreamError(
                f"the broker did not store the answers within {self._seconds:g} s of the signal to stop; "
                "their messages are delivered again to the next consumer"
            )


def header_text(value: bytes | str) -> str:
    """A key or an id as the value of a header: ASCII, all other characters percent-encoded."""
    return quote(value, safe="!#$&'()*+,/:;=?@[]| ")
