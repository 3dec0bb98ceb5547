"""The client for threads."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Mapping
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from contextlib import closing
from functools import partial
from ssl import SSLContext
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Literal, Self, TypeVar, Unpack, overload
from urllib.parse import quote
from uuid import uuid4

import httpx
from tenacity import Retrying

from ml_client import retries
from ml_client.core import AHEAD, Call, Core, Steps, collect, http_options
from ml_client.errors import MLClientError
from ml_client.options import Details, Options
from ml_client.outcomes import Outcomes, merged
from ml_client.predictions import Part, Predictions, Row, rows
from ml_client.progress import Progress, reporting
from ml_client.tables import Block, open_source

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl

T = TypeVar("T")
TagT = TypeVar("TagT")
#: Seconds after which a pause between two attempts sees that the client was closed.
LOOK: Final = 0.2
_CLOSED: Final = "the client is closed, or the call has ended"


class Client:
    """A server of ml_api. Any number of threads may share one.

    Args:
        url: of the server, such as ``https://models.example``.
        api_key: sent as ``X-API-Key``.
        timeout: seconds for each of connecting, sending and receiving.
        retry_for: seconds for which a request is repeated after 408, 429, 502, 503, 504 or without a response, counted
            from its first attempt. ``Retry-After`` is honoured; one that is longer ends the attempts.
        concurrency: most requests at the same time.
        arrow: whether DataFrames are sent as Arrow if pyarrow is installed and the server reads it; else as JSON.
        compression: of the columns of such tables, for slow networks.
        headers: sent with every request.
        verify: ``False`` or a context for TLS, as httpx takes it.

    Raises:
        DataError: the URL or the key cannot be used.
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
        self._retry_for, self._concurrency = retry_for, concurrency
        self._http = httpx.Client(**http_options(self._core.url, timeout, concurrency, verify))
        self._closed = threading.Event()
        # Its threads start when they are needed.
        self._threads = ThreadPoolExecutor(concurrency, thread_name_prefix="ml_client")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Client of {self._core.url}>"

    def close(self) -> None:
        """End all requests and close the connections."""
        self._closed.set()
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._http.close()

    @overload
    def predict(
        self,
        model: str,
        data: pd.DataFrame,
        *,
        progress: Progress = ...,
        request_id: str | None = ...,
        **details: Unpack[Details],
    ) -> Predictions[pd.Series[Any], pd.DataFrame]: ...
    @overload
    def predict(
        self,
        model: str,
        data: pl.DataFrame | pl.LazyFrame,
        *,
        progress: Progress = ...,
        request_id: str | None = ...,
        **details: Unpack[Details],
    ) -> Predictions[pl.Series, pl.DataFrame]: ...
    @overload
    def predict(
        self,
        model: str,
        data: Mapping[str, Any] | Iterable[Mapping[str, Any]],
        *,
        progress: Progress = ...,
        request_id: str | None = ...,
        **details: Unpack[Details],
    ) -> Predictions[list[Any], list[dict[str, Any]]]: ...
    @overload
    def predict(
        self,
        model: str,
        data: Any,
        *,
        progress: Progress = ...,
        request_id: str | None = ...,
        **details: Unpack[Details],
    ) -> Predictions[Any, Any]: ...
    def predict(
        self,
        model: str,
        data: Any,
        *,
        progress: Progress = False,
        request_id: str | None = None,
        **details: Unpack[Details],
    ) -> Predictions[Any, Any]:
        """Predict for all rows.

        Args:
            model: its name, the last part of its URL.
            data: a DataFrame of pandas or polars, a table of Arrow, a record, or an iterable of records.
            progress: ``True`` for a bar, or a function that is called with the number of rows that are done.
            request_id: what the ids of the requests begin with; letters, digits and any of ``._-``.
            details: what is asked for beside predictions: :class:`~ml_client.options.Details`.

        Returns:
            The predictions, aligned with the rows; a row that cannot be scored has an error instead.

        Raises:
            DataError: the data cannot be sent.
            ResponseError: the server refuses.
            NoResponseError: there is no connection, or no response in time.
        """
        source = open_source(data)
        call = Call(self._core, model, Options(**details), request_id or uuid4().hex)
        blocks = ((None, block) for block in source.blocks(call.max_rows))
        found: list[Part] = []
        with reporting(progress, source.n_rows) as add, closing(self._parts(call, blocks, source.n_rows)) as parts:
            for _, some in parts:
                found += some
                add(sum(part.n_rows for part in some))
        return Predictions(source, found)

    def stream(
        self,
        model: str,
        records: Iterable[Mapping[str, Any]],
        *,
        request_id: str | None = None,
        **details: Unpack[Details],
    ) -> Generator[Row]:
        """Predict for records as they come, in their order and in bounded memory; arguments as :meth:`predict`.

        If the iterable raises, the rows before are answered, and then its exception is raised.
        """
        source = open_source(iter(records))
        call = Call(self._core, model, Options(**details), request_id or uuid4().hex)
        blocks = ((None, block) for block in source.blocks(call.max_rows))
        with closing(self._parts(call, blocks, None)) as parts:
            for _, some in parts:
                for part in some:
                    yield from rows(part)

    def batches(
        self, model: str, tables: Iterable[Any], *, request_id: str | None = None, **details: Unpack[Details]
    ) -> Generator[Predictions[Any, Any]]:
        """Predict for DataFrames or tables as they come, one result for each; otherwise as :meth:`stream`."""
        call = Call(self._core, model, Options(**details), request_id or uuid4().hex)
        found: list[Part] = []
        with closing(self._parts(call, call.tagged(tables), None)) as parts:
            for tag, some in parts:
                if (whole := collect(found, tag, some)) is not None:
                    yield whole

    def outcomes(self, data: Any, *, replace: bool = False, request_id: str | None = None) -> Outcomes:
        """Send what came true for predictions that are in the server's log.

        Args:
            data: rows as :meth:`predict` takes them, with ``value`` and either ``id`` (of :attr:`Predictions.ids`) or
                ``inference_id`` and ``model``. They may be sent again: what is recorded is then ``unchanged``.
            replace: whether other values that are recorded are replaced, and not a ``conflict``.
            request_id: what the ids of the requests begin with.

        Raises:
            As :meth:`predict`; outcomes of requests before are recorded then.
        """
        source = open_source(data)
        call = Call(self._core, "", Options(), request_id or uuid4().hex)
        ids = call.ids(source.n_rows)
        stopped = threading.Event()
        return merged(
            self._run(self._core.outcomes(block, replace=replace, request_id=next(ids)), stopped)
            for block in source.blocks(call.max_rows)
        )

    def models(self) -> list[dict[str, Any]]:
        """Return a summary of each model: name, status, version, target."""
        return list(self._get("/v1/models")["models"])

    def model(self, name: str) -> dict[str, Any]:
        """Return spec, card and golden row of a model."""
        return dict(self._get(f"/v1/models/{quote(name, safe='')}"))

    def version(self) -> dict[str, Any]:
        """Return versions of the server and its models, with their lineage."""
        return dict(self._get("/version"))

    def _get(self, path: str) -> Any:
        return self._run(self._core.get(path), threading.Event())

    def _parts(
        self, call: Call, blocks: Iterator[tuple[TagT, Block]], n_rows: int | None
    ) -> Generator[tuple[TagT, list[Part]]]:
        """Ask about blocks, a few at a time, and yield the answers in their order, each with the tag of its block.

        If the iterator raises, what came before is answered first.
        """
        ids = call.ids(n_rows)
        stopped = threading.Event()
        pending: deque[tuple[TagT, Future[list[Part]]]] = deque()
        failure: Exception | None = None
        if self._closed.is_set():
            raise MLClientError(_CLOSED)
        try:
            while True:
                try:
                    tag, block = next(blocks)
                except StopIteration:
                    break
                except Exception as error:  # noqa: BLE001 - any of the caller's iterator
                    failure = error
                    break
                steps = call.steps(block, next(ids))
                if call.is_single(n_rows):
                    yield tag, self._run(steps, stopped)
                    continue
                pending.append((tag, self._threads.submit(self._run, steps, stopped)))
                while pending and (len(pending) > AHEAD * self._concurrency or pending[0][1].done()):
                    tag, future = pending.popleft()
                    yield tag, future.result()
            while pending:
                tag, future = pending.popleft()
                yield tag, future.result()
            if failure is not None:
                raise failure
        except CancelledError as error:
            raise MLClientError(_CLOSED) from error
        finally:
            stopped.set()
            for _, future in pending:
                future.cancel()

    def _run(self, steps: Steps[T], stopped: threading.Event) -> T:
        """Send the requests of some steps, and return what they found."""
        request = next(steps)
        policy = retries.policy(self._retry_for, lambda: self._core.is_known)
        while True:
            retrying = Retrying(**policy, sleep=partial(self._sleep, stopped))
            response = retrying(self._attempt, request, stopped)
            try:
                request = steps.send(response)
            except StopIteration as done:
                found: T = done.value
                return found

    def _sleep(self, stopped: threading.Event, seconds: float) -> None:
        """Sleep until the time is over, or the call or the client ends."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0 and not self._closed.is_set():
            if stopped.wait(min(left, LOOK)):
                return

    def _attempt(self, request: httpx.Request, stopped: threading.Event) -> httpx.Response:
        if stopped.is_set() or self._closed.is_set():
            raise MLClientError(_CLOSED)
        try:
            response = self._http.send(request)
        except httpx.TransportError as error:
            raise retries.no_response(request, error) from error
        self._core.is_known = True
        return retries.check(response)
