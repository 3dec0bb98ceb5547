"""The client for asyncio."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Iterable, Iterator, Mapping
from contextlib import aclosing
from ssl import SSLContext
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self, TypeVar, Unpack, overload
from urllib.parse import quote
from uuid import uuid4

import httpx
from tenacity import AsyncRetrying

from ml_client import retries
from ml_client.core import AHEAD, Call, Core, Steps, collect, http_options
from ml_client.options import Details, Options
from ml_client.outcomes import Outcomes, merged
from ml_client.predictions import Part, Predictions, Row, rows
from ml_client.progress import Progress, reporting
from ml_client.tables import Block, open_source
from ml_client.tables.records import RecordBlock

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl

T = TypeVar("T")
TagT = TypeVar("TagT")


class AsyncClient:
    """A server of ml_api, for coroutines of one event loop; arguments and methods are those of :class:`Client`.

    Tables are encoded and decoded in threads, so that the event loop does not wait.
    """

    def __init__(
        self,
        url: str,
        *,
        api_key: str | None = None,
        timeout: float = 60.0,
        retry_for: float = 60.0,
        concurrency: int = 4,
        arrow: bool = True,
        compression: Literal["lz4", "zstd"] | None = None,
        headers: Mapping[str, str] | None = None,
        verify: bool | SSLContext = True,
    ) -> None:
        self._core = Core(url, api_key, arrow=arrow, compression=compression)
        self._core.headers |= dict(headers or {})
        self._policy = retries.policy(retry_for, lambda: self._core.is_known)
        self._concurrency = concurrency
        self._http = httpx.AsyncClient(**http_options(self._core.url, timeout, concurrency, verify))
        self._slots = asyncio.Semaphore(concurrency)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"<AsyncClient of {self._core.url}>"

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    @overload
    async def predict(
        self,
        model: str,
        data: pd.DataFrame,
        *,
        progress: Progress = ...,
        request_id: str | None = ...,
        **details: Unpack[Details],
    ) -> Predictions[pd.Series[Any], pd.DataFrame]: ...
    @overload
    async def predict(
        self,
        model: str,
        data: pl.DataFrame | pl.LazyFrame,
        *,
        progress: Progress = ...,
        request_id: str | None = ...,
        **details: Unpack[Details],
    ) -> Predictions[pl.Series, pl.DataFrame]: ...
    @overload
    async def predict(
        self,
        model: str,
        data: Mapping[str, Any] | Iterable[Mapping[str, Any]],
        *,
        progress: Progress = ...,
        request_id: str | None = ...,
        **details: Unpack[Details],
    ) -> Predictions[list[Any], list[dict[str, Any]]]: ...
    @overload
    async def predict(
        self,
        model: str,
        data: Any,
        *,
        progress: Progress = ...,
        request_id: str | None = ...,
        **details: Unpack[Details],
    ) -> Predictions[Any, Any]: ...
    async def predict(
        self,
        model: str,
        data: Any,
        *,
        progress: Progress = False,
        request_id: str | None = None,
        **details: Unpack[Details],
    ) -> Predictions[Any, Any]:
        """Predict for all rows: see :meth:`Client.predict`."""
        source = open_source(data)
        call = Call(self._core, model, Options(**details), request_id or uuid4().hex)
        blocks = _Blocks((None, block) for block in source.blocks(call.max_rows))
        found: list[Part] = []
        with reporting(progress, source.n_rows) as add:
            async with aclosing(self._parts(call, blocks, source.n_rows)) as parts:
                async for _, some in parts:
                    found += some
                    add(sum(part.n_rows for part in some))
        return Predictions(source, found)

    async def stream(
        self,
        model: str,
        records: Iterable[Mapping[str, Any]] | AsyncIterable[Mapping[str, Any]],
        *,
        request_id: str | None = None,
        **details: Unpack[Details],
    ) -> AsyncGenerator[Row]:
        """Predict for records as they come: see :meth:`Client.stream`."""
        call = Call(self._core, model, Options(**details), request_id or uuid4().hex)
        blocks: AsyncIterator[tuple[None, Block]]
        if isinstance(records, AsyncIterable):
            blocks = _gathered(records, call)
        else:
            blocks = _Blocks((None, block) for block in open_source(iter(records)).blocks(call.max_rows))
        async with aclosing(self._parts(call, blocks, None)) as parts:
            async for _, some in parts:
                for part in some:
                    for row in rows(part):
                        yield row

    async def batches(
        self, model: str, tables: Iterable[Any], *, request_id: str | None = None, **details: Unpack[Details]
    ) -> AsyncGenerator[Predictions[Any, Any]]:
        """Predict for DataFrames or tables as they come: see :meth:`Client.batches`."""
        call = Call(self._core, model, Options(**details), request_id or uuid4().hex)
        found: list[Part] = []
        async with aclosing(self._parts(call, _Blocks(call.tagged(tables)), None)) as parts:
            async for tag, some in parts:
                if (whole := collect(found, tag, some)) is not None:
                    yield whole

    async def outcomes(self, data: Any, *, replace: bool = False, request_id: str | None = None) -> Outcomes:
        """Send what came true: see :meth:`Client.outcomes`."""
        source = open_source(data)
        call = Call(self._core, "", Options(), request_id or uuid4().hex)
        ids = call.ids(source.n_rows)
        return merged(
            [
                await self._run(self._core.outcomes(block, replace=replace, request_id=next(ids)))
                for block in source.blocks(call.max_rows)
            ]
        )

    async def models(self) -> list[dict[str, Any]]:
        """Return a summary of each model: name, status, version, target."""
        return list((await self._run(self._core.get("/v1/models")))["models"])

    async def model(self, name: str) -> dict[str, Any]:
        """Return spec, card and golden row of a model."""
        return dict(await self._run(self._core.get(f"/v1/models/{quote(name, safe='')}")))

    async def version(self) -> dict[str, Any]:
        """Return versions of the server and its models, with their lineage."""
        return dict(await self._run(self._core.get("/version")))

    async def _parts(
        self, call: Call, blocks: AsyncIterator[tuple[TagT, Block]], n_rows: int | None
    ) -> AsyncGenerator[tuple[TagT, list[Part]]]:
        """Ask about blocks, a few at a time: see :class:`Client`."""
        ids = call.ids(n_rows)
        pending: deque[tuple[TagT, asyncio.Task[list[Part]]]] = deque()
        failure: Exception | None = None
        try:
            while True:
                try:
                    tag, block = await anext(blocks)
                except StopAsyncIteration:
                    break
                except Exception as error:  # noqa: BLE001 - any of the caller's iterator
                    failure = error
                    break
                pending.append((tag, asyncio.create_task(self._run(call.steps(block, next(ids))))))
                while pending and (len(pending) > AHEAD * self._concurrency or pending[0][1].done()):
                    tag, task = pending.popleft()
                    yield tag, await task
            while pending:
                tag, task = pending.popleft()
                yield tag, await task
            if failure is not None:
                raise failure
        finally:
            for _, task in pending:
                task.cancel()
            await asyncio.gather(*(task for _, task in pending), return_exceptions=True)

    async def _run(self, steps: Steps[T]) -> T:
        """Send the requests of some steps, and return what they found."""
        async with self._slots:
            request, found = await asyncio.to_thread(_advance, steps, None)
            while request is not None:
                response: httpx.Response = await AsyncRetrying(**self._policy)(self._attempt, request)
                request, found = await asyncio.to_thread(_advance, steps, response)
        result: T = found
        return result

    async def _attempt(self, request: httpx.Request) -> httpx.Response:
        try:
            response = await self._http.send(request)
        except httpx.TransportError as error:
            raise retries.no_response(request, error) from error
        self._core.is_known = True
        return retries.check(response)


def _advance(steps: Steps[Any], response: httpx.Response | None) -> tuple[httpx.Request | None, Any]:
    """Return the next request, or none and what the steps found: a thread cannot pass on StopIteration."""
    try:
        return (next(steps) if response is None else steps.send(response)), None
    except StopIteration as done:
        return None, done.value


class _Blocks(AsyncIterator[tuple[TagT, Block]]):
    """An iterator for ``async for``."""

    def __init__(self, blocks: Iterator[tuple[TagT, Block]]) -> None:
        self._blocks = blocks

    async def __anext__(self) -> tuple[TagT, Block]:
        for found in self._blocks:
            return found
        raise StopAsyncIteration


async def _gathered(records: AsyncIterable[Any], call: Call) -> AsyncIterator[tuple[None, Block]]:
    """Cut records into blocks: see :meth:`RecordSource.blocks`."""
    some: list[Any] = []
    is_first, failure = True, None
    try:
        async for record in records:
            some.append(record)
            if len(some) >= call.max_rows():
                yield None, RecordBlock(some)
                some, is_first = [], False
    except Exception as error:  # noqa: BLE001 - any of the caller's iterator
        failure = error
    if some or (is_first and failure is None):
        yield None, RecordBlock(some)
    if failure is not None:
        raise failure
