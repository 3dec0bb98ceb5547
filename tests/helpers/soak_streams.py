"""Soaks `model-kit consume`: consumers and brokers are killed, and every answer is looked for.

  make soak-streams                                   # ten rounds for each broker, two minutes or so
  make soak-streams SOAK="--rounds 100 --seed 7"      # the seed decides on messages and faults

Rides, whose predictions identify them, go to a real NATS JetStream, and in small volume to librdkafka's mock cluster;
two consumers share them. In each round one consumer is killed or stopped and another one started, or the broker is
killed (NATS) or disconnected (Kafka) and comes back. A message in thirty is no JSON, one in ten an array.

exit status: 0 every message has its answer or dead letter, and duplicates are the same; 1 one has not.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from model_kit.testing import write_ride_bundle
from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig

from installed import install
from streaming import Consuming, MockKafka, NATSServer, Out, wait_until

#: Messages of a round; the mock cluster keeps 5 MiB of a partition.
MESSAGES = {"nats": 1000, "kafka": 300}
PACKAGE = """
from model_kit.testing import ride_definition

__version__ = "1.2.3"
DEFINITION = ride_definition(package="soaked_rides")
"""


def make_site(folder: Path) -> Path:
    """A folder in which the model ``rides`` is installed."""
    install(folder, "soaked-rides", "1.2.3", "[ml_api.models]\nrides = soaked_rides:DEFINITION.load\n")
    (folder / "soaked_rides").mkdir()
    (folder / "soaked_rides/__init__.py").write_text(PACKAGE)
    write_ride_bundle(folder / "soaked_rides/bundle")
    return folder


def message(chance: random.Random, number: int) -> bytes:
    """The message with a number: a ride, an array of rides, or none."""
    ride = {"distance": number / 4096, "passengers": 1, "zone": "A", "comfort": "1"}
    if chance.random() < 1 / 30:
        return f"junk {number}".encode()
    return json.dumps([ride, ride] if chance.random() < 0.1 else ride).encode()


def soak(
    broker: MockKafka | NATSServer, away: Callable[[], None], folder: Path, site: Path, kind: str, options: Any
) -> dict[str, int]:
    """Send, kill, and return how many messages were answered, dead, and sent twice.

    Raises:
        AssertionError: a message has neither answer nor dead letter, or two that differ.
    """
    chance = random.Random(options.seed)
    # A consumer that was killed is missed soon; NATS has no such settings.
    session = {"SESSION_TIMEOUT_MS": "2000", "HEARTBEAT_INTERVAL_MS": "200"} if kind == "kafka" else {}
    environ = {f"MODEL_KIT_STREAM_CONSUMER_{name}": value for name, value in session.items()}

    def start() -> Consuming:
        return Consuming(folder, site, broker.url, "--max-rows", str(chance.choice((1, 5, 50))), **environ)

    consumers = [start(), start()]
    sent: dict[bytes, bool] = {}
    for number in range(options.rounds):
        values = [message(chance, number * MESSAGES[kind] + one) for one in range(MESSAGES[kind])]
        sent |= {value: not value.startswith(b"junk") for value in values}
        fault = chance.choice(("kill", "stop", "away"))
        print(f"{kind}, round {number + 1} of {options.rounds}: {fault}", file=sys.stderr)  # noqa: T201
        consumers[0].started()
        with ThreadPoolExecutor(1) as pool:
            sending = pool.submit(broker.send, values)
            if fault == "away":
                sending.result()  # what sends does not send again
                away()
            else:
                time.sleep(chance.random() / 5)
                victim = consumers.pop(0)
                victim.kill() if fault == "kill" else victim.stop()
                consumers.append(start())
            sending.result()
    answerable = sum(sent.values())
    answers = broker.read("out", _different(answerable))
    dead = broker.read("out.errors", _different(len(sent) - answerable))
    for consumer in consumers:
        consumer.stop()
    found: dict[str, bytes] = {}
    for one in (*answers, *dead):
        assert found.setdefault(one.id, one.value) == one.value, f"{one.id} was answered in two ways"
    assert {one.value for one in dead} == {value for value, is_ride in sent.items() if not is_ride}
    assert len({one.answer["predictions"][0] for one in answers}) == answerable
    return {"messages": len(sent), "answers": answerable, "sent twice": len(answers) + len(dead) - len(found)}


def _different(number: int) -> Callable[[Sequence[Out]], bool]:
    return lambda found: len({one.id for one in found}) >= number


def soak_nats(folder: Path, site: Path, options: Any) -> dict[str, int]:
    """With a real server, which is killed."""
    server = NATSServer(folder)
    server.streams("in", "out", "out.errors")

    async def create(jetstream: JetStreamContext) -> None:
        # What a killed consumer had comes again after two seconds.
        config = ConsumerConfig(
            durable_name="model-kit-rides", ack_policy=AckPolicy.EXPLICIT, ack_wait=2, filter_subject="in"
        )
        await jetstream.add_consumer("IN", config)

    def away() -> None:
        server.kill()
        time.sleep(0.5)
        server.start()

    server(create)
    try:
        found = soak(server, away, folder, site, "nats", options)
        wait_until(lambda: server.pending() == 0)
        return found
    finally:
        server.kill()


def soak_kafka(folder: Path, site: Path, options: Any) -> dict[str, int]:
    """With the mock cluster, which is disconnected."""
    cluster = MockKafka()
    for topic in ("in", "out", "out.errors"):
        cluster(f"topic {topic} 4")

    def away() -> None:
        cluster("down")
        time.sleep(0.5)
        cluster("up")

    try:
        found = soak(cluster, away, folder, site, "kafka", options)
        assert cluster.lag() == 0
        return found
    finally:
        cluster.kill()


def main() -> int:
    """Run the command."""
    parser = argparse.ArgumentParser("soak_streams.py", description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=10, help="faults for each broker (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=20240)
    parser.add_argument("--broker", choices=("nats", "kafka"), help="only this one")
    options = parser.parse_args()
    for kind, work in (("nats", soak_nats), ("kafka", soak_kafka)):
        if options.broker in (None, kind):
            with tempfile.TemporaryDirectory(prefix="soak-") as name:
                folder = Path(name)
                site = make_site(folder / "site")
                counts = work(folder, site, options)
            print(f"{kind}: " + ", ".join(f"{value} {name}" for name, value in counts.items()))  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main())
