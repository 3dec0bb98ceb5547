"""Brokers, the command ``model-kit consume`` in a process of its own, and what came out of it."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Generator, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, cast

import nats
import pytest
from confluent_kafka import OFFSET_BEGINNING, Consumer, Producer, TopicPartition
from model_kit.batch.progress import Progress
from model_kit.cli.main import main as command
from model_kit.scoring.predictor import Predictor
from model_kit.scoring.protocol import Model
from model_kit.streams.answers import AnswerMaker, Options
from model_kit.streams.broker import Broker, Route, Stop
from model_kit.streams.consumer import StreamConsumer
from model_kit.streams.log import LOGGER
from model_kit.streams.monitor import StreamMonitor
from nats.aio.client import Client
from nats.js import JetStreamContext
from nats.js.api import StreamConfig

T = TypeVar("T")

#: Seconds for what should take one.
PATIENCE = 60
HELPERS = Path(__file__).parent


@dataclass(frozen=True)
class Out:
    """A message that was sent about another.

    Attributes:
        id: key or ``Nats-Msg-Id``.
        value: its bytes.
        headers: names and values.
    """

    id: str
    value: bytes
    headers: dict[str, str]

    @property
    def answer(self) -> Any:
        """The value as JSON."""
        return json.loads(self.value)


def wait_until(condition: Callable[[], bool]) -> None:
    """Wait until a condition holds, within a minute."""
    give_up = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < give_up, "it did not happen within a minute"
        time.sleep(0.02)


def free_port() -> int:
    """Return a port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def ride(number: int) -> bytes:
    """A message whose prediction identifies it."""
    return json.dumps({"distance": number / 64, "passengers": 1, "zone": "A", "comfort": "1"}).encode()


def refusal(capsys: pytest.CaptureFixture[str], url: str, *options: str) -> tuple[int, str]:
    """Exit status and last line of the command in this process, where it ends by itself."""
    LOGGER.handlers.clear()  # an earlier one has the standard output of another test
    arguments = ["consume", "--model", "rides", "--broker", url, "--topic", "in", "--to", "out", *options]
    status = command(arguments, program="model-kit")
    return status, capsys.readouterr().err.splitlines()[-1]


class Consuming:
    """``model-kit consume`` from ``in`` to ``out``.

    Args:
        folder: for its output.
        site: where the model is installed.
        url: of the broker.
        options: of the command.
        model: its name.
        environ: further variables.
    """

    def __init__(self, folder: Path, site: Path, url: str, *options: str, model: str = "rides", **environ: str) -> None:
        self._out, self._err = (folder / f"{name}{time.monotonic_ns()}" for name in ("out", "err"))
        path = os.pathsep.join([str(site), *filter(None, sys.path)])
        command = [sys.executable, "-m", "model_kit.cli.main", "consume", "--model", model, "--broker", url]
        with self._out.open("wb") as out, self._err.open("wb") as err:
            self.process = subprocess.Popen(
                [*command, "--topic", "in", "--to", "out", *options],
                env=os.environ | {"PYTHONPATH": path} | environ,
                stdout=out,
                stderr=err,
            )

    @property
    def errors(self) -> str:
        """What it wrote to standard error."""
        return self._err.read_text()

    @property
    def output(self) -> str:
        """What it wrote to standard output: its log."""
        return self._out.read_text()

    def lines(self, message: str) -> list[dict[str, Any]]:
        """Its log lines with a message."""
        found = [json.loads(line) for line in self.output.splitlines(keepends=True) if line.endswith("\n")]
        return [line for line in found if line["message"] == message]

    def started(self) -> Consuming:
        """Wait until it consumes."""
        wait_until(lambda: bool(self.lines("started")) or self.process.poll() is not None)
        assert self.process.poll() is None, self.errors
        return self

    def stop(self) -> None:
        """End it as a platform does."""
        self.started().process.terminate()
        assert self.process.wait(PATIENCE) == 0, self.errors + self.output

    def kill(self) -> None:
        """End it as a power cut does."""
        self.process.kill()
        self.process.wait()


@contextmanager
def consuming_here(
    model: Model,
    broker: Callable[[str, Route, Mapping[str, str], Stop, float], Broker],
    servers: str,
    id_header: str | None = None,
    **settings: str,
) -> Generator[None]:
    """The same in a thread of this process, which starts sooner; it must have ended well by the end."""
    route, stop = Route("in", "out", "out.errors", "model-kit-rides", id_header), Stop(PATIENCE)
    answers = AnswerMaker(Predictor(model), route, 500, Options())
    connection = broker(servers, route, {name.replace("_", "."): value for name, value in settings.items()}, stop, 30)
    consumer = StreamConsumer(connection, answers, 500, 0.05, stop, StreamMonitor(Progress("", None), None))
    with ThreadPoolExecutor(1) as pool:
        ended = pool.submit(consumer.run)
        try:
            yield
        finally:
            stop.request()
            ended.result(PATIENCE)


class MockKafka:
    """librdkafka's mock cluster in a process of its own: one broker, in memory."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(HELPERS / "kafka_mock.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self.servers = self._read()
        self.url = f"kafka://{self.servers}"

    def _read(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def __call__(self, command: str) -> None:
        """Have the cluster carry out a command."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{command}\n")
        self._process.stdin.flush()
        assert self._read() == "ok"

    def kill(self) -> None:
        """End it."""
        self._process.kill()
        self._process.communicate()

    def send(self, values: Iterable[bytes | None], topic: str = "in", **more: Any) -> None:
        """Send messages, one after the other over the partitions, and wait until they are stored."""
        producer = Producer({"bootstrap.servers": self.servers, "compression.type": "zstd"})
        for value in values:
            producer.produce(topic, value, **more)
            producer.poll(0)
        assert producer.flush(PATIENCE) == 0

    def read(self, topic: str, is_all: Callable[[Sequence[Out]], bool]) -> list[Out]:
        """Return the messages of a topic, partition by partition, when they are all that is waited for."""
        consumer = Consumer(
            {"bootstrap.servers": self.servers, "group.id": "test", "enable.auto.commit": False, "log_level": 0}
        )
        partitions = consumer.list_topics(topic, timeout=PATIENCE).topics[topic].partitions
        consumer.assign([TopicPartition(topic, number, OFFSET_BEGINNING) for number in partitions])
        found: list[Out] = []
        give_up = time.monotonic() + PATIENCE
        while not is_all(found):
            assert time.monotonic() < give_up, f"{topic} has {len(found)} messages"
            for record in consumer.consume(1000, 0.2):
                if record.error() is None:
                    pairs = cast("list[tuple[str, bytes]]", record.headers() or [])
                    headers = {name: value.decode() for name, value in pairs}
                    found.append(Out((record.key() or b"").decode(), record.value() or b"", headers))
        consumer.close()
        return found

    def lag(self, group: str = "model-kit-rides", topic: str = "in") -> int:
        """Messages that the group has not committed."""
        consumer = Consumer(
            {"bootstrap.servers": self.servers, "group.id": group, "enable.auto.commit": False, "log_level": 0}
        )
        numbers = consumer.list_topics(topic, timeout=PATIENCE).topics[topic].partitions
        committed = consumer.committed([TopicPartition(topic, number) for number in numbers], timeout=PATIENCE)
        ends = {one.partition: consumer.get_watermark_offsets(one, timeout=PATIENCE) for one in committed}
        consumer.close()
        return sum(ends[one.partition][1] - max(one.offset, ends[one.partition][0]) for one in committed)


@contextmanager
def secured(cluster: MockKafka, *arguments: str | Path) -> Generator[str]:
    """Put TLS and SASL in front of a cluster while the block runs: certificate, key, user, password. Gives the URL."""
    command = [sys.executable, str(HELPERS / "kafka_secured.py"), cluster.servers, *map(str, arguments)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield f"kafka://{process.stdout.readline().strip()}"
        finally:
            process.kill()


class NATSServer:
    """A nats-server with JetStream, its data in ``folder``."""

    def __init__(self, folder: Path, configuration: str = "") -> None:
        if shutil.which("nats-server") is None:
            pytest.skip("there is no nats-server here; Debian's package is nats-server")
        self.port = free_port()
        self.servers = f"127.0.0.1:{self.port}"
        self.url = f"nats://{self.servers}"
        self._log = folder / "log"
        self._configuration = folder / "nats.conf"
        self._configuration.write_text(
            f'listen: "{self.servers}"\njetstream {{ store_dir: "{folder / "data"}" }}\n{configuration}\n'
        )
        self.start()

    def start(self) -> None:
        """Start it, and wait until it accepts connections."""
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(["nats-server", "-c", str(self._configuration)], stdout=log, stderr=log)
        wait_until(self._accepts)

    def _accepts(self) -> bool:
        assert self.process.poll() is None, self._log.read_text()
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
        except OSError:
            return False
        return True

    def kill(self) -> None:
        """End it as a power cut does, but for what the system has not yet written."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def __call__(self, work: Callable[[JetStreamContext], Awaitable[T]], **options: Any) -> T:
        """Return what a coroutine function does with JetStream."""

        async def run() -> T:
            client: Client = await nats.connect(self.url, **options)
            try:
                return await work(client.jetstream())
            finally:
                await client.close()

        return asyncio.run(run())

    def streams(self, *subjects: str, **config: Any) -> None:
        """Create a stream for each subject, of the same name in capitals."""

        async def create(jetstream: JetStreamContext) -> None:
            for subject in subjects:
                name = subject.upper().replace(".", "-")
                await jetstream.add_stream(StreamConfig(name=name, subjects=[subject], **config))

        self(create)

    def send(self, values: Iterable[bytes], subject: str = "in", headers: Mapping[str, str] | None = None) -> None:
        """Send messages, and wait until they are stored."""

        async def publish(jetstream: JetStreamContext) -> None:
            given = None if headers is None else dict(headers)
            await asyncio.gather(*[await jetstream.publish_async(subject, one, headers=given) for one in values])

        self(publish)

    def read(self, subject: str, is_all: Callable[[Sequence[Out]], bool]) -> list[Out]:
        """Return the messages of a subject, in order, when they are all that is waited for."""

        async def fetch(jetstream: JetStreamContext) -> list[Out]:
            subscription = await jetstream.subscribe(subject, ordered_consumer=True)
            found: list[Out] = []
            give_up = time.monotonic() + PATIENCE
            while not is_all(found):
                assert time.monotonic() < give_up, f"{subject} has {len(found)} messages"
                try:
                    msg = await subscription.next_msg(timeout=0.2)
                except TimeoutError:
                    continue
                headers = dict(msg.headers or {})
                found.append(Out(headers.pop("Nats-Msg-Id", ""), msg.data, headers))
            return found

        return self(fetch)

    def pending(self, group: str = "model-kit-rides", stream: str = "IN") -> int:
        """Messages that the group has not acknowledged."""

        async def ask(jetstream: JetStreamContext) -> int:
            info = await jetstream.consumer_info(stream, group)
            return (info.num_pending or 0) + (info.num_ack_pending or 0)

        return self(ask)
