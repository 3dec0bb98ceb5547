"""What the commands about the prediction log share: settings, database, errors."""

from __future__ import annotations

import os
import sys
from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING

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
