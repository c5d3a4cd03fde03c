"""Kills the sender at random instants and counts what it cost: ``python -m tests.faults.kill --kills 200``.

Each sender is a process that is ended by SIGKILL. Its successor does not wait for the lease: its clock is
ahead by as much.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import signal
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import Engine

from syndicate.model import DeliveryState
from tests.faults.databases import KINDS, open_database
from tests.faults.processes import Orders, send_once, start
from tests.faults.world import Account, ClockAhead, finish, list_rows, prepare, take_account
from tests.installation_builders import make_installation, relay_in_thread
from tests.smtp_server import ScriptedServer

__all__ = ["WINDOW", "Figures", "SlowServer", "kill_senders"]

WINDOW = 8
LEASE_S = 15.0


class SlowServer(ScriptedServer):
    """Lets recipients and accepted messages wait for their answer, for up to some milliseconds."""

    def __init__(self, *, slowness_s: float = 0.01, seed: int = 1) -> None:
        super().__init__()
        self._slowness_s, self._random = slowness_s, random.Random(seed)

    async def _write(self, wire: Any, says: str) -> int:
        if says.startswith(("250 2.1.5", "250 2.0.0 queued")):
            await asyncio.sleep(self._random.uniform(0, self._slowness_s))
        return await super()._write(wire, says)


@dataclass
class Figures:
    """What the kills cost."""

    seed: int
    kills: int = 0
    most_in_a_kill: int = 0  #: mails that a kill left accepted and not on record
    unflagged: int = 0  #: duplicates that were not under way when a sender was killed
    undecided: int = 0  #: readers whom three kills in a row had hit
    account: Account | None = None
    problems: list[str] = field(default_factory=list)
    flagged: Counter[str] = field(default_factory=Counter, repr=False)  #: how often under way at a kill

    def check(self) -> None:
        """Fails if the promise was not kept."""
        assert self.account is not None
        self.account.check()
        assert self.problems == [], self
        assert self.unflagged == 0, self
        assert self.most_in_a_kill <= WINDOW, self
        assert self.account.duplicates <= self.kills * WINDOW, self

    def look(self, engine: Engine, edition_id: int, relay: ScriptedServer, before: int) -> None:
        """After a kill: what is marked is what may come twice, nothing is ``sent`` that was not accepted."""
        account = take_account(engine, edition_id, relay.accepted)
        rows = list_rows(engine, edition_id)
        marked = {row.address for row in rows if row.state is DeliveryState.ATTEMPTING}
        if len(marked) > WINDOW:
            self.problems.append(f"{len(marked)} rows were marked at once")
        if account.false_sent:
            self.problems.append(f"{account.false_sent} rows are sent that were not accepted")
        self.flagged.update(marked)
        taken = {mail.recipient for mail in relay.accepted[before:]}
        self.most_in_a_kill = max(self.most_in_a_kill, len(taken & marked))


def kill_senders(engine: Engine, folder: Path, *, kills: int, readers: int, seed: int) -> Figures:
    """Sends an edition to the end while its senders are killed, and tells what came of it."""
    figures, dice = Figures(seed=seed), random.Random(seed)
    clock = ClockAhead()
    edition = prepare(engine, folder, readers, clock=clock)
    with relay_in_thread(server=SlowServer(seed=seed)) as relay:
        while figures.kills < kills:
            before = len(relay.accepted)
            orders = Orders.on(
                engine,
                folder,
                port=relay.port,
                edition_id=edition.id,
                window=WINDOW,
                lease_s=LEASE_S,
                ahead_s=clock.ahead_s,
            )
            process = start(send_once, orders)
            # So that the kills are spread over what is left.
            left = (readers - len({m.recipient for m in relay.accepted})) / (kills - figures.kills + 1)
            target = before + dice.randint(1, max(1, round(left * 1.5)))
            while len(relay.accepted) < target and process.is_alive():
                time.sleep(0.001)
            time.sleep(dice.uniform(0, 0.02))
            process.kill()
            process.join()
            if process.exitcode == 0:
                break  # it was done before
            if process.exitcode != -signal.SIGKILL:
                figures.problems.append(f"a sender ended with {process.exitcode}")
            figures.kills += 1
            figures.look(engine, edition.id, relay, before)
            clock.move(LEASE_S + 1)
        inst = make_installation(engine, folder, port=relay.port, clock=clock, connections=WINDOW)
        figures.undecided = finish(inst, edition.id)
        figures.account = take_account(engine, edition.id, relay.accepted)
    figures.unflagged = sum(
        max(0, extra - figures.flagged[address]) for address, extra in figures.account.twice.items()
    )
    return figures


def main() -> None:
    """Prints the figures; fails if the promise was not kept."""
    parser = argparse.ArgumentParser(description="Kill the sender, count lost and double mails.")
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--readers", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--database", choices=KINDS, default="sqlite")
    given = parser.parse_args()
    with open_database(given.database) as database:
        figures = kill_senders(
            database.engine, database.folder, kills=given.kills, readers=given.readers, seed=given.seed
        )
    sys.stdout.write(f"{given.database}: {figures}\n")
    figures.check()


if __name__ == "__main__":
    main()
