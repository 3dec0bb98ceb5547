"""What is checked once, in the master process, before a server with a prediction log starts."""

from __future__ import annotations

import sys

from ml_api.prediction_log.opening import INSTALL
from ml_api.settings import LogSettings, SettingsError

try:
    from sqlalchemy.exc import SQLAlchemyError

    from ml_api.prediction_log.database import Database, SchemaError, describe
except ModuleNotFoundError as error:
    raise SettingsError(f"PREDICTION_LOG is set, which needs {error.name}: {INSTALL}") from error


def check(settings: LogSettings) -> None:
    """Check that the schema is one that this code can use; a database that does not answer delays nothing.

    Raises:
        SettingsError: it is not, or a library is missing; the message says what to run.
    """
    database = Database(settings)
    try:
        with database.begin():
            pass
    except SchemaError as error:
        raise SettingsError(str(error)) from error
    except SQLAlchemyError as error:
        sys.stderr.write(f"the prediction log does not answer; the server starts all the same: {describe(error)}\n")
    finally:
        # The workers must not share a connection.
        database.engine.dispose()
