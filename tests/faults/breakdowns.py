"""A database that fails while an edition is sent: ``python -m tests.faults.breakdowns --times 20``.

The disk is full, the database is locked, its connections are cut, PostgreSQL is restarted, a commit fails, or
is done and said to have failed. A failure that passes is waited for; one that lasts ends the run in one line.
"""

from __future__ import annotations

import argparse
import itertools
import sqlite3
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Engine, event, text

from syndicate.errors import OperationError
from syndicate.model import DeliveryState, Newsletter, UncertainPolicy
from syndicate.service.sending import send_edition
from syndicate.storage.engine import open_engine
from tests.faults.databases import open_database
from tests.faults.processes import Moment, watch_commits, watch_statements
from tests.faults.world import Account, ClockAhead, finish, list_rows, take_account, write_readers
from tests.installation_builders import make_installation, open_now, publish, relay_in_thread
from tests.smtp_server import ScriptedServer

__all__ = ["Cut", "Failure", "FalseCommit", "Figures", "Full", "Locked", "World"]

S = DeliveryState

WINDOW: Final = 4

#: More messages than there are: what is to fail knows by itself when.
_NEVER: Final = 10**6

#: So that the ledger grows with each answer.
_LONG_REPLY: Final = "250 2.0.0 queued " + "x" * 440


class Failure:
    """A way for the sender's database to fail."""

    def watch(self, engine: Engine) -> None:
        """Called with the sender's engine before it is used."""

    def begin(self, engine: Engine) -> None:
        """Called when the relay has a message in its hands: it fails from now on."""

    def end(self) -> None:
        """It works again."""


class Full(Failure):
    """SQLite's file may grow by so many pages and no more."""

    def __init__(self, pages: int) -> None:
        self._pages, self._limit = pages, 0

    def watch(self, engine: Engine) -> None:
        event.listen(engine, "begin", self._limit_pages)

    def begin(self, engine: Engine) -> None:
        with engine.connect() as conn:
            self._limit = conn.execute(text("PRAGMA page_count")).scalar_one() + self._pages

    def end(self) -> None:
        self._limit = 2**32 - 2

    def _limit_pages(self, conn: Any) -> None:
        if self._limit:
            conn.exec_driver_sql(f"PRAGMA max_page_count={self._limit}")


class Locked(Failure):
    """Another connection to SQLite is in the middle of a write, for longer than anybody waits."""

    def watch(self, engine: Engine) -> None:
        event.listen(engine, "connect", lambda conn, _entry: conn.execute("PRAGMA busy_timeout=20"))

    def begin(self, engine: Engine) -> None:
        self._other = sqlite3.connect(str(engine.url.database), check_same_thread=False, isolation_level=None)
        self._other.execute("PRAGMA busy_timeout=30000")
        self._other.execute("BEGIN IMMEDIATE")

    def end(self) -> None:
        self._other.close()


class Cut(Failure):
    """PostgreSQL ends the sender's connections, at once and whenever it comes back."""

    def __init__(self) -> None:
        self._is_on = False

    def watch(self, engine: Engine) -> None:
        event.listen(engine, "begin", lambda conn: self._cut(conn.engine) if self._is_on else None)

    def begin(self, engine: Engine) -> None:
        self._is_on = True
        self._cut(engine)

    def end(self) -> None:
        self._is_on = False

    def _cut(self, engine: Engine) -> None:
        other = open_engine(engine.url.render_as_string(hide_password=False))
        with other.connect() as conn:
            conn.execute(
                text(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                    " WHERE datname = current_database() AND pid <> pg_backend_pid()"
                )
            )
        other.dispose()


class Restart(Failure):
    """PostgreSQL is restarted as after a power cut."""

    def __init__(self, restart: Callable[[], None]) -> None:
        self._restart = restart

    def begin(self, engine: Engine) -> None:  # noqa: ARG002 - it is the whole server
        self._restart()


class FalseCommit(Failure):
    """The n-th commit fails, or is done and said to have failed."""

    def __init__(self, number: int, moment: Moment) -> None:
        self._number, self._moment = number, moment
        self.commits = 0  #: how many there were

    def watch(self, engine: Engine) -> None:
        def act(_connection: Any, moment: Moment) -> None:
            self.commits += moment is Moment.BEFORE
            if (self.commits, moment) == (self._number, self._moment):
                raise engine.dialect.loaded_dbapi.OperationalError("nobody can know")

        watch_commits(engine, act, lambda _connection: True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What a failure cost."""

    error: str  #: how the run ended; empty: it outlived the failure
    marked: int  #: readers whom it left in the middle of an attempt
    unrecorded: int  #: of those, whose message was accepted
    account: Account  #: at the end

    def check(self) -> None:
        """Fails if the promise was not kept."""
        self.account.check()
        assert all(self.account.copies.values()), self
        assert "\n" not in self.error, self
        assert "Traceback" not in self.error, self
        assert self.marked <= WINDOW, self
        assert self.account.duplicates <= self.unrecorded, self


class _FailingRelay(ScriptedServer):
    """Lets the failure begin when it has so many messages, and the next one in its hands."""

    def __init__(self, begin: Callable[[], None], after: int) -> None:
        super().__init__(plan={"dot": _LONG_REPLY})
        self._begin, self._left = begin, after

    def _next(self, wire: Any, stage: str, recipient: str = "", default: str = "") -> str:
        if stage == "dot":
            self._left -= 1
            if self._left == -1:
                self._begin()
        return super()._next(wire, stage, recipient, default)


class World:
    """A newsletter with some readers, for one edition after the other."""

    def __init__(self, engine: Engine, folder: Path, readers: int) -> None:
        self._engine, self._folder, self._clock = engine, folder, ClockAhead()
        inst = make_installation(engine, folder, clock=self._clock)
        self._newsletter: Newsletter
        self._newsletter, self._source_id = write_readers(inst, readers, policy=UncertainPolicy.RESEND)

    def send(self, failure: Failure, *, after: int, lasts: bool) -> Figures:
        """Sends an edition during which the database fails: until the first error, or until the run is over.

        A later run sends the rest.
        """
        inst = make_installation(self._engine, self._folder, clock=self._clock)
        publish(inst, self._source_id)
        edition = open_now(inst, self._newsletter)
        engine = open_engine(self._engine.url.render_as_string(hide_password=False))
        if not lasts:
            watch_statements(engine, on_error=failure.end)
        failure.watch(engine)
        with relay_in_thread(server=_FailingRelay(lambda: failure.begin(engine), after)) as relay:
            sender = make_installation(
                engine,
                self._folder,
                port=relay.port,
                clock=self._clock,
                connections=WINDOW,
                stop_s=0 if lasts else 30,
            )
            error = ""
            try:
                send_edition(sender, edition.id)
            except OperationError as problem:
                error = str(problem)
            failure.end()
            engine.dispose()
            rows = list_rows(self._engine, edition.id)
            marked = {row.address for row in rows if row.state is S.ATTEMPTING}
            taken = {mail.recipient for mail in relay.accepted}
            take_account(self._engine, edition.id, relay.accepted).check()
            served = make_installation(
                self._engine, self._folder, port=relay.port, clock=self._clock, connections=WINDOW
            )
            finish(served, edition.id)
            account = take_account(self._engine, edition.id, relay.accepted)
        return Figures(error=error, marked=len(marked), unrecorded=len(marked & taken), account=account)


def main() -> None:
    """Prints the figures; fails if the promise was not kept."""
    parser = argparse.ArgumentParser(description="A database that fails while an edition is sent.")
    parser.add_argument("--times", type=int, default=20, help="How often each failure comes.")
    given = parser.parse_args()
    with open_database("sqlite") as database:
        world = World(database.engine, database.folder, 100)
        for n, lasts in itertools.product(range(given.times), (True, False)):
            failures: tuple[Failure, ...] = (Full(pages=n), Locked())
            for failure in failures:
                _tell("sqlite", failure, world.send(failure, after=4 * n, lasts=lasts))
        _fail_each_commit("sqlite", world, given.times)
    with open_database("postgresql") as database:
        world = World(database.engine, database.folder, 100)
        for n in range(given.times):
            failures = (Cut(), Restart(database.restart))
            for failure in failures:
                _tell("postgresql", failure, world.send(failure, after=4 * n, lasts=False))
        _fail_each_commit("postgresql", world, given.times)


def _fail_each_commit(kind: str, world: World, times: int) -> None:
    for n, moment in itertools.product(range(1, times + 1), Moment):
        failure = FalseCommit(n, moment)
        _tell(kind, failure, world.send(failure, after=_NEVER, lasts=False))


def _tell(kind: str, failure: Failure, figures: Figures) -> None:
    sys.stdout.write(f"{kind}: {type(failure).__name__}: {figures}\n")
    sys.stdout.flush()
    figures.check()


if __name__ == "__main__":
    main()
