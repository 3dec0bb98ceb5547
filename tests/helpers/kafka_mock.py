"""The program of librdkafka's mock cluster: writes its address, then carries out commands from standard input.

``topic NAME PARTITIONS`` creates a topic, ``down`` and ``up`` disconnect the broker and let it come back; each is
answered with ``ok``. Its logs are in memory, of 5 MiB a partition; the process ends with its input.
"""

from __future__ import annotations

import ctypes
import sys
from pathlib import Path

import confluent_kafka

_FOLDER = Path(confluent_kafka.__file__).parent
(_PATH,) = (*_FOLDER.parent.glob("confluent_kafka.libs/librdkafka*"), *_FOLDER.glob(".dylibs/librdkafka*"))


def main() -> None:
    """Run until the input ends."""
    library = ctypes.CDLL(str(_PATH))
    for name in ("rd_kafka_conf_new", "rd_kafka_new", "rd_kafka_mock_cluster_new"):
        getattr(library, name).restype = ctypes.c_void_p
    library.rd_kafka_mock_cluster_bootstraps.restype = ctypes.c_char_p
    text = ctypes.create_string_buffer(512)
    client = library.rd_kafka_new(0, ctypes.c_void_p(library.rd_kafka_conf_new()), text, 512)
    cluster = ctypes.c_void_p(library.rd_kafka_mock_cluster_new(ctypes.c_void_p(client), 1))
    # Milliseconds that the first member of a group waits for others; 3,000 otherwise.
    library.rd_kafka_mock_group_initial_rebalance_delay_ms(cluster, 100)
    print(library.rd_kafka_mock_cluster_bootstraps(cluster).decode(), flush=True)  # noqa: T201 - read by the test
    for line in sys.stdin:
        command, *arguments = line.split()
        if command == "topic":
            error = library.rd_kafka_mock_topic_create(cluster, arguments[0].encode(), int(arguments[1]), 1)
        elif command == "down":
            error = library.rd_kafka_mock_broker_set_down(cluster, -1)
        else:
            error = library.rd_kafka_mock_broker_set_up(cluster, -1)
        print("ok" if error == 0 else f"error {error}", flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
