"""What the commands about the prediction log share: settings, database, errors, and how a report is written."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ml_api.settings import LogSettings, SettingsError

if TYPE_CHECKING:
    from ml_api.prediction_log.database import Database

#: How to install what the log needs.
INSTALL = "pip install --no-deps -r requirements/log.txt"


@contextmanager
def opened() -> Generator[Database]:
    """Open the database that ``PREDICTION_LOG`` names.

    Raises:
        SettingsError: it is not set, a library is missing, or the database does not answer.
    """
    settings = LogSettings.from_environ(os.environ)
    if settings is None:
        raise SettingsError("PREDICTION_LOG is not set; it names the database (docs/prediction-log.md)")
    try:
        from sqlalchemy.exc import SQLAlchemyError  # noqa: PLC0415  needs ml-api[log]

        from ml_api.prediction_log.database import Database, SchemaError, describe  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise SettingsError(f"the prediction log needs {error.name}: {INSTALL}") from error
    database = Database(settings, is_patient=True)
    try:
        yield database
    except SchemaError as error:
        raise SettingsError(str(error)) from error
    except SQLAlchemyError as error:
        raise SettingsError(f"the prediction log failed: {describe(error)}") from error
    except BrokenPipeError as error:
        # The reader has what it wants; what is left in the buffer must not cause an error at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(1) from error
    except OSError as error:
        raise SettingsError(f"{error.filename or 'the output'}: {error.strerror}") from error
    finally:
        database.engine.dispose()


def check_model(database: Database, model: str | None) -> None:
    """Check that the log has predictions of a model, if one is named.

    Raises:
        SettingsError: it has none; the message names those that it has.
    """
    from sqlalchemy import select  # noqa: PLC0415  needs ml-api[log]

    from ml_api.prediction_log.schema import predictions  # noqa: PLC0415

    name = predictions.c.model
    with database.begin() as connection:
        if model is None or connection.scalar(select(name).where(name == model).limit(1)) is not None:
            return
        known = ", ".join(sorted(connection.scalars(select(name).distinct()))) or "none"
    raise SettingsError(f"--model {model}: the log has no prediction of it; it has those of: {known}")


def add_report_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that every report has: of which model, and how it is written."""
    parser.add_argument("--model", help="of this model only")
    parser.add_argument("--json", action="store_true", help="print JSON, with everything, instead of tables")
    parser.add_argument("--html", type=Path, metavar="FILE", help="write an HTML file too")


def write_report(
    options: argparse.Namespace,
    document: dict[str, Any],
    as_text: Callable[[dict[str, Any]], str],
    as_html: Callable[[dict[str, Any]], str],
) -> None:
    """Print a report as the options say, and write its file.

    Raises:
        OSError: the file cannot be written, or the reader of the output is gone.
    """
    if options.html:
        options.html.write_text(as_html(document), "utf-8")
    sys.stdout.write(f"{json.dumps(document, indent=1) if options.json else as_text(document)}\n")
    sys.stdout.flush()
