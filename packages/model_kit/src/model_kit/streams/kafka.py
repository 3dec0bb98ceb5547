"""Kafka, by librdkafka: a consumer group, an idempotent producer, offsets committed by hand."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from threading import Thread
from typing import Any, Final, TypeAlias, cast

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka import Message as Record

from model_kit.errors import DataError, StreamError
from model_kit.streams import log
from model_kit.streams.broker import Letter, Message, Route, Stop, header_text

#: Seconds between two looks at the request to stop.
TICK: Final = 0.1
#: KiB of messages that are fetched ahead, and bytes of one fetch.
AHEAD_KIB: Final = 16_384
FETCH_BYTES: Final = 16_777_216
#: What the guarantee rests on; no setting may change it.
_CONSUMER: Final = {"enable.auto.commit": False, "enable.auto.offset.store": False, "allow.auto.create.topics": False}
#: A message waits for its broker as long as need be.
_PRODUCER: Final = {"enable.idempotence": True, "acks": "all", "message.timeout.ms": 0}
_OURS: Final = frozenset(
    {"bootstrap.servers", "metadata.broker.list", "group.id", "delivery.timeout.ms", "request.required.acks"}
    | _CONSUMER.keys()
    | _PRODUCER.keys()
)
_TOO_LARGE: Final = (KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.RECORD_LIST_TOO_LARGE)
#: Errors after which no message comes any more.
_NO_MORE: Final = (
    KafkaError.UNKNOWN_TOPIC_OR_PART,
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.GROUP_AUTHORIZATION_FAILED,
    KafkaError.UNSUPPORTED_SASL_MECHANISM,
)
#: The name of an error that follows the reason why, or comes alone.
_ALL_DOWN: Final = "_ALL_BROKERS_DOWN"
_Headers: TypeAlias = list[tuple[str, str | bytes | None]]


class KafkaBroker:
    """The :class:`~model_kit.streams.broker.Broker` of a Kafka cluster.

    Args:
        servers: ``host:port``, several with commas.
        route: topics and group.
        settings: of librdkafka; what begins with ``consumer.`` or ``producer.`` is for one of the two.
        stop: a request to stop.
        timeout: seconds until the cluster must answer at the start.

    Raises:
        DataError: a setting is unusable, or a topic does not exist.
        StreamError: the cluster cannot be reached.
    """

    def __init__(self, servers: str, route: Route, settings: Mapping[str, str], stop: Stop, timeout: float) -> None:
        self._route, self._stop, self._servers = route, stop, servers
        self.before_revoke: Callable[[], None] = lambda: None
        self._last_error: KafkaError | None = None
        #: Topic and partition -> offset of the next message that is not answered.
        self._next: dict[tuple[str, int], int] = {}
        #: Those whose offset the cluster has not confirmed, and whether it has refused one.
        self._uncommitted: set[tuple[str, int]] = set()
        self._is_refused = False
        self._assigned: set[tuple[str, int]] = set()
        common = {"bootstrap.servers": servers, "client.id": route.group}
        ahead = {
            "queued.max.messages.kbytes": AHEAD_KIB,
            "fetch.max.bytes": FETCH_BYTES,
            "auto.offset.reset": "earliest",
        }
        consumer = common | ahead | _chosen(settings, "consumer.") | _CONSUMER | {"group.id": route.group}
        producer = common | {"queue.buffering.max.kbytes": 65_536} | _chosen(settings, "producer.") | _PRODUCER
        callbacks: dict[str, Any] = {"error_cb": self._report, "logger": log.LOGGER}
        try:
            self._consumer = Consumer(consumer | callbacks | {"on_commit": self._committed})
            self._producer = Producer(producer | callbacks)
        except (KafkaException, TypeError, ValueError) as error:
            raise DataError(f"a setting of the broker: {_text(error)}") from error
        self._check_topics(timeout)
        self._consumer.subscribe([route.topic], on_assign=self._assign, on_revoke=self._revoke, on_lost=self._lose)

    def receive(self, count: int, seconds: float) -> list[Message]:
        """See :class:`~model_kit.streams.broker.Broker`."""
        self._producer.poll(0)
        found = []
        for record in self._consumer.consume(count, seconds):
            error = record.error()
            if error is None:
                found.append(self._message(record))
            elif error.fatal() or error.code() in _NO_MORE:
                raise StreamError(f"{self._route.topic}: {error.str()}")
            else:
                self._report(error)
        if self._is_refused and not found:
            self._commit()
        return found

    def send(self, letters: Sequence[Letter]) -> _Sent:
        """See :class:`~model_kit.streams.broker.Broker`."""
        sent = _Sent(self._producer, self._stop, len(letters))
        for letter in letters:
            report = partial(sent.report, letter)
            headers: _Headers = list(letter.headers.items())
            while not self._produce(letter, headers, report):
                self._producer.poll(TICK)
                self._stop.check()
        return sent

    def _produce(self, letter: Letter, headers: _Headers, report: Callable[..., None]) -> bool:
        """Hand a letter to the producer; ``False`` if it has no room."""
        try:
            self._producer.produce(letter.topic, letter.value, letter.id, headers=headers, on_delivery=report)
        except BufferError:
            return False
        except KafkaException as error:
            report(error.args[0], None)
        return True

    def acknowledge(self, messages: Sequence[Message]) -> None:
        """See :class:`~model_kit.streams.broker.Broker`; what cannot be committed now, is with the next ones."""
        for message in messages:
            place, offset = message.receipt
            # What another consumer has now is for it to commit.
            if place in self._assigned:
                self._next[place] = max(offset + 1, self._next.get(place, 0))
                self._uncommitted.add(place)
        self._commit()

    def lag(self) -> int | None:
        """See :class:`~model_kit.streams.broker.Broker`."""
        lag = 0
        for place in self._assigned:
            partition = TopicPartition(*place)
            _, high = self._consumer.get_watermark_offsets(partition, cached=True)
            next_one = self._next.get(place)
            if next_one is None:
                next_one = self._consumer.position([partition])[0].offset
            if high >= 0 and next_one >= 0:
                lag += max(high - next_one, 0)
        return lag

    def close(self) -> None:
        """See :class:`~model_kit.streams.broker.Broker`."""
        self._commit()
        # This waits for the commit, and without a broker for ever.
        closing = Thread(target=self._consumer.close, name="kafka", daemon=True)
        closing.start()
        while closing.is_alive():
            closing.join(TICK)
            self._stop.check()
        if self._uncommitted:
            raise StreamError("offsets could not be committed; messages that have answers are delivered again")

    def _message(self, record: Record) -> Message:
        topic, partition, offset = str(record.topic()), record.partition(), record.offset()
        own = None
        if self._route.id_header is not None:
            own = dict(cast("_Headers", record.headers() or [])).get(self._route.id_header)
        source = {"source-topic": topic, "source-partition": str(partition), "source-offset": str(offset)}
        if (key := record.key()) is not None:
            source["source-key"] = header_text(key)
        place = f"{topic}/{partition}/{offset}" if own is None else f"id/{header_text(own)}"
        return Message(record.value(), f"{self._route.group}/{place}", source, ((topic, partition), offset))

    def _commit(self) -> None:
        """Begin to commit what is answered; does not wait, which nothing could interrupt."""
        self._is_refused = False
        offsets = [TopicPartition(*place, self._next[place]) for place in sorted(self._uncommitted)]
        if offsets:
            try:
                self._consumer.commit(offsets=offsets)
            except KafkaException as error:
                self._committed(error.args[0], [])

    def _committed(self, error: KafkaError | None, partitions: Sequence[TopicPartition]) -> None:
        """Called within the consumer's functions when a commit has ended."""
        for one in partitions:
            place = (one.topic, one.partition)
            error = error or one.error
            if error is None and self._next.get(place) == one.offset:
                self._uncommitted.discard(place)
        if error is not None:
            self._is_refused = True
            log.warning("offsets are not committed yet", reason=error.str())

    def _assign(self, _: Consumer, partitions: Sequence[TopicPartition]) -> None:
        self._assigned |= {(one.topic, one.partition) for one in partitions}
        log.info("partitions are assigned", partitions=sorted(one.partition for one in partitions))

    def _revoke(self, _: Consumer, partitions: Sequence[TopicPartition]) -> None:
        self.before_revoke()
        self._lose(_, partitions)

    def _lose(self, _: Consumer, partitions: Sequence[TopicPartition]) -> None:
        for one in partitions:
            place = (one.topic, one.partition)
            self._assigned.discard(place)
            self._uncommitted.discard(place)
            self._next.pop(place, None)
        log.info("partitions are revoked", partitions=sorted(one.partition for one in partitions))

    def _report(self, error: KafkaError) -> None:
        """Log an error that librdkafka recovers from by itself."""
        if self._last_error is None or error.name() != _ALL_DOWN:
            self._last_error = error
        log.warning("broker", reason=error.str(), code=error.name())

    def _check_topics(self, timeout: float) -> None:
        try:
            # All of them, which creates none.
            known = self._consumer.list_topics(timeout=timeout).topics
        except KafkaException as error:
            self._consumer.poll(0)  # the reason, if there is one
            reason = self._last_error.str() if self._last_error else _text(error)
            if self._last_error and self._last_error.name() == _ALL_DOWN:
                reason = "it closes every connection; is security.protocol that of this port?"
            raise StreamError(f"kafka://{self._servers} does not answer within {timeout:g} s: {reason}") from error
        for topic in (self._route.topic, self._route.to, self._route.dead_letter):
            if topic not in known or known[topic].error is not None:
                raise DataError(
                    f"kafka://{self._servers} has no topic {topic}, or does not show it to this user; create it"
                )


class _Sent:
    """The :class:`~model_kit.streams.broker.Sent` of a producer."""

    def __init__(self, producer: Producer, stop: Stop, count: int) -> None:
        self._producer, self._stop, self._left = producer, stop, count
        self._refused: list[Letter] = []
        self._error: StreamError | None = None

    def report(self, letter: Letter, error: KafkaError | None, _: Record | None) -> None:
        """A letter is stored, or not."""
        self._left -= 1
        if error is None:
            return
        if error.code() in _TOO_LARGE:
            self._refused.append(letter)
        else:
            self._error = StreamError(f"{letter.topic} does not take answers: {error.str()}")

    def wait(self) -> list[Letter]:
        """See :class:`~model_kit.streams.broker.Sent`."""
        while self._left and self._error is None:
            self._producer.poll(TICK)
            self._stop.check()
        if self._error is not None:
            raise self._error
        return self._refused


def _chosen(settings: Mapping[str, str], prefix: str) -> dict[str, str]:
    other = {"consumer.": "producer.", "producer.": "consumer."}[prefix]
    found = {name.removeprefix(prefix): value for name, value in settings.items() if not name.startswith(other)}
    if ours := sorted(found.keys() & _OURS):
        raise DataError(f"{ours[0]} is not for you to set: the delivery of answers depends on it")
    return found


def _text(error: Exception) -> str:
    first = error.args[0] if error.args else error
    return first.str() if isinstance(first, KafkaError) else str(first)
