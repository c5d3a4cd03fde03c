"""Kills the sender at every named point: ``python -m tests.faults.points --readers 50``.

The points on the wire are found by the relay, which kills the sender and does nothing more before that is
gone; those at the database by the sender, which kills itself. So each run is exact: which reader was
hit, what the ledger says of that reader, and how many copies there are in the end. Besides, opening and
sending are killed at every statement and commit in turn.
"""

from __future__ import annotations

import argparse
import itertools
import os
import signal
import sys
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Engine

from syndicate.model import Delivery, DeliveryState, UncertainPolicy
from syndicate.service.installation import Installation
from syndicate.service.sending import send_edition
from syndicate.storage import editions
from syndicate.storage.engine import reading
from tests.faults.databases import KINDS, open_database
from tests.faults.processes import (
    CommitCrash,
    Moment,
    Orders,
    StatementCrash,
    open_slot,
    send_once,
    start,
)
from tests.faults.world import (
    Account,
    ClockAhead,
    address_of,
    finish,
    list_rows,
    prepare,
    take_account,
    write_readers,
)
from tests.installation_builders import dump, make_installation, publish, relay_in_thread
from tests.smtp_server import HANG, ScriptedServer

__all__ = ["Figures", "Point", "crash_at", "crash_while_opening", "crash_while_sending"]

S = DeliveryState

LEASE_S: Final = 15.0

#: Attempts after which an unclear answer is not tried again by itself.
MOST_ATTEMPTS: Final = 3


class Point(StrEnum):
    """Where a sender dies, in the order of one attempt."""

    BEFORE_MARK = "before the mark's commit"
    AFTER_MARK = "after the mark's commit"
    MAIL = "after MAIL"
    RCPT = "after RCPT"
    DATA = "after DATA"
    DOT = "after the final dot, not accepted"
    ACCEPTED = "accepted, before the reply"
    BEFORE_RECORD = "after the reply, before the outcome's commit"
    AFTER_RECORD = "after the outcome's commit"


#: Points on the wire, by the relay's name for the stage.
_STAGES: Final = {Point.MAIL: "mail", Point.RCPT: "rcpt", Point.DATA: "data", Point.DOT: "dot"}

_CRASHES: Final = {
    Point.BEFORE_MARK: CommitCrash(state="attempting", moment=Moment.BEFORE),
    Point.AFTER_MARK: CommitCrash(state="attempting", moment=Moment.AFTER),
    Point.BEFORE_RECORD: CommitCrash(state="sent", moment=Moment.BEFORE),
    Point.AFTER_RECORD: CommitCrash(state="sent", moment=Moment.AFTER),
}

#: What the ledger says of the reader who was hit.
_LEFT_IN: Final = dict.fromkeys(Point, S.ATTEMPTING) | {
    Point.BEFORE_MARK: S.PENDING,
    Point.AFTER_RECORD: S.SENT,
}

#: Where the relay has the message and no record says so: each kill there costs a copy. Nowhere else one does.
DOUBLING: Final = frozenset({Point.ACCEPTED, Point.BEFORE_RECORD})


class DeadlyServer(ScriptedServer):
    """Kills the sender when it comes to a point, and then waits until it is gone."""

    def __init__(self) -> None:
        super().__init__()
        self.point: Point | None = None
        self._victim = 0
        self._has_victim = threading.Event()

    def hunt(self, victim: int | None) -> None:
        """Names the process to be killed; None: there is none yet."""
        self._has_victim.clear()
        if victim is not None:
            self._victim = victim
            self._has_victim.set()

    def _next(self, wire: Any, stage: str, recipient: str = "", default: str = "") -> str:
        if self.point is not None and stage == _STAGES.get(self.point):
            return self._kill()
        return super()._next(wire, stage, recipient, default)

    async def _write(self, wire: Any, says: str) -> int:
        if self.point is Point.ACCEPTED and says == "250 2.0.0 queued":
            says = self._kill()
        return await super()._write(wire, says)

    def _kill(self) -> str:
        assert self._has_victim.wait(10)
        os.kill(self._victim, signal.SIGKILL)
        return HANG  # which ends with the connection


@dataclass
class Figures:
    """What the kills at one point cost."""

    point: str
    in_a_row: int
    kills: int = 0
    undecided: int = 0
    account: Account | None = None
    hits: Counter[str] = field(default_factory=Counter, repr=False)  #: kills by the reader who was hit

    def check(self) -> None:
        """Fails if the promise was not kept, or if a kill cost a copy where it must not."""
        assert self.account is not None
        self.account.check()
        costs = self.point in DOUBLING
        assert self.account.copies == {a: 1 + costs * self.hits[a] for a in self.account.copies}, self


def crash_at(point: Point, engine: Engine, folder: Path, *, readers: int, in_a_row: int) -> Figures:
    """Sends an edition to the end while for each reader the sender dies at a point, some times in a row."""
    figures, clock = Figures(point=point, in_a_row=in_a_row), ClockAhead()
    edition = prepare(engine, folder, readers, clock=clock)
    with relay_in_thread(server=DeadlyServer()) as relay:
        assert isinstance(relay, DeadlyServer)
        inst = make_installation(engine, folder, port=relay.port, clock=clock, connections=1, lease_s=LEASE_S)
        while (row := _next_reader(engine, edition.id)) is not None:
            if figures.hits[row.address] < in_a_row:
                orders = Orders.on(
                    engine,
                    folder,
                    port=relay.port,
                    edition_id=edition.id,
                    window=1,
                    lease_s=LEASE_S,
                    ahead_s=clock.ahead_s,
                    crash=_CRASHES.get(point),
                )
                _crash(relay, point, orders)
                figures.kills += 1
                figures.hits[row.address] += 1
                _check_ledger(engine, row, point)
                clock.move(LEASE_S + 1)
            else:
                _send_to_one(inst, relay, edition.id)
        figures.undecided = finish(inst, edition.id)
        figures.account = take_account(engine, edition.id, relay.accepted)
    return figures


def _next_reader(engine: Engine, edition_id: int) -> Delivery | None:
    """Whom a sender that starts now attempts first."""
    for row in list_rows(engine, edition_id):
        is_stuck = row.state in {S.ATTEMPTING, S.UNCERTAIN} and row.attempts >= MOST_ATTEMPTS
        if row.state is not S.SENT and not is_stuck:
            return row
    return None


def _crash(relay: DeadlyServer, point: Point, orders: Orders) -> None:
    relay.hunt(None)
    relay.point = point
    process = start(send_once, orders)
    relay.hunt(process.pid)
    process.join()
    relay.point = None
    assert process.exitcode == -signal.SIGKILL, (point, process.exitcode)


def _check_ledger(engine: Engine, hit: Delivery, point: Point) -> None:
    rows = list_rows(engine, hit.edition_id)
    marked = [row.address for row in rows if row.state is S.ATTEMPTING]
    assert len(marked) <= 1, (point, marked)
    [after] = [row for row in rows if row.subscriber_id == hit.subscriber_id]
    assert after.state is _LEFT_IN[point], (point, hit, after)


def _send_to_one(inst: Installation, relay: ScriptedServer, edition_id: int) -> None:
    before = len(relay.accepted)
    send_edition(inst, edition_id, should_stop=lambda: len(relay.accepted) > before)


def crash_while_opening(engine: Engine, folder: Path, *, readers: int, stride: int = 1) -> int:
    """Kills an opening at each statement in turn: nothing of it is there, or all of it. Returns how many."""
    clock = ClockAhead()
    inst = make_installation(engine, folder, clock=clock)
    _, source_id = write_readers(inst, readers, policy=UncertainPolicy.RESEND)
    publish(inst, source_id, "Coast")
    before = dump(engine)
    for number in itertools.count(1, stride):
        process = start(open_slot, Orders.on(engine, folder, crash=StatementCrash(number=number)))
        process.join()
        if dump(engine) != before:
            break
        assert process.exitcode == -signal.SIGKILL, process.exitcode
    with reading(engine) as conn:
        [edition] = editions.list_editions(conn)
    with relay_in_thread() as relay:
        served = make_installation(engine, folder, port=relay.port, clock=clock)
        assert finish(served, edition.id) == 0
        account = take_account(engine, edition.id, relay.accepted)
    account.check()
    assert account.copies == {address_of(n): 1 for n in range(readers)}
    return number


@dataclass
class Run:
    """What kills at each statement of a sender cost."""

    kills: int
    account: Account


def crash_while_sending(
    engine: Engine, folder: Path, *, readers: int, window: int = 2, stride: int = 1
) -> Run:
    """Kills sender after sender, each one statement later than the one before: while it takes over what that
    one left, while it sends, and while it ends.
    """
    clock = ClockAhead()
    edition = prepare(engine, folder, readers, clock=clock)
    flagged: Counter[str] = Counter()
    with relay_in_thread() as relay:
        for number in itertools.count(1, stride):
            orders = Orders.on(
                engine,
                folder,
                port=relay.port,
                edition_id=edition.id,
                window=window,
                lease_s=LEASE_S,
                ahead_s=clock.ahead_s,
                crash=StatementCrash(number=number),
            )
            process = start(send_once, orders)
            process.join()
            clock.move(LEASE_S + 1)
            take_account(engine, edition.id, relay.accepted).check()
            if process.exitcode != -signal.SIGKILL:
                break
            rows = list_rows(engine, edition.id)
            marked = [row.address for row in rows if row.state is S.ATTEMPTING]
            assert len(marked) <= window, marked
            flagged.update(marked)
        inst = make_installation(engine, folder, port=relay.port, clock=clock, connections=window)
        finish(inst, edition.id)
        account = take_account(engine, edition.id, relay.accepted)
    account.check()
    assert all(extra <= flagged[address] for address, extra in account.twice.items()), account
    return Run(number - 1, account)


def main() -> None:
    """Prints the figures; fails if the promise was not kept."""
    parser = argparse.ArgumentParser(description="Kill the sender at every named point.")
    parser.add_argument("--readers", type=int, default=50, help="Readers who are hit, at each point.")
    parser.add_argument("--database", choices=KINDS, default="sqlite")
    given = parser.parse_args()

    def run(work: Callable[[Engine, Path], object]) -> None:
        with open_database(given.database) as database:
            sys.stdout.write(f"{given.database}: {work(database.engine, database.folder)}\n")
            sys.stdout.flush()

    def at(point: Point, in_a_row: int) -> Callable[[Engine, Path], Figures]:
        def work(engine: Engine, folder: Path) -> Figures:
            figures = crash_at(point, engine, folder, readers=given.readers, in_a_row=in_a_row)
            figures.check()
            return figures

        return work

    for point, in_a_row in itertools.product(Point, (1, 2, 3)):
        run(at(point, in_a_row))
    run(
        lambda engine, folder: (
            f"opening killed {crash_while_opening(engine, folder, readers=given.readers)} times"
        )
    )
    run(lambda engine, folder: crash_while_sending(engine, folder, readers=given.readers))


if __name__ == "__main__":
    main()
