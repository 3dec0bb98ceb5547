"""The command ``data``: the training file from OpenML, a URL or a path, checked before it replaces another."""

from __future__ import annotations

import argparse
import gzip
import hashlib
import warnings
import zlib
from contextlib import suppress
from http.client import HTTPException, InvalidURL
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit, urlunsplit
from urllib.request import urlopen

from model_kit.batch.output import replacing_binary
from model_kit.cli.common import OK, needing_training, report, synthetic_notice
from model_kit.errors import DataError, ModelKitError
from model_kit.scoring.definition import ModelDefinition

TIMEOUT: Final = 60.0
_GZIP: Final = b"\x1f\x8b"

HELP: Final = "load the training file"
EXAMPLES: Final = """\
examples:
  {program} data -o train.csv                              from OpenML, where the model names a data set
  {program} data --from https://example.org/train.csv -o train.csv
  {program} data --from Downloads/train.csv.gz -o train.csv --sha256 HEX

The file is checked (all columns, types, bounds, identifiers, target, sha256) before it replaces the one that is there.

exit status: 0 done; 1 cannot be fetched or written; 2 not the data; 130 interrupted
"""


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    command.add_argument("--from", dest="source", metavar="URL|PATH", help="where to take it from (default: OpenML)")
    command.add_argument("-o", "--output", type=Path, required=True, metavar="FILE", help="CSV file to write")
    command.add_argument("--sha256", metavar="HEX", type=str.lower, help="what the file must have, as it is served")


def run(arguments: argparse.Namespace) -> int:
    """Fetch, check, write.

    Raises:
        DataError: it is not the training file of this model.
        ModelKitError: it cannot be fetched.
    """
    from model_kit.training import dataset  # noqa: PLC0415 - no serving environment needs it

    definition: ModelDefinition = arguments.definition
    content = fetch(arguments.source) if arguments.source else needing_training(lambda: openml_csv(definition))
    if arguments.sha256 and (found := hashlib.sha256(content).hexdigest()) != arguments.sha256:
        raise DataError(f"sha256 is {found}, not {arguments.sha256}; nothing was written")
    try:
        content = gzip.decompress(content) if content.startswith(_GZIP) else content
    except (EOFError, OSError, zlib.error) as error:
        raise DataError(f"the gzip file is damaged: {error}") from error
    data = dataset.parse(definition, content, arguments.output.name, report=report)
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    with replacing_binary(arguments.output) as file:
        file.write(content)
    if data.synthetic:
        report(synthetic_notice(definition))
    report(f"Wrote {len(data.rows)} rows to {arguments.output}")
    return OK


def fetch(source: str) -> bytes:
    """The bytes at a URL or a path.

    Raises:
        DataError: the file cannot be read, or it is no such URL.
        ModelKitError: they cannot be fetched; the text shows no credentials.
    """
    if "://" not in source and not source.startswith("file:"):
        try:
            return Path(source).read_bytes()
        except OSError as error:
            raise DataError(f"{source}: cannot be read: {error.strerror}") from error
    try:
        parts = urlsplit(source)
    except ValueError as error:
        raise DataError("the URL is not valid") from error
    shown = urlunsplit((parts.scheme, parts.hostname or "", parts.path, "", ""))
    if parts.scheme not in {"http", "https", "file"}:
        raise DataError(f"{shown}: cannot be fetched: not http, https or file")
    report(f"Loading {shown}")
    try:
        with urlopen(source, timeout=TIMEOUT) as response:  # noqa: S310 - the scheme is one of three
            content: bytes = response.read()
    except (HTTPException, OSError, ValueError) as error:
        # http.client repeats an address, with the password in it.
        reason = "not a valid address" if isinstance(error, InvalidURL) else getattr(error, "reason", None) or error
        raise ModelKitError(f"{shown}: cannot be fetched: {reason}") from error
    return content


def openml_csv(definition: ModelDefinition) -> bytes:
    """The model's data set on OpenML as CSV; nulls as "NA", whole numbers without ".0".

    Raises:
        DataError: the model names none.
        ModelKitError: it cannot be fetched.
    """
    if definition.openml_id is None:
        raise DataError(f"the model {definition.name} names no data set on OpenML; say where: --from URL|PATH")
    from sklearn.datasets import fetch_openml  # noqa: PLC0415 - needs what serving does without

    def load(**options: Any) -> Any:
        # The parser "pandas" keeps the single quotes around 'Wd Sdng', and refuses a comma between them.
        return fetch_openml(data_id=definition.openml_id, as_frame=True, parser="liac-arff", **options).frame

    report(f"Loading data set {definition.openml_id} from OpenML")
    try:
        with warnings.catch_warnings(record=True, action="always") as caught:
            frame = load()
    except Exception as error:  # scikit-learn passes on those of gzip, JSON, ARFF and HTTP
        raise ModelKitError(f"OpenML: cannot be fetched: {str(error) or type(error).__name__}") from error
    for warning in caught:
        report(f"OpenML: {warning.message}")
    for name in [definition.identifier, *(field.name for field in definition.fields)]:
        if name and name not in frame:
            # Columns that OpenML declares as identifiers or as ignored are given only if they are asked for.
            with suppress(KeyError, ValueError), warnings.catch_warnings(action="ignore"):
                frame[name] = load(target_column=name)[name]
    text: str = frame.convert_dtypes().to_csv(index=False, na_rep="NA", lineterminator="\n")
    return text.encode()
