"""The schema: what the revisions make is what the tables say, whoever runs them and however often."""

from __future__ import annotations

import ast
import os
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, bindparam, inspect, select, text

import subscribers.tables
from syndicate.errors import OperationError
from syndicate.model import EditionState
from syndicate.storage import articles, deliveries, editions, shards, sources, tables
from syndicate.storage.engine import _alembic_config, check_schema, migrate, open_engine, reading, writing
from tests.builders import add_newsletter, add_source

METADATA = (subscribers.tables.metadata, tables.metadata)


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of a database of each kind without any table; the SQLite file and its folder do not exist."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/data/syndicate.db"
        return
    server = str(request.getfixturevalue("postgresql_server"))
    name = f"empty_{os.urandom(6).hex()}"
    admin = open_engine(server).execution_options(isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    yield server.replace("/postgres?", f"/{name}?")
    with admin.connect() as connection:
        connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
    admin.dispose()


@pytest.fixture
def empty(empty_url: str) -> Iterator[Engine]:
    engine = open_engine(empty_url)
    yield engine
    engine.dispose()


def upgrade(engine: Engine, revision: str) -> None:
    if engine.dialect.name == "sqlite":
        Path(str(engine.url.database)).parent.mkdir(exist_ok=True)
    config = _alembic_config()
    with writing(engine) as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, revision)


def downgrade(engine: Engine, revision: str) -> None:
    config = _alembic_config()
    with writing(engine) as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, revision)


def schema(engine: Engine) -> dict[str, Any]:
    """Everything that a database says about its tables."""
    found: dict[str, Any] = {}
    with reading(engine) as connection:
        look = inspect(connection)
        for table in look.get_table_names():
            found[table] = {
                "columns": {c["name"]: (str(c["type"]), c["nullable"]) for c in look.get_columns(table)},
                "primary key": look.get_pk_constraint(table),
                "foreign keys": sorted(look.get_foreign_keys(table), key=str),
                "unique": sorted(look.get_unique_constraints(table), key=str),
                "checks": sorted(look.get_check_constraints(table), key=str),
                "indexes": sorted(look.get_indexes(table), key=str),
            }
        if engine.dialect.name == "sqlite":
            rows = connection.execute(text("SELECT name, sql FROM sqlite_master WHERE type = 'table'"))
            for name, sql in rows:
                found.setdefault(name, {})["autoincrement"] = "AUTOINCREMENT" in sql
    found.pop("alembic_version", None)
    return found


def test_the_revisions_make_exactly_the_tables_of_both_packages(empty: Engine) -> None:
    assert migrate(empty)

    with reading(empty) as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, METADATA) == []  # type: ignore[arg-type]  # takes several, as env.py does
    check_schema(empty)


def test_names_checks_and_keys_are_those_of_the_tables_too(empty: Engine) -> None:
    migrate(empty)
    migrated = schema(empty)
    downgrade(empty, "base")
    with writing(empty) as connection:
        for metadata in METADATA:
            metadata.create_all(connection)

    assert migrated == schema(empty)
    assert {"article", "delivery", "subscription", "suppression"} < set(migrated)


def test_a_new_database_has_given_out_no_sequence(empty: Engine) -> None:
    migrate(empty)

    with reading(empty) as connection:
        assert articles.current_sequence(connection) == 0


def test_migrating_twice_changes_nothing(empty: Engine, now: datetime) -> None:
    assert migrate(empty) is True
    with writing(empty) as connection:
        added = add_source(connection, now)
        articles.take_sequences(connection, 3)

    assert migrate(empty) is False

    with reading(empty) as connection:
        assert sources.list_sources(connection) == [added]
        assert articles.current_sequence(connection) == 3


def test_every_revision_can_be_taken_back_and_made_again(empty: Engine) -> None:
    migrate(empty)
    before = schema(empty)

    downgrade(empty, "base")
    assert set(schema(empty)) <= {"sqlite_sequence"}
    with pytest.raises(OperationError):
        check_schema(empty)

    assert migrate(empty) is True
    assert schema(empty) == before
    check_schema(empty)


def test_editions_that_were_there_are_cut_into_shards_and_lose_nothing(empty: Engine, now: datetime) -> None:
    upgrade(empty, "subscribers@head")
    upgrade(empty, "syndicate_0001")
    before = schema(empty)
    states = ["sending", "sent", "cancelled", "held", "approved"]
    with writing(empty) as connection:
        add_edition_rows(connection, states, now)
    rows = count_rows(empty)

    migrate(empty)

    assert count_rows(empty) == rows
    with writing(empty) as connection:
        cut = select(tables.shard).order_by(tables.shard.c.edition_id, tables.shard.c.number)
        found = list(connection.execute(cut))
        assert [(row.edition_id, row.number, row.first_id, row.last_id) for row in found] == [
            (edition_id, number, *ends)
            for edition_id in range(1, 6)
            for number, ends in enumerate([(2, 2000), (2002, 3000)])
        ]
        assert {(row.lease_owner, row.lease_expires_at) for row in found} == {("", None)}
        assert not any(row.is_settled for row in found)
        due = {row.edition_id: row.due_at for row in found}
        assert due == {1: now, 2: None, 3: None, 4: now, 5: now}
        held = shards.lease_shard(connection, 1, owner="a", now=now, lease_s=15.0)
        assert held is not None
        assert held.fence == 8, "nobody who had the edition before writes to it any more"
        assert deliveries.recover_attempts(connection, held) == 1000
        opened = editions.get_edition(connection, 1)
        assert (opened.state, opened.opened_at) == (EditionState.SENDING, now)

    downgrade(empty, "syndicate_0001")

    assert count_rows(empty) == rows
    assert schema(empty) == before
    with reading(empty) as connection:
        fences = connection.execute(text("SELECT fence FROM edition ORDER BY id")).scalars()
        assert list(fences) == [8, 7, 7, 7, 7]


def add_edition_rows(connection: Connection, states: Sequence[str], now: datetime) -> None:
    """An edition of 1500 readers in each state, as the first revision has it."""
    newsletter_id = add_newsletter(connection, now).id
    for number, state in enumerate(states, start=1):
        values = {"number": number, "newsletter": newsletter_id, "state": state, "now": now}
        connection.execute(
            text(
                "INSERT INTO edition (newsletter_id, cadence, slot, state, reason, cutoff, policy, subject,"
                " opened_at, lease_owner, lease_expires_at, fence)"
                " VALUES (:newsletter, 'weekly', :state, :state, '', 1, 'resend', '', :now, 'old', :now, 7)"
            ).bindparams(bindparam("now", type_=subscribers.tables.UtcDateTime())),
            values,
        )
        content = text("INSERT INTO edition_content (edition_id, compiled, sha256) VALUES (:number, '', '')")
        connection.execute(content, values)
        connection.execute(
            text(
                "INSERT INTO delivery (edition_id, subscriber_id, subscription_id, address, name, reason,"
                " watermark, topics, state, attempts, fence, reply)"
                " VALUES (:number, :n, :n, '', '', '', 0, '', 'attempting', 1, 7, '')"
            ),
            [{"number": number, "n": n} for n in range(2, 3002, 2)],
        )


def count_rows(engine: Engine) -> dict[str, int]:
    with reading(engine) as connection:
        names = ("newsletter", "edition", "edition_content", "delivery")
        return {name: connection.execute(text(f"SELECT COUNT(*) FROM {name}")).scalar_one() for name in names}


def test_a_migration_that_fails_leaves_the_database_as_it_was(
    empty: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = MigrationContext.run_migrations

    def run_and_fail(self: MigrationContext, **kw: Any) -> None:
        original(self, **kw)
        raise LookupError

    monkeypatch.setattr(MigrationContext, "run_migrations", run_and_fail)
    with pytest.raises(LookupError):
        migrate(empty)
    monkeypatch.undo()

    with reading(empty) as connection:
        assert inspect(connection).get_table_names() == []
    assert migrate(empty) is True


def test_processes_that_migrate_at_once_do_not_disturb_each_other(empty_url: str) -> None:
    many = 4
    start = threading.Barrier(many)

    def migrate_one() -> bool:
        engine = open_engine(empty_url)
        try:
            start.wait(timeout=30)
            return migrate(engine)
        finally:
            engine.dispose()

    with ThreadPoolExecutor(many) as pool:
        attempts = [pool.submit(migrate_one) for _ in range(many)]
        changed = [attempt.result(timeout=60) for attempt in attempts]

    assert sorted(changed) == [False] * (many - 1) + [True]
    engine = open_engine(empty_url)
    check_schema(engine)
    engine.dispose()


def test_a_database_without_tables_is_refused_in_one_line_that_names_the_way_out(empty: Engine) -> None:
    with pytest.raises(OperationError) as caught:
        check_schema(empty)

    message = str(caught.value)
    assert message.startswith("database ")
    assert "syndicate migrate" in message
    assert "\n" not in message


def test_looking_at_a_sqlite_file_that_does_not_exist_does_not_make_it(tmp_path: Path) -> None:
    path = tmp_path / "absent.db"
    engine = open_engine(f"sqlite:///{path}")

    with pytest.raises(OperationError, match=r"absent\.db does not exist; run 'syndicate migrate'"):
        check_schema(engine)

    engine.dispose()
    assert not path.exists()


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM alembic_version WHERE version_num LIKE 'syndicate%'",
        "DELETE FROM alembic_version WHERE version_num LIKE 'subscribers%'",
        "INSERT INTO alembic_version VALUES ('of_the_future')",
    ],
)
def test_a_schema_of_another_version_is_refused(engine: Engine, statement: str) -> None:
    check_schema(engine)
    with writing(engine) as connection:
        connection.execute(text(statement))

    with pytest.raises(OperationError, match="does not have this version's schema"):
        check_schema(engine)


def test_an_error_about_the_schema_does_not_show_the_password(postgresql_url: str) -> None:
    engine = open_engine(postgresql_url)
    with writing(engine) as connection:
        connection.execute(text("DELETE FROM alembic_version"))
    engine.dispose()
    known = open_engine(postgresql_url.replace("://postgres:@", "://postgres:pass-word@"))
    assert known.url.password == "pass-word"

    with pytest.raises(OperationError) as caught:
        check_schema(known)

    known.dispose()
    assert "pass-word" not in str(caught.value)


def test_each_package_has_one_line_of_revisions() -> None:
    heads = ScriptDirectory.from_config(_alembic_config()).get_heads()

    assert sorted(head.rsplit("_", 1)[0] for head in heads) == ["subscribers", "syndicate"]


def test_revisions_import_nothing_of_ours_so_that_a_later_change_does_not_alter_them() -> None:
    folders = _alembic_config().get_version_locations_list()
    assert folders is not None
    files = [path for folder in folders for path in Path(folder).glob("*.py")]
    assert len(files) >= 2

    for path in files:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Import):
                imported = {name.name.split(".")[0] for name in node.names}
            elif isinstance(node, ast.ImportFrom):
                imported = {(node.module or ".").split(".")[0]}
            else:
                continue
            assert imported <= {"alembic", "sqlalchemy", "__future__"}, path
