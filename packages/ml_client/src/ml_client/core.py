"""What both clients share: requests and what is read from responses, without sending any."""

from __future__ import annotations

import re
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import count
from ssl import SSLContext
from typing import Any, Final, TypeAlias, TypeVar
from urllib.parse import quote, urlsplit
from uuid import uuid4

import httpx
import msgspec

from ml_client import predictions, values
from ml_client.errors import DataError, InvalidResponseError, error_of, media_type
from ml_client.options import Options
from ml_client.outcomes import Outcomes
from ml_client.predictions import Part
from ml_client.tables import Block, Source, open_source
from ml_client.values import Kinds, KindsNeededError

T = TypeVar("T")
#: Yields requests, is sent their responses, and returns what was read.
Steps: TypeAlias = Generator[httpx.Request, httpx.Response, T]

ARROW: Final = "application/vnd.apache.arrow.stream"
JSON: Final = "application/json"
#: Bytes of a body: less than the server's MAX_BODY_BYTES, which counts those of tables unpacked.
MAX_BYTES: Final = 24 * 1024 * 1024
#: Blocks that are made ahead, for each request at the same time.
AHEAD: Final = 2
REQUEST_ID: Final = "X-Request-ID"
#: Kinds of the members of an outcome in a file of texts; a class that is no number stays text.
_OUTCOME: Final = {"value": "number"}
PREDICTION_ID: Final = "Prediction-Id"
#: The server takes 128 characters; some are for the numbers of requests and halves.
_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,100}")


class Core:
    """One server: how it is asked, and what it can.

    Args:
        url: of the server, with the path that a proxy adds.
        api_key: sent with every request.
        arrow: whether tables are sent as Arrow where pyarrow is installed and the server reads it.
        compression: of the columns of such tables.

    Raises:
        DataError: the URL is none of HTTP, or has a password.
    """

    def __init__(self, url: str, api_key: str | None, *, arrow: bool, compression: str | None) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise DataError(
                f"url must begin with http:// or https:// and a host, such as http://127.0.0.1:5000: {url!r}"
            )
        if parts.username or parts.query or parts.fragment:
            raise DataError("url must have neither user, password, query nor fragment; a key is given as api_key")
        if api_key is not None and not (api_key.isascii() and api_key.isprintable() and api_key.strip()):
            raise DataError("api_key is empty or has characters that a header cannot have")
        self.url = f"{parts.scheme}{url[len(parts.scheme) :]}".rstrip("/")
        # Not Authorization, which proxies use for themselves. Compressed responses cost the server more than they save.
        self.headers = {"Accept-Encoding": "identity"} | ({} if api_key is None else {"X-API-Key": api_key})
        self.has_arrow = arrow and find_spec("pyarrow") is not None
        self.compression = compression
        #: Whether the server has answered.
        self.is_known = False
        #: Model -> kinds of its fields.
        self.kinds: dict[str, Kinds] = {}
        #: The rows of a request by default -> what the server takes.
        self.max_rows: dict[int, int] = {}

    def get(self, path: str, request_id: str | None = None) -> Steps[Any]:
        """Return the document at a path."""
        response = yield self.request("GET", path, request_id or uuid4().hex)
        return _document(response)

    def outcomes(self, block: Block, *, replace: bool, request_id: str) -> Steps[Outcomes]:
        """Send what came true for some predictions; missing members are left out."""
        items = [
            {name: value for name, value in item.items() if value is not None} if isinstance(item, dict) else item
            for item in block.records(_OUTCOME)
        ]
        query = {"replace": "true"} if replace else {}
        response = yield self.request("POST", "/v1/outcomes", request_id, query, values.encode(items))
        try:
            return msgspec.convert(_document(response), Outcomes)
        except msgspec.ValidationError as error:
            raise InvalidResponseError(f"{response.url}: not the results of outcomes: {error}") from error

    def request(
        self,
        method: str,
        path: str,
        request_id: str,
        query: dict[str, str] | None = None,
        body: bytes | None = None,
        media: str = JSON,
    ) -> httpx.Request:
        """Return a request."""
        headers = self.headers | {REQUEST_ID: request_id, "Accept": media}
        if body is not None:
            headers["Content-Type"] = media
        return httpx.Request(method, f"{self.url}{path}", params=query or None, headers=headers, content=body)


@dataclass(frozen=True)
class Call:
    """Predictions of one model for some data.

    Attributes:
        core: the server.
        model: its name.
        options: what is asked for.
        request_id: what the ids of its requests begin with.

    Raises:
        DataError: it is no id.
    """

    core: Core
    model: str
    options: Options
    request_id: str

    def __post_init__(self) -> None:
        if not _REQUEST_ID.fullmatch(self.request_id):
            raise DataError("request_id must be 1 to 100 letters, digits and any of ._-")

    def max_rows(self) -> int:
        """Return the rows of the next request: fewer after the server has refused as many."""
        limit = self.options.max_rows
        return self.core.max_rows.get(limit, limit)

    def is_single(self, n_rows: int | None) -> bool:
        """Return whether one request has room for so many rows."""
        return n_rows is not None and n_rows <= self.max_rows()

    def ids(self, n_rows: int | None) -> Iterator[str]:
        """Return the ids of the requests: one id, or numbered where there may be several requests."""
        if self.is_single(n_rows):
            return iter([self.request_id])
        return (f"{self.request_id}.{number}" for number in count())

    def tagged(self, tables: Iterable[Any]) -> Iterator[tuple[tuple[Source, bool], Block]]:
        """Cut tables into blocks, each with its table, and whether it is the last of it."""
        for table in tables:
            source = open_source(table)
            blocks = source.blocks(self.max_rows)
            block = next(blocks)
            for following in blocks:
                yield (source, False), block
                block = following
            yield (source, True), block

    def steps(self, block: Block, request_id: str) -> Steps[list[Part]]:
        """Predict for one block: as Arrow, else as JSON; in halves if that is too large.

        Raises:
            ResponseError: the server refuses.
            InvalidResponseError: it is another server.
            DataError: a value cannot be sent.
        """
        body, size, media = yield from self._body(block)
        if size > MAX_BYTES and block.n_rows > 1:
            return (yield from self._halves(block, request_id))
        path, query = f"/v1/predict/{quote(self.model, safe='')}", self.options.parameters
        request = self.core.request("POST", path, request_id, query, body, media)
        request.headers.update(self.options.headers)
        response = yield request
        if media == ARROW and response.status_code in (406, 415):
            # It reads no Arrow, or answers none: it is not asked again.
            self.core.has_arrow = False
            return (yield from self.steps(block, request_id))
        if response.status_code == 413 and block.n_rows > 1:
            self.core.max_rows[self.options.max_rows] = block.n_rows // 2
            return (yield from self._halves(block, request_id))
        return [_part(response, block.n_rows, request_id)]

    def _body(self, block: Block) -> Steps[tuple[bytes, int, str]]:
        """Return a body, its bytes without compression, and its media type."""
        if self.core.has_arrow and block.n_rows and not self.options.has_nested:
            table = block.arrow()
            # Without columns a table has no rows.
            if table is not None and table.num_columns:
                return arrow().encode(table, self.core.compression), table.nbytes, ARROW
        body = values.encode((yield from self._records(block)))
        return body, len(body), JSON

    def _records(self, block: Block) -> Steps[list[Any]]:
        """Return the records of a block; the kinds of the model's fields are requested if they are needed."""
        kinds = self.core.kinds.get(self.model)
        try:
            return block.records(kinds)
        except KindsNeededError:
            response = yield self.core.request("GET", f"/v1/models/{quote(self.model, safe='')}", uuid4().hex)
        # A key may be for predictions alone; then dates are written by their values.
        kinds = {} if response.status_code in (401, 403) else _kinds(_document(response))
        self.core.kinds[self.model] = kinds
        return block.records(kinds)

    def _halves(self, block: Block, request_id: str) -> Steps[list[Part]]:
        middle = block.n_rows // 2
        first = yield from self.steps(block.slice(0, middle), f"{request_id}.a")
        return first + (yield from self.steps(block.slice(middle, block.n_rows), f"{request_id}.b"))


def collect(found: list[Part], tag: tuple[Source, bool], parts: list[Part]) -> predictions.Predictions[Any, Any] | None:
    """Add the answer to a block of :meth:`Call.tagged`; return the result of its table when that is whole."""
    source, is_last = tag
    found += parts
    if not is_last:
        return None
    whole = predictions.Predictions[Any, Any](source, tuple(found))
    found.clear()
    return whole


def http_options(url: str, timeout: float, concurrency: int, verify: bool | SSLContext) -> dict[str, Any]:
    """Return the options of httpx's clients that are the same for both."""
    return {
        # Certificates take a tenth of a second to load, and are of no use without TLS: redirects are not followed.
        "verify": verify if url.startswith("https:") else False,
        # A connection is waited for as long as others are sent.
        "timeout": httpx.Timeout(timeout, pool=None),
        "limits": httpx.Limits(max_connections=concurrency, max_keepalive_connections=concurrency),
    }


def arrow() -> Any:
    """Return the module for Arrow, which needs an extra."""
    from ml_client.tables import arrow as module  # noqa: PLC0415

    return module


def _part(response: httpx.Response, n_rows: int, request_id: str) -> Part:
    """Read the answer to a prediction: 422 is one too, if no row could be scored.

    Raises:
        ResponseError: the server refuses.
        InvalidResponseError: it is another server.
    """
    media = media_type(response)
    if response.status_code not in (200, 422) or media not in (JSON, ARROW):
        raise _refusal(response)
    try:
        if media == ARROW:
            columns, version = predictions.from_arrow(arrow().decode(response.content), n_rows)
        else:
            document = msgspec.json.decode(response.content, type=dict[str, Any])
            columns, version = predictions.from_json(document, n_rows), document["version"]
    except (msgspec.MsgspecError, DataError, KeyError, TypeError, ValueError, IndexError) as error:
        raise InvalidResponseError(f"{response.url}: not the answer to a prediction: {error}") from error
    request_id = response.headers.get(REQUEST_ID, request_id)
    return Part(n_rows, columns, version, request_id, response.headers.get(PREDICTION_ID))


def _document(response: httpx.Response) -> Any:
    """Return the JSON of a response.

    Raises:
        ResponseError: the server refuses.
        InvalidResponseError: it is another server.
    """
    if not response.is_success or media_type(response) != JSON:
        raise _refusal(response)
    try:
        return msgspec.json.decode(response.content)
    except msgspec.MsgspecError as error:
        raise InvalidResponseError(f"{response.url}: not JSON: {error}") from error


def _refusal(response: httpx.Response) -> Exception:
    if not response.is_success:
        return error_of(response)
    found = media_type(response) or "no type"
    return InvalidResponseError(f"{response.url} answered {response.status_code} with {found}: is it another server?")


def _kinds(document: Any) -> Kinds:
    try:
        return {field["name"]: field["kind"] for field in document["spec"]["fields"]}
    except (KeyError, TypeError) as error:
        raise InvalidResponseError(f"not the description of a model: it lacks {error}") from error
