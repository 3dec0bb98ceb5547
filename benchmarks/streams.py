"""How fast `model-kit consume` answers: rows a second from one topic to another, with NATS JetStream and Kafka's mock.

  make bench-streams MODEL=regression

Broker and consumer run on this machine. All messages are there before the consumer starts; the time is that from its
line "started" to the last acknowledgement. The mock cluster keeps messages in memory and 5 MiB of each partition, so
that its volume is small.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import _scripts
from bodies import chosen_model, read_spec, records
from project import ROOT

sys.path.insert(0, str(ROOT / "tests/helpers"))

from streaming import Consuming, MockKafka, NATSServer, wait_until

#: Rows of a message, messages for NATS, messages for the mock cluster.
WORKLOADS = ((1, 20_000, 10_000), (50, 2_000, 400))
DIFFERENT = 2_000
PARTITIONS = 8
__all__ = ["_scripts", "main"]


def measure(broker: MockKafka | NATSServer, folder: Path, model: str, values: Sequence[bytes]) -> tuple[float, float]:
    """Seconds from the start of consuming to the last acknowledgement, and the processor's that the consumer took."""
    broker.send(values)
    running = Consuming(folder, folder, broker.url, model=model)
    running.started()
    began, cpu = time.perf_counter(), cpu_seconds(running.process.pid)
    lag = broker.pending if isinstance(broker, NATSServer) else broker.lag
    group = f"model-kit-{model}"
    wait_until(lambda: lag(group) == 0)
    seconds, cpu = time.perf_counter() - began, cpu_seconds(running.process.pid) - cpu
    running.stop()
    return seconds, cpu


def cpu_seconds(pid: int) -> float:
    """Processor time of a process, user and system."""
    user, system = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def main() -> int:
    """Run the command."""
    parser = argparse.ArgumentParser("streams.py", description=__doc__)
    parser.add_argument("--model", help="which one")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    package = chosen_model(options.model)
    pool = records(read_spec(package.bundle), DIFFERENT)
    print("| broker | rows of a message | rows/s | processor time of a row, µs |\n| --- | ---: | ---: | ---: |")
    for rows, n_nats, n_kafka in WORKLOADS:
        made = [json.dumps(pool[start : start + rows]).encode() for start in range(0, len(pool) - rows + 1, rows)]
        for kind, count in (("NATS", n_nats), ("Kafka's mock", n_kafka)):
            values = [made[number % len(made)] for number in range(count)]
            n_rows = rows * count
            found = []
            for _ in range(options.rounds):
                with tempfile.TemporaryDirectory(prefix="streams-") as name:
                    broker = _start(kind, Path(name))
                    try:
                        found.append(measure(broker, Path(name), package.model, values))
                    finally:
                        broker.kill()
            seconds, cpu = (statistics.median(figures) for figures in zip(*found, strict=True))
            print(f"| {kind} | {rows} | {n_rows / seconds:,.0f} | {cpu / n_rows * 1e6:.0f} |", flush=True)
    return 0


def _start(kind: str, folder: Path) -> MockKafka | NATSServer:
    if kind == "NATS":
        server = NATSServer(folder)
        server.streams("in", "out", "out.errors")
        return server
    cluster = MockKafka()
    for topic in ("in", "out", "out.errors"):
        cluster(f"topic {topic} {PARTITIONS}")
    return cluster


if __name__ == "__main__":
    sys.exit(main())
