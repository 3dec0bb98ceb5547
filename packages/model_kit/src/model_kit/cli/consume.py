"""The command ``consume``."""

from __future__ import annotations

import argparse
import os
import signal
import threading
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from model_kit.batch.progress import Progress
from model_kit.cli.common import (
    OK,
    add_bundle_argument,
    add_interval_argument,
    model_of,
    report,
    synthetic_notice,
    whole_number,
)
from model_kit.errors import DataError, ModelKitError
from model_kit.scoring.predictor import Predictor
from model_kit.streams import log
from model_kit.streams.answers import AnswerMaker, Options
from model_kit.streams.broker import Broker, Route, Stop
from model_kit.streams.consumer import StreamConsumer
from model_kit.streams.monitor import Metrics, StreamMonitor
from model_kit.streams.settings import PREFIX, read_settings

if TYPE_CHECKING:
    from types import FrameType

HELP: Final = "answer the messages of a Kafka topic or a NATS subject in another one"
EXAMPLES: Final = f"""\
examples:
  {{program}} consume --broker kafka://kafka-1:9092,kafka-2:9092 --topic rows --to predictions
  {{program}} consume --broker nats://127.0.0.1:4222 --topic rows --to predictions --interval 0.9 --metrics-port 9100
  {{program}} consume --broker kafka://kafka:9093 --topic rows --to predictions --settings kafka.properties

A message is one JSON record or an array of them, as POST /v1/predict takes; its answer is the JSON that this returns:
{{{{"predictions": [...], "errors": null, "version": "..."}}}}. A message that cannot be read, or has a row with an
error, goes as it is to the dead-letter topic, with reason, errors and source in its headers; rows beside one with an
error are answered all the same.

A message is acknowledged when its answer is stored: each is answered at least once. An answer that is sent again has
the same key (Kafka) or Nats-Msg-Id (NATS, which drops it). docs/streams.md has the guarantee in full.

--settings FILE has lines name=value: for Kafka the properties of librdkafka (security.protocol, sasl.username, ...),
those of one client after "consumer." or "producer."; for NATS user, password, token, creds, nkey.seed, tls, tls.ca,
tls.cert, tls.key. Variables {PREFIX}SASL_PASSWORD (for sasl.password) and so on override them.

Log lines are JSON on standard output. Needs the extra: pip install "model-kit[streams]"

exit status: 0 SIGTERM, SIGINT or SIGHUP came, and everything received was answered; 1 the broker cannot be used, or
does not store answers; 2 the command line, a setting or a topic is unusable; 130 a second SIGINT came
"""


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    command.add_argument("--broker", required=True, metavar="URL", help="kafka://HOST:PORT or nats://HOST:PORT")
    command.add_argument("--topic", required=True, metavar="NAME", help="topic or subject with the messages")
    command.add_argument("--to", required=True, metavar="NAME", help="topic or subject for the answers")
    command.add_argument(
        "--dead-letter", metavar="NAME", help="topic or subject for messages with errors (default: TO.errors)"
    )
    command.add_argument(
        "--group", metavar="NAME", help="consumers that share it share the messages (default: model-kit-MODEL)"
    )
    command.add_argument("--settings", type=Path, metavar="FILE", help="properties of the broker's client: TLS, SASL")
    command.add_argument(
        "--id-header",
        metavar="NAME",
        help="header with an id that each message has of its own (default: its place identifies it)",
    )
    add_interval_argument(command)
    command.add_argument("--probabilities", action="store_true", help="of a class: add the probability of each")
    command.add_argument(
        "--max-rows",
        type=whole_number(1, 10_000, "rows"),
        default=500,
        metavar="N",
        help="messages that are taken, and rows that are scored, at a time (default: %(default)s)",
    )
    command.add_argument(
        "--max-wait",
        type=_seconds(0.001, 10),
        default=0.1,
        metavar="SECONDS",
        help="how long to wait for so many (default: %(default)s)",
    )
    command.add_argument(
        "--timeout",
        type=_seconds(1, 600),
        default=10.0,
        metavar="SECONDS",
        help="until the broker must answer at the start (default: %(default)s)",
    )
    command.add_argument(
        "--stop-timeout",
        type=_seconds(1, 600),
        default=20.0,
        metavar="SECONDS",
        help="until everything must be answered after SIGTERM (default: %(default)s)",
    )
    command.add_argument(
        "--metrics-port", metavar="[HOST:]PORT", help="show metrics for Prometheus there (HOST: 127.0.0.1)"
    )
    add_bundle_argument(command)


def run(arguments: argparse.Namespace) -> int:
    """Answer messages until a signal comes."""
    kind, servers = _broker(arguments.broker)
    settings = read_settings(arguments.settings, os.environ)
    predictor = Predictor(model_of(arguments))
    card = predictor.model.card
    route = Route(
        arguments.topic,
        arguments.to,
        arguments.dead_letter or f"{arguments.to}.errors",
        arguments.group or f"model-kit-{card['model']}",
        arguments.id_header,
    )
    if len({route.topic, route.to, route.dead_letter}) < 3:
        raise DataError("--topic, --to and --dead-letter must be three: a consumer would read its own answers")
    if arguments.probabilities and not predictor.model.spec.target.is_class:
        raise DataError(f"{predictor.model.spec.target.name} is a number: --probabilities is for classes")
    answers = AnswerMaker(
        predictor, route, arguments.max_rows, Options(arguments.interval, probabilities=arguments.probabilities)
    )
    facts = {"model": card["model"], "version": predictor.model.version, "broker": arguments.broker}
    facts |= {"topic": route.topic, "to": route.to, "dead_letter": route.dead_letter, "group": route.group}
    if card["data"]["synthetic"]:
        report(synthetic_notice(arguments.definition))
    log.configure()
    stop = Stop(arguments.stop_timeout)
    with _requested_by_signals(stop), Progress("Consuming", None) as progress:
        metrics = Metrics(arguments.metrics_port, **facts) if arguments.metrics_port else None
        monitor = StreamMonitor(progress, metrics)
        try:
            broker = _connect(kind, servers, route, settings, stop, arguments.timeout)
            log.info("started", **facts)
            StreamConsumer(broker, answers, arguments.max_rows, arguments.max_wait, stop, monitor).run()
        except ModelKitError as error:
            log.error("failed", reason=str(error), **monitor.counts())
            raise
        finally:
            if metrics is not None:
                metrics.close()
        log.info("stopped", **monitor.counts())
    return OK


def _connect(kind: str, servers: str, route: Route, settings: Mapping[str, str], stop: Stop, timeout: float) -> Broker:
    try:
        if kind == "kafka":
            from model_kit.streams.kafka import KafkaBroker  # noqa: PLC0415 - its library is large

            return KafkaBroker(servers, route, settings, stop, timeout)
        from model_kit.streams.jetstream import JetStreamBroker  # noqa: PLC0415

        return JetStreamBroker(servers, route, settings, stop, timeout)
    except ModuleNotFoundError as error:
        raise ModelKitError(
            f'{kind}:// needs {error.name}, which is not installed: pip install "model-kit[streams]"'
        ) from error


def _broker(url: str) -> tuple[str, str]:
    """Kind and servers of a URL.

    Raises:
        DataError: it is none, or has a password, which other users of the machine would see.
    """
    kind, separator, servers = url.partition("://")
    servers = servers.rstrip("/")
    if kind not in ("kafka", "nats") or not separator or not servers or "/" in servers:
        raise DataError(
            "--broker: write kafka://HOST:PORT or nats://HOST:PORT, several hosts with commas; TLS is a setting"
        )
    if "@" in servers:
        raise DataError(
            f"--broker: no user and password here; write them into --settings FILE or {PREFIX}... variables"
        )
    return kind, servers


@contextmanager
def _requested_by_signals(stop: Stop) -> Generator[None]:
    """Have signals ask to stop; a second SIGINT interrupts at once."""

    def handle(number: int, _: FrameType | None) -> None:
        if stop.is_requested and number == signal.SIGINT:
            raise KeyboardInterrupt
        stop.request()

    # Python handles signals in the main thread; and one that is ignored (nohup) stays ignored.
    is_main = threading.current_thread() is threading.main_thread()
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    before = {one: signal.getsignal(one) for one in numbers if is_main and signal.getsignal(one) is not signal.SIG_IGN}
    for number in before:
        signal.signal(number, handle)
    try:
        yield
    finally:
        for number, former in before.items():
            signal.signal(number, former)


def _seconds(lowest: float, highest: float) -> Any:
    """The type of an argument in seconds, within bounds."""

    def parse(text: str) -> float:
        seconds = float(text)
        if not lowest <= seconds <= highest:
            raise argparse.ArgumentTypeError(f"from {lowest:g} to {highest:g} seconds")
        return seconds

    parse.__name__ = "number"
    return parse
