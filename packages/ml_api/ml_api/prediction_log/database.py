"""The database of the prediction log: connections with timeouts, migrations, and whether code and schema fit."""

from __future__ import annotations

import fcntl
import os
import socket
import threading
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from operator import itemgetter
from pathlib import Path
from typing import Any, TypeAlias

import msgspec
from sqlalchemy import Connection, Engine, create_engine, event, inspect, make_url, select, text
from sqlalchemy.exc import DatabaseError, DataError, DBAPIError, IntegrityError, OperationalError, StatementError

from ml_api.prediction_log.schema import REVISION, compatibility, predictions, shadow_predictions
from ml_api.settings import LogSettings

#: Columns of ``predictions`` by name.
Row: TypeAlias = Mapping[str, Any]

#: Connections of one process: the writer's, two for outcomes, one for the page of live errors, one for drift.
POOL_SIZE = 5
#: Key of PostgreSQL's advisory lock, so that one migration runs at a time.
_MIGRATION_LOCK = 0x6D6C5F617069
#: Pages of SQLite's write-ahead log from which on a writer copies them itself, 64 MB: :class:`Checkpoints` failed.
MOST_PAGES = 16_000
#: Seconds between two checkpoints.
CHECKPOINT_INTERVAL = 2.0
_MIGRATE = "run `ml-api migrate` (`make migrate`) with the same PREDICTION_LOG"

# As the drivers take them: what SQLAlchemy does for each statement, row and transaction costs more than the database.
_NAMES = [column.name for column in predictions.columns]
_COLUMNS = ", ".join(_NAMES)
_before_time, _after_time = itemgetter(*_NAMES[: _NAMES.index("time")]), itemgetter(*_NAMES[_NAMES.index("time") + 1 :])
#: One parameter for all rows: a twentieth of the client's time for a parameter of each value.
_INSERT_POSTGRES = (
    f"INSERT INTO predictions ({_COLUMNS}) SELECT {_COLUMNS} "  # noqa: S608  names of our columns
    "FROM json_populate_recordset(NULL::predictions, %(rows)s) ON CONFLICT DO NOTHING"
)
_INSERT_SQLITE = (
    f"INSERT INTO predictions ({_COLUMNS}) "  # noqa: S608
    f"VALUES ({', '.join('?' for _ in _NAMES)}) ON CONFLICT DO NOTHING"
)

#: The same for what a shadow predicts, of predictions that are in the log: they may have been deleted meanwhile.
_SHADOW_COLUMNS = [column.name for column in shadow_predictions.columns]
_IS_LOGGED = (
    "WHERE EXISTS (SELECT 1 FROM predictions p WHERE p.prediction_id = {} AND p.row = {}) ON CONFLICT DO NOTHING"
)
_INSERT_SHADOW_POSTGRES = (
    f"INSERT INTO shadow_predictions ({', '.join(_SHADOW_COLUMNS)}) SELECT {', '.join(_SHADOW_COLUMNS)} "  # noqa: S608
    "FROM json_populate_recordset(NULL::shadow_predictions, %(rows)s) s "
    f"{_IS_LOGGED.format('s.prediction_id', 's.row')}"
)
_INSERT_SHADOW_SQLITE = (
    f"INSERT INTO shadow_predictions ({', '.join(_SHADOW_COLUMNS)}) "
    f"SELECT {', '.join(f':{name}' for name in _SHADOW_COLUMNS)} {_IS_LOGGED.format(':prediction_id', ':row')}"
)


class SchemaError(Exception):
    """Schema and code do not fit; the message says what to run."""


class Database:
    """The database that ``PREDICTION_LOG`` names; connects when it is used.

    Args:
        settings: of the prediction log.
        is_patient: whether a statement may take any time, as those of commands may.
    """

    def __init__(self, settings: LogSettings, *, is_patient: bool = False) -> None:
        self.settings = settings
        url = make_url(settings.url)
        self.is_postgres = url.get_backend_name() == "postgresql"
        #: The file, of SQLite.
        self.path = None if self.is_postgres else Path(url.database or "")
        self._timeout = 0 if is_patient else settings.timeout
        self.engine: Engine = create_engine(
            url,
            connect_args=self._postgres_arguments() if self.is_postgres else {"timeout": settings.timeout},
            pool_size=POOL_SIZE,
            max_overflow=0,
            pool_timeout=settings.timeout,
            hide_parameters=True,
        )
        event.listen(self.engine, "connect", self._on_connect)
        if not self.is_postgres:
            event.listen(self.engine, "begin", _begin_sqlite)

    def _postgres_arguments(self) -> dict[str, Any]:
        seconds = self.settings.timeout
        # Without these a server that has vanished from the network is waited for for a quarter of an hour.
        alive = {"keepalives_idle": seconds, "keepalives_interval": 1, "keepalives_count": 3}
        return {
            "connect_timeout": max(seconds, 2),
            "tcp_user_timeout": seconds * 1000,
            "application_name": "ml_api",
            **alive,
        }

    def _on_connect(self, connection: Any, _: Any) -> None:
        """Set up a new connection."""
        if self.is_postgres:
            connection.autocommit = True
            connection.execute(f"SET statement_timeout = {self._timeout * 1000}")
            connection.autocommit = False
            return
        # As SQLAlchemy's documentation says for transactions that begin where they should: _begin_sqlite.
        connection.isolation_level = None
        durability = "FULL" if self.settings.durability == "power" else "NORMAL"
        pages = f"wal_autocheckpoint = {MOST_PAGES}"
        for pragma in ("journal_mode = WAL", f"synchronous = {durability}", "foreign_keys = ON", pages):
            connection.execute(f"PRAGMA {pragma}")

    @contextmanager
    def begin(self) -> Generator[Connection]:
        """Open a transaction that ends with the block, or is cut off when it takes longer than the timeout.

        Raises:
            SchemaError: schema and code do not fit.
            SQLAlchemyError: the database does not answer, or in time.
        """
        if self.path is not None and not self.path.exists():
            # SQLite would create it, readable by all.
            raise SchemaError(f"the prediction log's database, {self.path}, has no tables yet: {_MIGRATE}")
        with self._transaction() as connection:
            check_schema(connection)
            if not self._timeout:
                yield connection
                return
            timer = threading.Timer(self._timeout, interrupt, [connection.connection.dbapi_connection])
            timer.daemon = True
            timer.start()
            try:
                yield connection
            finally:
                timer.cancel()

    @contextmanager
    def _transaction(self) -> Generator[Connection]:
        """Open a transaction that ends with the block.

        Raises:
            SchemaError: the file is no SQLite database.
        """
        try:
            with self.engine.begin() as connection:
                yield connection
        except DatabaseError as error:
            # Not found by reading the file: closing it would give up SQLite's own locks of this process.
            if getattr(error.orig, "sqlite_errorname", None) == "SQLITE_NOTADB":
                raise SchemaError(f"PREDICTION_LOG: {self.path} is no SQLite database; name another file") from error
            raise

    @contextmanager
    def turn(self) -> Generator[None]:
        """Wait for the writers of other processes, of SQLite, which would look for its lock every few milliseconds."""
        if self.path is None:
            yield
            return
        # Not the database itself: closing it would give up SQLite's own locks.
        descriptor = os.open(f"{self.path}-writer", os.O_CREAT | os.O_RDWR, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def checkpoint(self) -> None:
        """Copy SQLite's write-ahead log into the database; writers wait for the end of it alone.

        Raises:
            sqlite3.Error: it cannot be copied now.
        """
        if self.path is None or not self.path.exists():
            return
        with closing(self.engine.raw_connection()) as connection:
            connection.cursor().execute("PRAGMA wal_checkpoint(PASSIVE)")
            # What was written meanwhile: only when all is copied does the log begin anew.
            with self.turn():
                connection.cursor().execute("PRAGMA wal_checkpoint(PASSIVE)")

    def insert(self, driver: Any, rows: Sequence[Row]) -> int:
        """Insert rows of ``predictions``; those that are there already stay as they are.

        Args:
            driver: a connection of the driver.
            rows: to insert.

        Returns:
            How many are new.
        """
        if self.is_postgres:
            return _insert_postgres(driver, _INSERT_POSTGRES, rows)
        # As SQLAlchemy's DateTime does.
        values = [(*_before_time(row), row["time"].isoformat(" ", "microseconds"), *_after_time(row)) for row in rows]
        return int(driver.executemany(_INSERT_SQLITE, values).rowcount)

    def insert_shadow(self, driver: Any, rows: Sequence[Row]) -> int:
        """As :meth:`insert`, rows of ``shadow_predictions`` whose prediction is in the log."""
        if self.is_postgres:
            return _insert_postgres(driver, _INSERT_SHADOW_POSTGRES, rows)
        return int(driver.executemany(_INSERT_SHADOW_SQLITE, rows).rowcount)

    def migrate(self, *, keep_newer: bool = False) -> str:
        """Bring the schema to what this code knows; returns its revision.

        Args:
            keep_newer: leave a newer schema that this code can use as it is.

        Raises:
            SchemaError: the schema is newer.
        """
        # In a command only: the server has no use for it.
        from alembic import command  # noqa: PLC0415
        from alembic.config import Config  # noqa: PLC0415

        if self.path is not None:
            # It holds what people have sent; before SQLite creates it, readable by all.
            os.close(os.open(self.path, os.O_CREAT | os.O_RDWR, 0o600))
        config = Config()
        config.set_main_option("script_location", str(Path(__file__).with_name("migrations")).replace("%", "%%"))
        with self._transaction() as connection:
            if self.is_postgres:
                connection.execute(text(f"SELECT pg_advisory_xact_lock({_MIGRATION_LOCK})"))
            found = _revision(connection)
            if found is not None and found > REVISION:
                if keep_newer:
                    check_schema(connection)
                    return found
                raise SchemaError(
                    f"the schema is {found}, which is newer than this code's {REVISION}: use a newer ml-api"
                )
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
        return REVISION


def _insert_postgres(driver: Any, statement: str, rows: Sequence[Row]) -> int:
    return int(driver.execute(statement, {"rows": msgspec.json.encode(rows).decode()}).rowcount)


class Checkpoints:
    """Copies SQLite's write-ahead log into the database every few seconds, in a thread of its own.

    SQLite has the writer do it that fills the log, and wait for the disk, with all requests whose rows are to be
    committed: a third of the time of all writes.

    Args:
        database: of SQLite.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="prediction-log-checkpoints", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._closed.wait(CHECKPOINT_INTERVAL):
            # The writer meets what is wrong with the database, and tells it.
            with suppress(Exception):
                self._database.checkpoint()

    def close(self, timeout: float) -> None:
        """Stop."""
        self._closed.set()
        self._thread.join(timeout)


class SqlSink:
    """Where rows go: a table of a database, by a connection that is kept.

    Args:
        database: one connection of it is used.
        insert: inserts them by a connection of the driver; by default into ``predictions``.
    """

    def __init__(self, database: Database, insert: Callable[[Any, Sequence[Row]], int] | None = None) -> None:
        self._database, self._insert = database, insert or database.insert
        self._engine = database.engine
        if database.is_postgres:
            # One statement is a transaction of its own, and saves two round trips.
            self._engine = self._engine.execution_options(isolation_level="AUTOCOMMIT")
        self._lock = threading.Lock()
        self._connection: Connection | None = None
        self._in_use: Any = None
        self._is_interrupted = False

    def write(self, rows: Sequence[Row]) -> int:
        """Commit ``rows``; returns how many are new. One thread at a time may call it.

        Raises:
            SQLAlchemyError, SchemaError: they are not committed, or it is not known whether they are.
        """
        self._is_interrupted = False
        try:
            return self._write(rows)
        except DBAPIError as error:
            if not error.connection_invalidated or self._is_interrupted:
                raise
            # The server was restarted since the last rows; inserting twice does no harm.
            return self._write(rows)

    def _write(self, rows: Sequence[Row]) -> int:
        with self._database.turn():
            is_new = self._connection is None
            connection = self._connection = self._connection or self._engine.connect()
            driver = None
            try:
                driver = connection.connection.dbapi_connection
                with self._lock:
                    self._in_use = driver
                if is_new:
                    check_schema(connection)
                    connection.rollback()
                return self._commit(driver, rows)
            except BaseException as error:
                self._connection = None
                failure = self._as_sqlalchemy(error, driver)
                if isinstance(failure, DBAPIError) and failure.connection_invalidated:
                    connection.invalidate(error)
                    # Those that nobody uses now are lost, too.
                    self._engine.dispose(close=False)
                connection.close()
                if failure is error:
                    raise
                raise failure from error
            finally:
                with self._lock:
                    self._in_use = None

    def _commit(self, driver: Any, rows: Sequence[Row]) -> int:
        if self._database.is_postgres:
            return self._insert(driver, rows)
        driver.execute("BEGIN IMMEDIATE")
        n_new = self._insert(driver, rows)
        driver.execute("COMMIT")
        return n_new

    def _as_sqlalchemy(self, error: BaseException, driver: Any) -> BaseException:
        """An exception of the driver as the one that SQLAlchemy raises for it; others as they are."""
        dialect = self._engine.dialect
        kinds = dialect.loaded_dbapi.Error
        if not isinstance(error, kinds):
            return error
        is_lost = dialect.is_disconnect(error, driver, None)
        return DBAPIError.instance(
            None, None, error, kinds, hide_parameters=True, connection_invalidated=is_lost, dialect=dialect
        )

    def close(self) -> None:
        """Give the connection back, unless something is being written."""
        with self._lock:
            if self._connection is not None and self._in_use is None:
                self._connection.close()
                self._connection = None

    def interrupt(self) -> None:
        """Cut off what :meth:`write` waits for, from another thread."""
        with self._lock:
            if self._in_use is not None:
                self._is_interrupted = True
                interrupt(self._in_use)


def interrupt(connection: Any) -> None:
    """End the statement of a connection (of the driver) in another thread, also where the server does not answer."""
    if hasattr(connection, "interrupt"):
        with suppress(Exception):  # it may be closed by now
            connection.interrupt()
        return
    with suppress(Exception), socket.socket(fileno=os.dup(connection.fileno())) as own:
        own.shutdown(socket.SHUT_RDWR)


def check_schema(connection: Connection) -> None:
    """Check that this code can use the schema.

    Raises:
        SchemaError: it cannot; the message says what to run.
    """
    found = _revision(connection)
    if found is None:
        raise SchemaError(f"the prediction log's database has no tables yet: {_MIGRATE}")
    if found < REVISION:
        raise SchemaError(f"the prediction log has schema {found}, and this code needs {REVISION}: {_MIGRATE}")
    minimum = connection.scalar(select(compatibility.c.minimum)) if found > REVISION else REVISION
    if minimum is None or minimum > REVISION:
        raise SchemaError(
            f"the prediction log has schema {found}, for code of {minimum} or later, and this code is of {REVISION}: "
            "install a newer ml-api"
        )


def is_about_rows(error: BaseException) -> bool:
    """Whether the database refused the rows themselves, and might take others."""
    # A StatementError that is none of the driver's: a value that it cannot be given.
    is_value = isinstance(error, StatementError) and not isinstance(error, DBAPIError)
    return is_value or isinstance(error, DataError | IntegrityError | UnicodeError)


def describe(error: BaseException) -> str:
    """Describe why the database failed, without a value of a row."""
    # The text of other errors may quote rows.
    cause = error.orig if isinstance(error, OperationalError) else error
    kind = type(cause).__name__
    if isinstance(error, OperationalError) or not isinstance(error, DBAPIError):
        return f"{kind}: {(str(cause).strip() or '?').splitlines()[0]}"
    return kind


def _revision(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    found: str | None = connection.scalar(text("SELECT version_num FROM alembic_version"))
    return found


def _begin_sqlite(connection: Connection) -> None:
    # Who reads first and writes later would fail where another has written in between.
    is_reader = connection.get_execution_options().get("is_reader")
    connection.exec_driver_sql("BEGIN" if is_reader else "BEGIN IMMEDIATE")
