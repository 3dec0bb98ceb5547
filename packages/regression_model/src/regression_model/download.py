"""The training file, from OpenML, from any URL or from a path: fetched, checked, and only then put in its place."""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit
from urllib.request import url2pathname

from model_kit.definition import Dataset
from model_kit.errors import DataError
from model_kit.tabular import replacing_binary

from regression_model import arff, dataset, sample
from regression_model.transfer import LARGEST, TIMEOUT, DownloadError, Transfer, shown

OPENML: Final = "https://www.openml.org"
#: The House Prices data on OpenML: the training file of Kaggle's competition as ARFF, no account needed.
DATA_ID: Final = 42165
#: Rows that this data set has.
ROWS: Final = 1460
#: sha256 of Kaggle's train.csv, which is what the ARFF file becomes, byte for byte.
KAGGLE_SHA256: Final = "1e18addf81e5e4d347cc17ee6075bbe4a42b7fa26b9e5b063e8f692a5f929d41"
_GZIP: Final = b"\x1f\x8b"

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Fetched:
    """A file as it came.

    Attributes:
        name: what messages call it; without credentials.
        content: its bytes.
        framed: whether it is known where it ends.
    """

    name: str
    content: bytes
    framed: bool = True


def load(
    target: Path,
    source: str | None = None,
    *,
    openml: str = OPENML,
    sha256: str | None = None,
    rows: int | None = None,
    timeout: float = TIMEOUT,
    say: Say = lambda _: None,
) -> Dataset:
    """Put a checked training file at ``target``; whatever is there stays until the new one is complete and right.

    Args:
        target: CSV file to write; its folder is made if need be.
        source: URL (http, https, file) or path of a CSV or ARFF file, gzip or not; by default the data set on OpenML.
        openml: address of OpenML.
        sha256: what the file must have, as it is served.
        rows: how many rows it must have; of the data set on OpenML that is known.
        timeout: seconds without a byte after which an attempt is given up.
        say: told what is being done, one line each.

    Returns:
        The checked data.

    Raises:
        DownloadError: it cannot be fetched.
        DataError: it is not what it should be.
        OSError: it cannot be written.
    """
    if source is None:
        fetched = _from_openml(openml.rstrip("/"), timeout, say)
        rows = ROWS if rows is None else rows
    else:
        fetched = _fetch(source, timeout, say)
    found = hashlib.sha256(fetched.content).hexdigest()
    if sha256 and found != sha256.lower():
        raise DataError(f"{fetched.name}: its sha256 is {found}, not {sha256.lower()}; it is another file or damaged")
    content = _as_csv(fetched)
    if not fetched.framed and not content.endswith(b"\n"):
        raise DownloadError(
            f"{fetched.name}: the server does not say how long the file is, and it ends within a line: "
            "it may have been cut; try again"
        )
    data = dataset.parse(content, fetched.name, say=say)
    if rows is not None and len(data.rows) != rows:
        raise DataError(f"{fetched.name}: {len(data.rows)} rows where there must be {rows}")
    target.parent.mkdir(parents=True, exist_ok=True)
    with replacing_binary(target) as file:
        file.write(content)
    known = ", byte for byte Kaggle's train.csv" if data.sha256 == KAGGLE_SHA256 else ""
    say(f"Wrote {target}: {len(data.rows):,} rows, {len(sample.COLUMNS)} columns, checked")
    say(f"sha256 {data.sha256}{known}")
    return data


def _from_openml(address: str, timeout: float, say: Say) -> Fetched:
    """The file of the data set that OpenML's description leads to, checked against its md5."""
    described_at = f"{address}/api/v1/json/data/{DATA_ID}"
    try:
        described: dict[str, Any] = json.loads(_fetch(described_at, timeout, say).content)["data_set_description"]
        url, md5, status = described["url"], described["md5_checksum"].lower(), described.get("status", "active")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DownloadError(
            f"{shown(described_at)}: not the description of a data set; OpenML may be down: try again later, "
            "or take the file from elsewhere with --from"
        ) from error
    if status != "active":
        say(f"{shown(described_at)}: OpenML calls this data set {status}")
    if urlsplit(address).scheme == "https" and urlsplit(url).scheme != "https":
        raise DownloadError(f"{shown(described_at)}: leads to {shown(url)}, which is not encrypted")
    fetched = _fetch(url, timeout, say)
    found = hashlib.md5(fetched.content, usedforsecurity=False).hexdigest()
    if found != md5:
        raise DataError(f"{fetched.name}: its md5 is {found}, OpenML says {md5}; it was damaged on the way: try again")
    return fetched


def _fetch(source: str, timeout: float, say: Say) -> Fetched:
    scheme = urlsplit(source).scheme.lower()
    if scheme in {"http", "https"}:
        say(f"Downloading {shown(source)}")
        transfer = Transfer(source, timeout=timeout, say=say)
        content = transfer.fetch()
        return Fetched(shown(source), content, transfer.framed)
    # One letter is a drive.
    if len(scheme) > 1 and "://" in source and scheme != "file":
        raise DataError(f"{shown(source)}: only http, https and file addresses, and paths")
    path = Path(url2pathname(urlsplit(source).path)) if scheme == "file" else Path(source)
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST + 1)
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from error
    if len(content) > LARGEST:
        raise DataError(f"{path}: larger than {LARGEST / 1e6:,.0f} MB; that is not the data")
    return Fetched(path.name, content)


def _as_csv(fetched: Fetched) -> bytes:
    content = _unpacked(fetched) if fetched.content.startswith(_GZIP) else fetched.content
    return arff.to_csv(content, fetched.name) if arff.is_arff(content) else content


def _unpacked(fetched: Fetched) -> bytes:
    try:
        unpacker = zlib.decompressobj(zlib.MAX_WBITS | 16)
        content = unpacker.decompress(fetched.content, LARGEST + 1)
    except zlib.error as error:
        raise DataError(f"{fetched.name}: damaged gzip: {error}") from error
    if len(content) > LARGEST:
        raise DataError(f"{fetched.name}: unpacked larger than {LARGEST / 1e6:,.0f} MB; that is not the data")
    if not unpacker.eof:
        raise DataError(f"{fetched.name}: damaged gzip: it is cut off")
    return content
