"""Two senders of one edition, stopped past their leases: ``python -m tests.faults.two_senders --stops 50``.

Both run until the edition is sent. Again and again one of them is stopped (SIGSTOP) until its leases are over
and somebody else may have its readers, and then continued: it wakes up in the middle of what it was doing,
with messages in its hands, and knows nothing of it.
"""

from __future__ import annotations

import argparse
import itertools
import os
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final
from unittest import mock

from sqlalchemy import Engine

from syndicate.model import DeliveryState, EditionState
from syndicate.service.editions import retry_edition
from tests.faults.databases import KINDS, open_database
from tests.faults.kill import SlowServer
from tests.faults.processes import Orders, send_until_over, start
from tests.faults.world import Account, list_rows, prepare, state_of, take_account
from tests.installation_builders import make_installation, relay_in_thread
from tests.smtp_server import ScriptedServer

__all__ = ["Figures", "stop_senders"]

S = DeliveryState

WINDOW: Final = 4
LEASE_S: Final = 1.0  # the shortest that the settings allow
PATIENCE_S: Final = 120.0

#: Readers in a shard, so that both have some of a small edition.
SHARD_SIZE: Final = 10


@dataclass
class Figures:
    """What the stops cost."""

    seed: int
    stops: int = 0
    unflagged: int = 0  #: duplicates that were not in the hands of a sender when it was stopped
    exit_codes: list[int] = field(default_factory=list)
    account: Account | None = None
    flagged: Counter[str] = field(default_factory=Counter, repr=False)

    def check(self) -> None:
        """Fails if the promise was not kept."""
        assert self.account is not None
        self.account.check()
        assert all(self.account.copies.values()), self
        assert self.account.duplicates <= self.stops * WINDOW, self
        assert (self.unflagged, self.exit_codes) == (0, [0, 0]), self


def stop_senders(engine: Engine, folder: Path, *, stops: int, readers: int, seed: int) -> Figures:
    """Sends an edition with two senders of which one after the other is stopped past its leases."""
    figures, dice = Figures(seed=seed), random.Random(seed)
    with mock.patch("syndicate.storage.shards.SHARD_SIZE", SHARD_SIZE):
        edition = prepare(engine, folder, readers)
    with relay_in_thread(server=SlowServer(slowness_s=0.02, seed=seed)) as relay:
        inst = make_installation(engine, folder, port=relay.port)
        orders = Orders.on(
            engine, folder, port=relay.port, edition_id=edition.id, window=WINDOW, lease_s=LEASE_S
        )
        senders = [start(send_until_over, orders) for _ in range(2)]
        for stop, sender in zip(range(stops), itertools.cycle(senders), strict=False):
            mails = len(relay.accepted) + dice.randint(1, max(1, readers // (stops + 1)))
            _wait(partial(_has_come_to, mails, relay, engine, edition.id))
            if not _is_sending(engine, edition.id) or not sender.is_alive():
                break
            _stop(engine, edition.id, sender, figures)
            figures.stops = stop + 1
        _wait(lambda: not _is_sending(engine, edition.id))
        for sender in senders:
            sender.join(PATIENCE_S)
            figures.exit_codes.append(sender.exitcode)
        if state_of(engine, edition.id) is EditionState.HELD:
            # Whom three stops in a row had hit, the operator decides about.
            retry_edition(inst, edition.id, {S.UNCERTAIN})
            last = start(send_until_over, orders)
            last.join(PATIENCE_S)
        figures.account = take_account(engine, edition.id, relay.accepted)
        assert state_of(engine, edition.id) is EditionState.SENT
    figures.unflagged = sum(
        max(0, extra - figures.flagged[address]) for address, extra in figures.account.twice.items()
    )
    return figures


def _stop(engine: Engine, edition_id: int, sender: Any, figures: Figures) -> None:
    os.kill(sender.pid, signal.SIGSTOP)
    try:
        # What the other one has in its hands goes on; what stays is the stopped one's.
        first = _marked(engine, edition_id)
        time.sleep(LEASE_S / 2)
        stuck = first & _marked(engine, edition_id)
        assert len(stuck) <= WINDOW, stuck
        figures.flagged.update(address for address, _ in stuck)
        time.sleep(LEASE_S)
    finally:
        os.kill(sender.pid, signal.SIGCONT)


def _marked(engine: Engine, edition_id: int) -> set[tuple[str, int]]:
    rows = list_rows(engine, edition_id)
    return {(row.address, row.attempts) for row in rows if row.state is S.ATTEMPTING}


def _is_sending(engine: Engine, edition_id: int) -> bool:
    return state_of(engine, edition_id) in {EditionState.APPROVED, EditionState.SENDING}


def _has_come_to(mails: int, relay: ScriptedServer, engine: Engine, edition_id: int) -> bool:
    return len(relay.accepted) >= mails or not _is_sending(engine, edition_id)


def _wait(condition: Callable[[], bool]) -> None:
    until_s = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < until_s, "it did not happen"
        time.sleep(0.01)


def main() -> None:
    """Prints the figures; fails if the promise was not kept."""
    parser = argparse.ArgumentParser(description="Stop two senders past their leases and continue them.")
    parser.add_argument("--stops", type=int, default=50)
    parser.add_argument("--readers", type=int, default=5_000)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--database", choices=KINDS, default="sqlite")
    given = parser.parse_args()
    with open_database(given.database) as database:
        figures = stop_senders(
            database.engine, database.folder, stops=given.stops, readers=given.readers, seed=given.seed
        )
    sys.stdout.write(f"{given.database}: {figures}\n")
    figures.check()


if __name__ == "__main__":
    main()
