"""From a body's bytes to its prices inside one process: no HTTP, no Flask. Prints microseconds a call.

  PYTHONPATH=packages/ml_api build/serving/bin/python benchmarks/in_process.py BODIES

BODIES has one JSON document a line; each call gets the next one, because a record that returns is one whose branches
the processor has learned to predict.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from itertools import cycle
from pathlib import Path
from typing import Any, TypeAlias

from model_kit.scoring.predictor import Predictor
from model_kit.scoring.protocol import Model
from werkzeug.test import create_environ

from ml_api.app import create_app
from ml_api.connection import BODY, Connection
from ml_api.models.registry import Registry, installed_models
from ml_api.settings import Settings
from ml_api.views import requests

#: What is measured: bytes in, prices out.
Price: TypeAlias = Callable[[bytes], Any]

#: Calls that are timed together.
CALLS = 200


def pricer(predictor: Predictor) -> Price:
    """What the predict controller does between reading the body and writing the response, and nothing else."""
    most = Settings().max_rows

    def price(body: bytes) -> Any:
        return predictor(requests.records(body, max_rows=most))

    return price


def application(model: Model, settings: Settings) -> Price:
    """A request to the application, as the server passes it on, with its log line."""
    app = create_app(settings, {"model": lambda: model})
    connection = object.__new__(Connection)
    environ = create_environ("/v1/predict/model", method="POST", content_type="application/json")

    def ask(body: bytes) -> Any:
        connection.since = time.monotonic()
        given = {**environ, BODY: body, "CONTENT_LENGTH": str(len(body)), "gunicorn.socket": connection}
        return list(app(given, lambda *_: lambda _: None))

    return ask


def measure(price: Price, bodies: Sequence[bytes], seconds: float) -> list[float]:
    """Mean microseconds of a call, in groups of ``CALLS``."""
    found = []
    turn = cycle(bodies)
    for body in bodies[:CALLS]:
        price(body)
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        group = [next(turn) for _ in range(CALLS)]
        start = time.perf_counter()
        for body in group:
            price(body)
        found.append((time.perf_counter() - start) / CALLS * 1e6)
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(
        "in_process.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("bodies", type=Path, help="a file with one body a line")
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--model", help="name of the model (default: the only one installed)")
    options = parser.parse_args(arguments)
    registry = Registry(installed_models())
    price = pricer(registry.predictor(options.model or "|".join(registry.names)))
    found = measure(price, options.bodies.read_bytes().splitlines(), options.seconds)
    print(f"{statistics.median(found):.2f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
