"""NATS JetStream: a durable consumer that is pulled from, and publishing that deduplicates by ``Nats-Msg-Id``."""

from __future__ import annotations

import asyncio
import json
import ssl
import time
from collections import deque
from collections.abc import Callable, Coroutine, Mapping, Sequence
from concurrent.futures import Future, wait
from contextlib import suppress
from threading import Thread
from typing import Any, Final, TypeVar

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NATSError
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy
from nats.js.errors import APIError, NoStreamResponseError, NotFoundError

from model_kit.errors import DataError, StreamError, first_line
from model_kit.streams import log
from model_kit.streams.broker import Letter, Message, Route, Stop, header_text

T = TypeVar("T")

#: Seconds between two looks at the request to stop.
TICK: Final = 0.2
#: Seconds until an answer of JetStream counts as lost, and a letter is sent again.
PATIENCE: Final = 5.0
#: Seconds after which letters that are not stored are sent again.
RESEND: Final = 1.0
#: Seconds for which a connected server may have no stream for a letter: while it restarts or elects a leader.
NO_STREAM: Final = 60.0
#: Bytes of messages that one request may bring; a larger message comes alone.
MOST_BYTES: Final = 16_777_216
#: Messages that all consumers of a group together may have, and seconds after which they are delivered again.
MOST_PENDING: Final = 65_536
ACK_WAIT: Final = 30.0
#: Seconds that an answer of the server may take on its way, beyond those that the request lasts.
_GRACE: Final = 0.5
#: Errors of JetStream that end by themselves, or when somebody makes room: the stream is full.
_FULL: Final = (10023, 10047, 10077, 10122)
_MESSAGE_TOO_LARGE: Final = 10054
#: What the client raises without a connection; a TimeoutError is an OSError.
_LOST: Final = (OSError, NATSError)
_SETTINGS: Final = ("user", "password", "token", "creds", "nkey.seed", "tls", "tls.ca", "tls.cert", "tls.key")


class _Client(Client):
    """A client that uses TLS where it was asked for, also if a server does not demand it.

    Client itself would send the password in clear text, to whoever answers in the server's place.
    """

    async def _process_info(self, info: dict[str, Any], initial_connection: bool = False) -> None:
        if "tls" in self.options:
            info["tls_required"] = True
        await super()._process_info(info, initial_connection)


class JetStreamBroker:
    """The :class:`~model_kit.streams.broker.Broker` of a NATS server.

    Its client runs in a thread of its own.

    Args:
        servers: ``host:port``, several with commas.
        route: subjects, and the name of the durable consumer.
        settings: ``user``, ``password``, ``token``, ``creds``, ``nkey.seed`` (files), ``tls=true``, ``tls.ca``,
            ``tls.cert``, ``tls.key`` (files).
        stop: a request to stop.
        timeout: seconds until the server must answer at the start.

    Raises:
        DataError: a setting is unusable, or no stream has a subject.
        StreamError: the server cannot be reached.
    """

    def __init__(self, servers: str, route: Route, settings: Mapping[str, str], stop: Stop, timeout: float) -> None:
        self._route, self._stop, self._servers = route, stop, servers
        #: Never called: the server gives messages to nobody else before their time is over.
        self.before_revoke: Callable[[], None] = lambda: None
        self._client = _Client()
        self._last_error = ""
        self._is_closing = False
        self._refusal: str | None = None
        self._arrived: deque[Msg] = deque()
        self._wanted = self._n_requests = 0
        self._ended = ""
        options = _options(settings)
        _check_names(route)
        self._loop = asyncio.new_event_loop()
        self._thread = Thread(target=self._loop.run_forever, name="nats", daemon=True)
        self._thread.start()
        try:
            self._run(asyncio.wait_for(self._connect(options, timeout), timeout))
            self._run(self._bind())
        except (OSError, NATSError, DataError) as error:
            self.close()
            if isinstance(error, DataError):
                raise
            reason = first_line(error)
            if isinstance(error, TimeoutError):
                reason = f"does not answer within {timeout:g} s: {self._last_error or 'no answer'}"
            raise StreamError(f"nats://{servers} {reason}") from error

    def receive(self, count: int, seconds: float) -> list[Message]:
        """See :class:`~model_kit.streams.broker.Broker`."""
        self._check()
        return [self._message(msg) for msg in self._run(self._pull(count, seconds))]

    def send(self, letters: Sequence[Letter]) -> _Sent:
        """See :class:`~model_kit.streams.broker.Broker`."""
        self._check()
        return _Sent(self, asyncio.run_coroutine_threadsafe(self._publish(letters), self._loop))

    def acknowledge(self, messages: Sequence[Message]) -> None:
        """See :class:`~model_kit.streams.broker.Broker`; what is lost with the connection is delivered again."""
        try:
            self._run(self._ack([message.receipt for message in messages]))
        except _LOST as error:
            log.warning("acknowledgements may be lost", reason=first_line(error), messages=len(messages))

    def lag(self) -> int | None:
        """See :class:`~model_kit.streams.broker.Broker`; of the group, whoever has received them."""
        if not self._client.is_connected:
            return None
        try:
            info = self._run(self._jetstream.consumer_info(self._stream, self._route.group))
        except NotFoundError as error:
            raise StreamError(f"the consumer {self._route.group} of the stream {self._stream} was deleted") from error
        except _LOST:
            return None
        return (info.num_pending or 0) + (info.num_ack_pending or 0)

    def close(self) -> None:
        """See :class:`~model_kit.streams.broker.Broker`."""
        self._is_closing = True
        self._run(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(PATIENCE)
        if not self._thread.is_alive():
            self._loop.close()

    def _run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return self.result(asyncio.run_coroutine_threadsafe(coroutine, self._loop))

    def result(self, future: Future[T]) -> T:
        """The result of what the client's thread does.

        Raises:
            StreamError: it is not there in the time that is left to stop.
        """
        while not wait([future], TICK).done:
            self._stop.check()
        return future.result()

    def _check(self) -> None:
        if self._refusal is not None:
            raise StreamError(f"nats://{self._servers}: {self._refusal}")

    # In the client's thread.

    async def _connect(self, options: Mapping[str, Any], seconds: float) -> None:
        await self._client.connect(
            [f"nats://{server}" for server in self._servers.split(",")],
            name=self._route.group,
            connect_timeout=max(1, int(seconds)),
            max_reconnect_attempts=-1,
            reconnect_time_wait=1,
            error_cb=self._report,
            disconnected_cb=self._disconnected,
            reconnected_cb=self._reconnected,
            closed_cb=self._closed,
            **options,
        )
        self._jetstream = self._client.jetstream(timeout=PATIENCE)

    async def _end(self) -> None:
        with suppress(*_LOST):
            await asyncio.wait_for(self._client.close(), PATIENCE)
        others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _bind(self) -> None:
        """Find the streams, and create the durable consumer unless it exists."""
        route = self._route
        streams = [await self._find(subject) for subject in (route.topic, route.to, route.dead_letter)]
        self._stream = streams[0]
        try:
            config = (await self._jetstream.consumer_info(self._stream, route.group)).config
        except NotFoundError:
            config = ConsumerConfig(
                durable_name=route.group,
                ack_policy=AckPolicy.EXPLICIT,
                ack_wait=ACK_WAIT,
                deliver_policy=DeliverPolicy.ALL,
                filter_subject=route.topic,
                max_ack_pending=MOST_PENDING,
            )
            await self._jetstream.add_consumer(self._stream, config)
        if config.deliver_subject or config.ack_policy != AckPolicy.EXPLICIT or config.filter_subject != route.topic:
            raise DataError(
                f"the stream {self._stream} has a consumer {route.group} already, and it is none that is pulled from, "
                f"with explicit acknowledgements, filtered to {route.topic}; choose another --group"
            )
        self._next = f"$JS.API.CONSUMER.MSG.NEXT.{self._stream}.{route.group}"
        self._inbox = self._client.new_inbox()
        self._has_enough = asyncio.Event()
        await self._client.subscribe(f"{self._inbox}.*", cb=self._arrive)

    async def _find(self, subject: str) -> str:
        try:
            return await self._jetstream.find_stream_name_by_subject(subject)
        except NotFoundError as error:
            raise DataError(f"nats://{self._servers} has no stream with the subject {subject}; create one") from error

    async def _pull(self, count: int, seconds: float) -> list[Msg]:
        """Ask for messages, and wait until they are there, or the time is over."""
        if not self._client.is_connected:
            await asyncio.sleep(min(seconds, TICK))
        elif (wanted := count - len(self._arrived)) > 0:
            self._has_enough.clear()
            self._wanted, self._ended = count, ""
            self._n_requests += 1
            expires = int(seconds * 1e9)
            request = {"batch": wanted, "expires": expires, "max_bytes": max(MOST_BYTES, self._client.max_payload)}
            with suppress(*_LOST):
                reply = f"{self._inbox}.{self._n_requests}"
                await self._client.publish(self._next, json.dumps(request).encode(), reply)
                await asyncio.wait_for(self._has_enough.wait(), seconds + _GRACE)
            if self._ended and not self._arrived and not self._ended.startswith(("404", "408")):
                await asyncio.sleep(min(seconds, TICK))  # an error that the next request would have at once
        return [self._arrived.popleft() for _ in range(min(count, len(self._arrived)))]

    async def _arrive(self, msg: Msg) -> None:
        if not msg.subject.startswith(self._inbox):
            self._arrived.append(msg)
            if len(self._arrived) >= self._wanted:
                self._has_enough.set()
        elif msg.subject == f"{self._inbox}.{self._n_requests}":
            # The end of the last request; 100 is a heartbeat.
            status, text = ((msg.headers or {}).get(name, "") for name in ("Status", "Description"))
            if status != "100":
                self._ended = f"{status} {text}"
                self._has_enough.set()

    async def _ack(self, messages: Sequence[Msg]) -> None:
        for msg in messages:
            await msg.ack()
        # The server has them when it answers this.
        await self._client.flush(int(PATIENCE))

    async def _publish(self, letters: Sequence[Letter]) -> list[Letter]:
        """Send letters until each is stored or refused; returns those that are too large."""
        refused = [letter for letter in letters if _size(letter) > self._client.max_payload]
        waiting = [letter for letter in letters if letter not in refused] if refused else list(letters)
        without_stream = 0.0
        while waiting:
            began = time.monotonic()
            errors = await asyncio.gather(*map(self._publish_one, waiting))
            self._check()
            again: list[tuple[Letter, Exception]] = []
            for letter, error in zip(waiting, errors, strict=True):
                if error is None:
                    continue
                if isinstance(error, APIError) and error.err_code == _MESSAGE_TOO_LARGE:
                    refused.append(letter)
                elif isinstance(error, APIError) and error.err_code not in _FULL and (error.code or 0) < 500:
                    raise StreamError(f"{letter.topic} does not take answers: {error.description}")
                else:
                    again.append((letter, error))
            if not again:
                break
            # Only while connected: without a connection, no stream answers.
            letter, error = again[0]
            is_without = self._client.is_connected and isinstance(error, NoStreamResponseError)
            without_stream = without_stream + time.monotonic() - began + RESEND if is_without else 0.0
            if without_stream > NO_STREAM:
                raise StreamError(f"no stream has had the subject {letter.topic} for {NO_STREAM:g} s")
            log.warning("answers are sent again", reason=first_line(error), letters=len(again))
            waiting = [letter for letter, _ in again]
            await asyncio.sleep(RESEND)
        return refused

    async def _publish_one(self, letter: Letter) -> Exception | None:
        headers = {**letter.headers, "Nats-Msg-Id": letter.id}
        try:
            await self._jetstream.publish(letter.topic, letter.value, timeout=PATIENCE, headers=headers)
        except _LOST as error:
            return error
        return None

    def _message(self, msg: Msg) -> Message:
        found = msg.metadata
        sequence, stored_at = found.sequence.stream, int(found.timestamp.timestamp() * 1e6)
        own = (msg.headers or {}).get(self._route.id_header) if self._route.id_header is not None else None
        source = {
            "source-topic": header_text(msg.subject),
            "source-stream": self._stream,
            "source-offset": str(sequence),
        }
        # With the time: a stream that is deleted and created again has the same numbers.
        place = f"{self._stream}/{sequence}/{stored_at}" if own is None else f"id/{header_text(own)}"
        return Message(msg.data, f"{self._route.group}/{place}", source, msg)

    async def _report(self, error: Exception) -> None:
        """Log an error that the client recovers from by itself."""
        text = first_line(error)
        if "permissions violation" in text.lower():
            self._refusal = text
        if text != self._last_error:
            self._last_error = text
            log.warning("broker", reason=text)

    async def _disconnected(self) -> None:
        if not self._is_closing:
            log.warning("the connection is lost")

    async def _reconnected(self) -> None:
        self._last_error = ""
        log.info("the connection is back")

    async def _closed(self) -> None:
        if not self._is_closing:
            self._refusal = f"the connection was closed: {self._last_error}"


class _Sent:
    """The :class:`~model_kit.streams.broker.Sent` of JetStream."""

    def __init__(self, broker: JetStreamBroker, future: Future[list[Letter]]) -> None:
        self._broker, self._future = broker, future

    def wait(self) -> list[Letter]:
        """See :class:`~model_kit.streams.broker.Sent`."""
        return self._broker.result(self._future)


def _size(letter: Letter) -> int:
    """Bytes of a letter with its headers, which the server counts too."""
    headers = sum(len(name) + len(value) + 4 for name, value in letter.headers.items())
    return len(letter.value) + headers + len(letter.id) + 32


def _check_names(route: Route) -> None:
    """Refuse what would not work, or read its own answers."""
    if any(character in route.group for character in " .*>/\\"):
        raise DataError(f"--group {route.group}: NATS takes no blank, dot, star, slash or > in it")
    for subject in (route.to, route.dead_letter):
        if any(token in subject.split(".") for token in ("*", ">")):
            raise DataError(f"{subject} is no subject that can be sent to")
        if _matches(route.topic.split("."), subject.split(".")):
            raise DataError(f"--topic {route.topic} has {subject} in it: a consumer would read its own answers")


def _matches(pattern: Sequence[str], subject: Sequence[str]) -> bool:
    """Whether a subject is one of those that a pattern with * and > means."""
    if pattern[-1] == ">" and len(subject) >= len(pattern):
        pattern, subject = pattern[:-1], subject[: len(pattern) - 1]
    return len(pattern) == len(subject) and all(
        one in ("*", other) for one, other in zip(pattern, subject, strict=True)
    )


def _options(settings: Mapping[str, str]) -> dict[str, Any]:
    """Settings as the client takes them."""
    if unknown := sorted(settings.keys() - set(_SETTINGS)):
        raise DataError(f"{unknown[0]} is no setting of NATS: there are {', '.join(_SETTINGS)}")
    names = {"user": "user", "password": "password", "token": "token", "creds": "user_credentials"}
    names["nkey.seed"] = "nkeys_seed"
    options: dict[str, Any] = {names[name]: value for name, value in settings.items() if name in names}
    if settings.get("tls") == "true" or any(name.startswith("tls.") for name in settings):
        try:
            context = ssl.create_default_context(cafile=settings.get("tls.ca"))
            if "tls.cert" in settings:
                context.load_cert_chain(settings["tls.cert"], settings.get("tls.key"))
        except (OSError, ssl.SSLError) as error:
            raise DataError(f"tls.ca, tls.cert, tls.key: {first_line(error)}") from error
        options["tls"] = context
    return options
