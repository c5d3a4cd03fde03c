"""Opening the database: SQLite in WAL by default, PostgreSQL by URL; the schema and its migrations.

    with reading(engine) as conn: ...     a consistent view, rolled back at the end
    with writing(engine) as conn: ...     one transaction: committed as a whole, or not at all

Contains no statement about any noun.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from enum import Enum
from pathlib import Path
from sqlite3 import OperationalError as SqliteError
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import Connection, Engine, Executable, create_engine, event, inspect, make_url, text
from sqlalchemy.exc import ArgumentError, DatabaseError, NoSuchModuleError
from sqlalchemy.pool import ConnectionPoolEntry

import subscribers
from syndicate.errors import ConfigurationError, OperationError

if TYPE_CHECKING:
    from alembic.config import Config

__all__ = [
    "DriverStatement",
    "Writer",
    "check_schema",
    "driver_time",
    "migrate",
    "open_engine",
    "reading",
    "writing",
]

_WRITES: Final = "syndicate_writes"

_MIGRATIONS: Final = Path(__file__).parent / "migrations"

#: Where the revisions of both packages are. Whether a database has the latest of them is asked at each start,
#: and loading Alembic takes a third of it: that is loaded by those who migrate.
_REVISIONS: Final = (Path(subscribers.__file__).parent / "migrations", _MIGRATIONS / "versions")

#: Any number will do, as long as every process takes the same one.
_MIGRATION_LOCK: Final = 7_319_480

#: Times that the switch to WAL is tried again; our choice. One is nearly always enough.
_SWITCHES: Final = 20


def open_engine(url: str) -> Engine:
    """An engine for a database URL such as ``sqlite:///data/syndicate.db`` or ``postgresql://host/name``.

    Opens no connection. Raises ConfigurationError if the URL cannot be understood or its driver is missing.
    """
    try:
        parsed = make_url(url)
        backend = parsed.get_backend_name()
        if backend not in {"sqlite", "postgresql"}:
            raise ConfigurationError(
                [f"[database] url: {backend} is not supported; sqlite and postgresql are"]
            )
        if parsed.drivername == "postgresql":
            parsed = parsed.set(drivername="postgresql+psycopg")
        engine = create_engine(parsed, pool_pre_ping=backend != "sqlite")
    except (ArgumentError, NoSuchModuleError) as error:
        raise ConfigurationError([f"[database] url: {error}"]) from None
    except ValueError:
        # Its text is not shown: what it takes for the port may be a part of the password.
        hint = "the port is not a number; in a password, / and @ and : are written as %2F and %40 and %3A"
        raise ConfigurationError([f"[database] url: {hint}"]) from None
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            [f"[database] url: the driver {error.name} is missing; pip install 'syndicate[postgresql]'"]
        ) from None
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _set_up_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
    return engine


def _set_up_sqlite(connection: Any, _entry: ConnectionPoolEntry) -> None:
    # The driver must not begin transactions by itself: it would do so late, and never for a SELECT.
    connection.isolation_level = None
    for pragma in (
        "busy_timeout=30000",
        "synchronous=FULL",  # NORMAL may lose the last commits at a power cut; the ledger must not
        "foreign_keys=ON",
    ):
        connection.execute(f"PRAGMA {pragma}")
    _switch_to_wal(connection)


def _switch_to_wal(connection: Any) -> None:
    # Of several processes that make a file at once, SQLite refuses this to some without letting them wait
    # their turn. An empty transaction does wait, and the one that was first has switched the file by then.
    for _ in range(_SWITCHES):
        try:
            connection.execute("PRAGMA journal_mode=WAL")
        except SqliteError:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("ROLLBACK")
        else:
            return
    connection.execute("PRAGMA journal_mode=WAL")


def _begin_sqlite(connection: Connection) -> None:
    # A writer that begins as a reader can fail at its first write; IMMEDIATE waits its turn instead.
    immediate = connection.get_execution_options().get(_WRITES)
    # By the driver itself: the library's way costs more than the transaction of a sender does.
    connection.connection.cursor().execute("BEGIN IMMEDIATE" if immediate else "BEGIN")


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """A connection for reading; what is written on it is rolled back."""
    # PostgreSQL would give each statement a view of its own.
    options = {"isolation_level": "REPEATABLE READ"} if engine.dialect.name == "postgresql" else {}
    with _told_apart(engine), engine.execution_options(**options).connect() as connection:
        yield connection


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """A connection in one write transaction: durable on leaving, rolled back by an exception."""
    with _told_apart(engine), engine.execution_options(**{_WRITES: True}).begin() as connection:
        yield connection


class DriverStatement:
    """A statement that is compiled once and given to the driver itself, for the path of each message: the
    library's way there costs twenty times what SQLite needs for a small statement.

    Its values are what the driver takes: no types are converted on the way in or out.
    """

    def __init__(self, statement: Executable) -> None:
        self._statement = statement
        self._compiled: dict[str, tuple[str, dict[str, Any], Sequence[str] | None]] = {}

    def execute(self, conn: Connection, values: dict[str, Any]) -> Any:
        """Runs it in the connection's transaction; returns the driver's cursor."""
        name = conn.dialect.name
        if name not in self._compiled:
            compiled = self._statement.compile(dialect=conn.dialect)  # type: ignore[attr-defined]  # every one has it
            constants = {key: _plain(value) for key, value in compiled.params.items()}
            self._compiled[name] = compiled.string, constants, compiled.positiontup
        text, constants, places = self._compiled[name]
        given = constants | values
        cursor = conn.connection.cursor()
        cursor.execute(text, given if places is None else [given[place] for place in places])
        return cursor


def _plain(value: Any) -> Any:
    return value.value if isinstance(value, Enum) else value


def driver_time(conn: Connection, at: datetime) -> Any:
    """An instant as a DriverStatement takes it: as the column type of the tables would write it."""
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S.%f}" if conn.dialect.name == "sqlite" else at


class Writer:
    """A connection that is kept for many write transactions: to take one from the pool for each costs three
    times what a small transaction does. For one thread at a time.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._connection: Connection | None = None

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """One write transaction, as ``writing``. After an error the connection is taken anew."""
        with _told_apart(self._engine):
            try:
                if self._connection is None:
                    self._connection = self._engine.execution_options(**{_WRITES: True}).connect()
                with self._connection.begin():
                    yield self._connection
            except BaseException:
                self.close()
                raise

    def close(self) -> None:
        """Gives the connection back."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


@contextmanager
def _told_apart(engine: Engine) -> Iterator[None]:
    # A database that cannot be reached is the operator's matter and gets one line, not a traceback.
    driver = engine.dialect.loaded_dbapi
    try:
        yield
    except (DatabaseError, driver.DatabaseError) as error:
        # One of its kinds is about reaching it, it itself about a damaged file; the others are our mistakes.
        cause = error.orig if isinstance(error, DatabaseError) else error
        if not (type(cause) is driver.DatabaseError or isinstance(cause, driver.OperationalError)):
            raise
        what = next(iter(str(cause).strip().splitlines()), "no answer")
        raise OperationError(f"database {engine.url.render_as_string()}: {what}") from error


def _alembic_config() -> Config:
    from alembic.config import Config  # noqa: PLC0415 - see _REVISIONS

    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS))
    config.set_main_option("path_separator", "newline")
    config.set_main_option("version_locations", "\n".join(map(str, _REVISIONS)))
    return config


def migrate(engine: Engine) -> bool:
    """Brings the schema up to date, in one transaction and one process at a time; True if it changed."""
    from alembic import command  # noqa: PLC0415 - see _REVISIONS
    from alembic.runtime.migration import MigrationContext  # noqa: PLC0415 - as above

    database = engine.url.database
    if engine.dialect.name == "sqlite" and database and database != ":memory:":
        Path(database).parent.mkdir(parents=True, exist_ok=True)
    config = _alembic_config()
    with writing(engine) as connection:
        if engine.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _MIGRATION_LOCK})
        before = MigrationContext.configure(connection).get_current_heads()
        config.attributes["connection"] = connection
        command.upgrade(config, "heads")
        return set(MigrationContext.configure(connection).get_current_heads()) != set(before)


def _find_heads() -> set[str]:
    """The revisions that no other one follows, as the files say."""
    texts = [path.read_text("utf-8") for folder in _REVISIONS for path in folder.glob("*.py")]
    known, followed = (
        {found for each in texts for found in re.findall(rf'^{name} = "(\w+)"$', each, re.MULTILINE)}
        for name in ("revision", "down_revision")
    )
    return known - followed


def check_schema(engine: Engine) -> None:
    """Raises OperationError if the schema is not the one that this version of the program needs."""
    database = engine.url.database
    if engine.dialect.name == "sqlite" and database and not Path(database).exists():
        raise OperationError(f"database {database} does not exist; run 'syndicate migrate' to make it")
    with reading(engine) as connection:
        has_version = inspect(connection).has_table("alembic_version")
        found = (
            connection.execute(text("SELECT version_num FROM alembic_version")).scalars()
            if has_version
            else ()
        )
        is_current = set(found) == _find_heads()
    if not is_current:
        raise OperationError(
            f"database {engine.url.render_as_string()} does not have this version's schema; "
            "run 'syndicate migrate'"
        )
