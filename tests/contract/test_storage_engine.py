from __future__ import annotations

import subprocess
import sys
from datetime import datetime
from pathlib import Path

import pytest
from alembic.script import ScriptDirectory
from sqlalchemy import Engine
from sqlalchemy.exc import IntegrityError, StatementError

from syndicate.errors import ConfigurationError, OperationError
from syndicate.storage import newsletters, sources
from syndicate.storage.engine import _alembic_config, _find_heads, open_engine, reading, writing
from tests.builders import add_edition, add_newsletter, add_source


def test_the_latest_revisions_are_those_that_alembic_finds() -> None:
    script = ScriptDirectory.from_config(_alembic_config())

    assert _find_heads() == set(script.get_heads())


def test_opening_the_engine_and_looking_at_the_schema_does_not_load_alembic(engine: Engine) -> None:
    url = engine.url.render_as_string(hide_password=False)
    code = (
        "import sys; from syndicate.storage.engine import check_schema, open_engine;"
        " check_schema(open_engine(sys.argv[1])); print('alembic' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code, url], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "False"


def test_what_is_written_is_kept_as_a_whole(engine: Engine, now: datetime) -> None:
    with writing(engine) as conn:
        added = add_source(conn, now)

    with reading(engine) as conn:
        assert sources.list_sources(conn) == [added]


def test_an_exception_takes_everything_back(engine: Engine, now: datetime) -> None:
    def write_and_fail() -> None:
        with writing(engine) as conn:
            add_source(conn, now)
            raise LookupError

    with pytest.raises(LookupError):
        write_and_fail()

    with reading(engine) as conn:
        assert sources.list_sources(conn) == []


def test_what_is_written_on_a_connection_for_reading_is_taken_back(engine: Engine, now: datetime) -> None:
    with reading(engine) as conn:
        add_source(conn, now)
        assert len(sources.list_sources(conn)) == 1

    with reading(engine) as conn:
        assert sources.list_sources(conn) == []


def test_a_reader_has_one_view_whatever_others_write_meanwhile(engine: Engine, now: datetime) -> None:
    with writing(engine) as conn:
        newsletter = add_newsletter(conn, now)

    with reading(engine) as view:
        before = newsletters.get_newsletter(view, "tide")
        with writing(engine) as conn:
            newsletters.edit_newsletter(conn, newsletter.id, now=now, title="Ebb")
            add_source(conn, now)
        assert newsletters.get_newsletter(view, "tide") == before
        assert sources.list_sources(view) == []

    with reading(engine) as view:
        assert newsletters.get_newsletter(view, "tide").title == "Ebb"


def test_a_row_cannot_refer_to_one_that_is_not_there(engine: Engine, now: datetime) -> None:
    with pytest.raises(IntegrityError), writing(engine) as conn:
        add_edition(conn, 999, now)


def test_a_naive_instant_is_refused(engine: Engine) -> None:
    with pytest.raises(StatementError, match="naive instant"), writing(engine) as conn:
        add_source(conn, datetime(2026, 3, 14))  # noqa: DTZ001 - that is what the test is about


def test_sqlite_is_set_up_so_that_a_power_cut_loses_no_commit(sqlite_url: str) -> None:
    engine = open_engine(sqlite_url)
    with writing(engine) as conn:
        found = {
            name: conn.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        }
    engine.dispose()

    full = 2
    assert found == {
        "journal_mode": "wal",
        "synchronous": full,
        "foreign_keys": 1,
        "busy_timeout": 30_000,
    }


def test_a_postgresql_url_without_a_driver_takes_the_one_that_is_supported() -> None:
    engine = open_engine("postgresql://host.invalid/name")

    assert engine.driver == "psycopg"


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("", "[database] url: "),
        ("nonsense", "[database] url: "),
        ("postgresql://reader:pass-word@host:port/name", "[database] url: "),
        ("postgresql+nodriver://host/name", "[database] url: "),
        ("nodatabase://host/name", "[database] url: nodatabase is not supported; sqlite and postgresql are"),
        (
            "mysql://reader:pass-word@host/name",
            "[database] url: mysql is not supported; sqlite and postgresql are",
        ),
    ],
)
def test_a_url_that_cannot_be_used_is_refused_in_one_line_without_its_password(
    url: str, message: str
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        open_engine(url)

    (problem,) = caught.value.problems
    assert problem.startswith(message)
    assert "\n" not in problem
    assert "pass-word" not in problem


@pytest.mark.parametrize("use", [reading, writing])
def test_a_database_that_cannot_be_reached_is_one_line_without_its_password(
    tmp_path: Path, use: object
) -> None:
    for url in (
        f"sqlite:///{tmp_path}/no/such/folder.db",
        "postgresql://reader:pass-word@127.0.0.1:1/name",
    ):
        engine = open_engine(url)
        with pytest.raises(OperationError) as caught, use(engine):  # type: ignore[operator]  # both are context managers
            pass
        engine.dispose()
        message = str(caught.value)
        assert message.startswith("database ")
        assert "\n" not in message
        assert "pass-word" not in message
