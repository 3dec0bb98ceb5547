"""The client for asyncio: what it shares with the other is tested there."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from typing import Any

import numpy as np
import pandas as pd
import pytest
from ml_client import AsyncClient, NoResponseError, NotFoundError

from rides_server import Server


def rows(count: int) -> Iterator[dict[str, Any]]:
    for number in range(count):
        yield {"distance": float(number % 50), "zone": "A", "passengers": 1}


def assert_close(found: Any, count: int) -> None:
    np.testing.assert_allclose(found, np.exp(2.5 + np.arange(count) % 50 / 8 + 1 / 16), rtol=1e-6)


def test_coroutines_answer_as_the_other_client(server: Server) -> None:
    async def ask() -> None:
        async with AsyncClient(server.url) as client:
            frame = pd.DataFrame(list(rows(21_000)), index=range(5, 21_005))
            done: list[int] = []
            whole, small = await asyncio.gather(
                client.predict("rides", frame, interval=0.9, progress=done.append),
                client.predict("rides", [{"distance": 1.0, "zone": "A", "passengers": 1}, {}]),
            )
            assert_close(whole.predictions, 21_000)
            assert whole.predictions.index.equals(frame.index)
            assert whole.intervals is not None
            assert done[-1] == 21_000
            assert small.errors[1].startswith("distance: Missing data")
            assert [len(result) async for result in client.batches("rides", [frame.iloc[:2], frame.iloc[:0]])] == [2, 0]
            assert [model["name"] for model in await client.models()] == ["lengths", "rides"]
            assert (await client.model("rides"))["name"] == "rides"
            assert (await client.version())["model_version"] == "1.2.3"
            with pytest.raises(NotFoundError):
                await client.outcomes([{"id": f"{'0' * 32}/0", "value": 1}])

    asyncio.run(ask())


def test_an_asynchronous_source_is_answered_and_what_it_raises_comes_last(current: Server) -> None:
    async def source() -> AsyncIterator[dict[str, Any]]:
        for row in rows(10_002):
            yield row
        raise RuntimeError("the source failed")

    async def ask() -> list[Any]:
        found = []
        async with AsyncClient(current.url) as client:
            assert_close([row.prediction async for row in client.stream("rides", rows(3))], 3)
            with pytest.raises(RuntimeError, match="the source failed"):  # noqa: PT012 - there is no shorter way
                async for row in client.stream("rides", source()):
                    found.append(row.prediction)
        return found

    assert_close(asyncio.run(ask()), 10_002)


def test_a_task_that_is_cancelled_ends_its_requests() -> None:
    async def ask(url: str) -> None:
        async with AsyncClient(url) as client:
            task = asyncio.create_task(client.predict("rides", rows(20_001)))
            # It says nothing of itself.
            while not any("AsyncClient._run" in repr(one) for one in asyncio.all_tasks()):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert not any("AsyncClient._run" in repr(one) for one in asyncio.all_tasks())
        async with AsyncClient(url, timeout=0.1) as client:
            with pytest.raises(NoResponseError, match="timed out"):
                await client.predict("rides", rows(1))

    with socket.create_server(("127.0.0.1", 0)) as silent:
        asyncio.run(ask(f"http://127.0.0.1:{silent.getsockname()[1]}"))
