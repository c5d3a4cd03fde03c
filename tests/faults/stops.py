"""Asks senders to stop at random instants: ``python -m tests.faults.stops --stops 50``.

Each is a process of its own that gets SIGTERM, and its successor sends what it left. Nothing comes twice and
nothing is unclear: a stop is no crash.
"""

from __future__ import annotations

import argparse
import random
import signal
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from sqlalchemy import Engine

from syndicate.model import DeliveryState, EditionState
from tests.faults.databases import KINDS, open_database
from tests.faults.kill import WINDOW, SlowServer
from tests.faults.processes import Orders, send_until_stopped, start
from tests.faults.world import Account, list_rows, prepare, state_of, take_account
from tests.installation_builders import relay_in_thread

__all__ = ["Figures", "ask_senders_to_stop"]

#: Within which a sender has to be gone.
PATIENCE_S: Final = 30.0


@dataclass
class Figures:
    """What the stops cost."""

    seed: int
    stops: int = 0
    slowest_s: float = 0.0  #: from the signal to the end of the process
    problems: list[str] = field(default_factory=list)
    account: Account | None = None

    def check(self) -> None:
        """Fails if the promise was not kept."""
        assert self.account is not None
        self.account.check()
        assert self.problems == [], self
        assert set(self.account.copies.values()) == {1}, self


def ask_senders_to_stop(engine: Engine, folder: Path, *, stops: int, readers: int, seed: int) -> Figures:
    """Sends an edition to the end while its senders are asked to stop."""
    figures, dice = Figures(seed=seed), random.Random(seed)
    edition = prepare(engine, folder, readers)
    with relay_in_thread(server=SlowServer(seed=seed)) as relay:
        orders = Orders.on(engine, folder, port=relay.port, edition_id=edition.id, window=WINDOW)
        while figures.stops < stops and state_of(engine, edition.id) is not EditionState.SENT:
            process = start(send_until_stopped, orders)
            left = (readers - len(relay.accepted)) / (stops - figures.stops + 1)
            target = len(relay.accepted) + dice.randint(1, max(1, round(left * 1.5)))
            while len(relay.accepted) < target and process.is_alive():
                time.sleep(0.001)
            time.sleep(dice.uniform(0, 0.02))
            asked_s = time.monotonic()
            process.terminate()
            process.join(PATIENCE_S)
            figures.slowest_s = max(figures.slowest_s, time.monotonic() - asked_s)
            # It may have come to its end by itself, and be met by the signal on its way out.
            if process.exitcode not in {0, -signal.SIGTERM}:
                figures.problems.append(f"a sender ended with {process.exitcode}")
                process.kill()
            figures.stops += 1
            unclear = {DeliveryState.ATTEMPTING, DeliveryState.UNCERTAIN, DeliveryState.FAILED}
            if found := [row.address for row in list_rows(engine, edition.id) if row.state in unclear]:
                figures.problems.append(f"a stop left {len(found)} readers unclear")
        last = start(send_until_stopped, orders)
        last.join()
        assert state_of(engine, edition.id) is EditionState.SENT
        figures.account = take_account(engine, edition.id, relay.accepted)
    return figures


def main() -> None:
    """Prints the figures; fails if the promise was not kept."""
    parser = argparse.ArgumentParser(description="Ask senders to stop at random instants.")
    parser.add_argument("--stops", type=int, default=50)
    parser.add_argument("--readers", type=int, default=5_000)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--database", choices=KINDS, default="sqlite")
    given = parser.parse_args()
    with open_database(given.database) as database:
        figures = ask_senders_to_stop(
            database.engine, database.folder, stops=given.stops, readers=given.readers, seed=given.seed
        )
    sys.stdout.write(f"{given.database}: {figures}\n")
    figures.check()


if __name__ == "__main__":
    main()
