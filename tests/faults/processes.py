"""Senders in processes of their own, which can be killed, and can kill themselves at an exact instant.

Nothing in the product knows of it: the instants at the database are found by watching the engine's commits
and statements, those on the wire by the relay, which knows the sender's process.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import sqlite3
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Self

from sqlalchemy import Engine, event

from syndicate.cli.logs import configure_logs
from syndicate.cli.signals import stop_signals
from syndicate.errors import StateError
from syndicate.model import ANY_CADENCE, EditionState
from syndicate.service.editions import open_edition
from syndicate.service.installation import Installation
from syndicate.service.sending import send_edition
from syndicate.storage import newsletters
from syndicate.storage.engine import open_engine, reading
from tests.faults.world import ClockAhead, state_of
from tests.installation_builders import make_installation

__all__ = [
    "CommitCrash",
    "Moment",
    "Orders",
    "StatementCrash",
    "open_slot",
    "send_once",
    "send_until_over",
    "send_until_stopped",
    "start",
    "watch_commits",
    "watch_statements",
]

_context = multiprocessing.get_context("forkserver")
# What a child would otherwise import by itself, each time: six times what a start costs.
_context.set_forkserver_preload(
    [
        "pytest",
        "tests.faults.processes",
        "psycopg",
        "sqlalchemy.dialects.sqlite",
        "sqlalchemy.dialects.postgresql.psycopg",
    ]
)


class Moment(StrEnum):
    """On which side of a commit."""

    BEFORE = "before"
    AFTER = "after"


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitCrash:
    """Dies right before or after the first commit by which a delivery enters a state."""

    state: str
    moment: Moment

    def arm(self, engine: Engine) -> None:
        """Makes this process die there."""
        known: set[tuple[Any, ...]] = set()

        def look(connection: Any) -> bool:
            cursor = connection.cursor()
            cursor.execute(f"SELECT subscriber_id, attempts FROM delivery WHERE state = '{self.state}'")
            found = set(map(tuple, cursor.fetchall()))
            cursor.close()
            has_entered = bool(found - known)
            known.clear()
            known.update(found)
            return has_entered

        def die(_connection: Any, moment: Moment) -> None:
            if moment is self.moment:
                _die()

        connection = engine.raw_connection()
        look(connection)
        connection.rollback()
        connection.close()
        watch_commits(engine, die, look)


@dataclass(frozen=True, slots=True, kw_only=True)
class StatementCrash:
    """Dies at the n-th thing that it does to the database: a statement, or either side of a commit."""

    number: int

    def arm(self, engine: Engine) -> None:
        """Makes this process die there."""
        left = self.number

        def count(*_arguments: Any) -> None:
            nonlocal left
            left -= 1
            if not left:
                _die()

        watch_statements(engine, before=count)
        watch_commits(engine, lambda _connection, _moment: count(), lambda _connection: True)


def watch_statements(
    engine: Engine,
    *,
    before: Callable[[], object] = lambda: None,
    on_error: Callable[[], object] = lambda: None,
) -> None:
    """Calls ``before`` at each statement, whichever way it goes to the driver, and ``on_error`` if it fails;
    so it does if a commit fails. The engine has no connection yet.
    """

    class Watched:
        def execute(self, *arguments: Any, **options: Any) -> Any:
            return self._watched(super().execute, *arguments, **options)  # type: ignore[misc]  # a cursor has it

        def executemany(self, *arguments: Any, **options: Any) -> Any:
            return self._watched(super().executemany, *arguments, **options)  # type: ignore[misc]  # and this

        def _watched(self, execute: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
            before()
            try:
                return execute(*arguments, **options)
            except Exception:
                on_error()
                raise

    commit = engine.dialect.do_commit

    def do_commit(connection: Any) -> None:
        try:
            commit(connection)
        except Exception:
            on_error()
            raise

    engine.dialect.do_commit = do_commit  # type: ignore[method-assign,assignment]  # of this object only
    options = _connect_options(engine, Watched)
    event.listen(engine, "do_connect", lambda _dialect, _record, _args, given: given.update(options))


def _connect_options(engine: Engine, watched: type) -> dict[str, Any]:
    """What makes the driver's connections have cursors with this class before their own."""
    if engine.dialect.name == "postgresql":
        from psycopg import Cursor  # noqa: PLC0415 - most of what uses this has no use for it

        return {"cursor_factory": type("Watched", (watched, Cursor), {})}
    cursors = type("Watched", (watched, sqlite3.Cursor), {})

    class Connection(sqlite3.Connection):
        def cursor(self, factory: Any = cursors) -> Any:
            return super().cursor(factory)

    return {"factory": Connection}


def watch_commits(
    engine: Engine, act: Callable[[Any, Moment], object], is_meant: Callable[[Any], bool]
) -> None:
    """Calls ``act`` before and after each commit of which ``is_meant`` says so; both get the driver's
    connection.
    """
    commit = engine.dialect.do_commit

    def do_commit(connection: Any) -> None:
        meant = is_meant(connection)
        if meant:
            act(connection, Moment.BEFORE)
        commit(connection)
        if meant:
            act(connection, Moment.AFTER)

    # The engine is the test's own.
    engine.dialect.do_commit = do_commit  # type: ignore[method-assign,assignment]  # of this object only


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Orders:
    """What a sender is to do."""

    url: str
    folder: Path
    edition_id: int = 0  #: none for opening one
    port: int = 9
    window: int = 8
    connections: int | None = None  #: None: as many as the window
    lease_s: float = 15.0
    ahead_s: float = 0.0  #: how far its clock is ahead
    crash: CommitCrash | StatementCrash | None = None

    @classmethod
    def on(cls, engine: Engine, folder: Path, **details: Any) -> Self:
        """Orders for the database of an engine."""
        return cls(url=engine.url.render_as_string(hide_password=False), folder=folder, **details)

    def installation(self) -> Installation:
        """The installation, on an engine of this process."""
        engine = open_engine(self.url)
        if self.crash is not None:
            self.crash.arm(engine)
        return make_installation(
            engine,
            self.folder,
            port=self.port,
            clock=ClockAhead(self.ahead_s),
            connections=self.connections or self.window,
            window=self.window,
            lease_s=self.lease_s,
        )


def start(target: Callable[[Orders], None], orders: Orders) -> Any:
    """A new process that carries out orders."""
    process = _context.Process(target=_quietly, args=(target, orders), daemon=True)
    process.start()
    return process


def _quietly(target: Callable[[Orders], None], orders: Orders) -> None:
    configure_logs(logging.ERROR)
    target(orders)


def send_once(orders: Orders) -> None:
    """One run over the edition."""
    send_edition(orders.installation(), orders.edition_id)


def send_until_over(orders: Orders) -> None:
    """Runs over the edition until it is sent, whoever sends it."""
    inst = orders.installation()
    while state_of(inst.engine, orders.edition_id) in {EditionState.APPROVED, EditionState.SENDING}:
        try:
            send_edition(inst, orders.edition_id)
        except StateError:  # another one has it, or has taken it over
            time.sleep(0.05)


def send_until_stopped(orders: Orders) -> None:
    """One run over the edition, which SIGTERM ends in good order."""
    inst = orders.installation()
    with stop_signals() as should_stop:
        send_edition(inst, orders.edition_id, should_stop=should_stop)


def open_slot(orders: Orders) -> None:
    """Opens the edition of a slot."""
    inst = orders.installation()
    with reading(inst.engine) as conn:
        newsletter = newsletters.get_newsletter(conn, "tide")
    open_edition(inst, newsletter, cadence=ANY_CADENCE, slot="slot", reason="a test")
