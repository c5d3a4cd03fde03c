"""Answers that never come, and answers that ask to wait: ``python -m tests.faults.unclear --readers 10000``.

The relay drops the connection after the final dot for some readers, having accepted every other one of those
messages (RFC 1047); or it greylists some, which it accepts from five minutes on by the installation's clock.
"""

from __future__ import annotations

import argparse
import random
import sys
from collections import Counter
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Engine

from syndicate.model import DeliveryState, EditionState, UncertainPolicy
from syndicate.service.sending import send_edition
from tests.faults.databases import KINDS, open_database
from tests.faults.world import Account, address_of, list_rows, prepare, take_account
from tests.installation_builders import FakeClock, make_installation, relay_in_thread
from tests.smtp_server import ACCEPT_AND_DROP, DROP, ScriptedServer

__all__ = ["Greylisted", "GreylistingServer", "Unclear", "send_greylisted", "send_unclear"]

#: Runs, each of them half an hour after the one before, in which everything has to be over.
_MOST_RUNS: Final = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Unclear:
    """What answers that never came cost."""

    seed: int
    policy: UncertainPolicy
    swallowed: frozenset[str]  #: whose first copy was accepted without a word
    dropped: frozenset[str]  #: whose first copy was not
    uncertain: frozenset[str]  #: of whom the ledger says at the end that nobody knows
    state: EditionState
    account: Account

    def check(self) -> None:
        """Fails if somebody was lost, or doubled without need."""
        self.account.check()
        if self.policy is UncertainPolicy.RESEND:
            assert (self.state, self.uncertain) == (EditionState.SENT, frozenset()), self
            assert self.account.twice == dict.fromkeys(self.swallowed, 1), self
            assert all(self.account.copies.values()), self
        else:
            assert (self.state, self.account.duplicates) == (EditionState.HELD, 0), self
            assert self.uncertain == self.swallowed | self.dropped, self
            assert {a for a, count in self.account.copies.items() if not count} == self.dropped, self

    def __str__(self) -> str:
        return (
            f"{self.policy}, seed {self.seed}: {len(self.swallowed)} swallowed, {len(self.dropped)} dropped, "
            f"{len(self.uncertain)} uncertain at the end; {self.account}"
        )


def send_unclear(
    engine: Engine, folder: Path, *, readers: int, policy: UncertainPolicy, seed: int, share: float = 0.05
) -> Unclear:
    """Sends an edition while the connection is dropped after the dot of some messages, once for each."""
    hit = random.Random(seed).sample([address_of(n) for n in range(readers)], round(readers * share))
    swallowed, dropped = frozenset(hit[::2]), frozenset(hit[1::2])
    script = {a: {"dot": [ACCEPT_AND_DROP]} for a in swallowed} | {a: {"dot": [DROP]} for a in dropped}
    clock = FakeClock()
    edition = prepare(engine, folder, readers, clock=clock, policy=policy)
    with relay_in_thread(recipients=script) as relay:
        inst = make_installation(engine, folder, port=relay.port, clock=clock, connections=8)
        for _ in range(_MOST_RUNS):
            state = send_edition(inst, edition.id).edition.state
            if state is not EditionState.SENDING:
                break
            clock.move(minutes=30)
        account = take_account(engine, edition.id, relay.accepted)
    uncertain = (r.address for r in list_rows(engine, edition.id) if r.state is DeliveryState.UNCERTAIN)
    return Unclear(
        seed=seed,
        policy=policy,
        swallowed=swallowed,
        dropped=dropped,
        uncertain=frozenset(uncertain),
        state=state,
        account=account,
    )


class GreylistingServer(ScriptedServer):
    """Says 451 to some readers until five minutes after their first try."""

    def __init__(self, clock: FakeClock, greylisted: frozenset[str]) -> None:
        super().__init__()
        self.tries: Counter[str] = Counter()
        self._clock, self._greylisted = clock, greylisted
        self._first_at: dict[str, datetime] = {}

    def _next(self, wire: Any, stage: str, recipient: str = "", default: str = "") -> str:
        if stage == "rcpt":
            self.tries[recipient] += 1
            first_at = self._first_at.setdefault(recipient, self._clock.at)
            if recipient in self._greylisted and self._clock.at < first_at + timedelta(minutes=5):
                return "451 4.7.1 greylisted, come again in five minutes"
        return super()._next(wire, stage, recipient, default)


@dataclass(frozen=True, slots=True, kw_only=True)
class Greylisted:
    """What greylisting cost."""

    greylisted: frozenset[str]
    tries: Counter[str]
    state: EditionState
    account: Account

    def check(self) -> None:
        """Fails if somebody was not served, or tried too often."""
        self.account.check()
        assert self.state is EditionState.SENT, self
        assert set(self.account.copies.values()) == {1}, self
        assert max(self.tries[address] for address in self.greylisted) <= 3, self
        assert all(self.tries[a] == 1 for a in self.account.copies if a not in self.greylisted), self

    def __str__(self) -> str:
        most = max(self.tries.values())
        return f"{len(self.greylisted)} greylisted, {most} tries at the most; {self.account}"


def send_greylisted(engine: Engine, folder: Path, *, readers: int, share: float = 0.3) -> Greylisted:
    """Sends an edition of which some readers are greylisted, and comes back whenever it says."""
    clock = FakeClock()
    edition = prepare(engine, folder, readers, clock=clock)
    greylisted = frozenset(address_of(n) for n in range(round(readers * share)))
    relay = GreylistingServer(clock, greylisted)
    with relay_in_thread(server=relay):
        inst = make_installation(engine, folder, port=relay.port, clock=clock, connections=8)
        for _ in range(_MOST_RUNS):
            report = send_edition(inst, edition.id)
            if report.next_attempt_at is None:
                break
            clock.at = max(clock.at + timedelta(seconds=20), report.next_attempt_at)
        account = take_account(engine, edition.id, relay.accepted)
    return Greylisted(greylisted=greylisted, tries=relay.tries, state=report.edition.state, account=account)


def main() -> None:
    """Prints the figures; fails if the promise was not kept."""
    parser = argparse.ArgumentParser(description="Answers that never come, and answers that ask to wait.")
    parser.add_argument("--readers", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--database", choices=KINDS, default="sqlite")
    given = parser.parse_args()
    for policy in UncertainPolicy:
        with open_database(given.database) as database:
            unclear = send_unclear(
                database.engine,
                database.folder,
                readers=given.readers,
                policy=policy,
                seed=given.seed,
            )
        sys.stdout.write(f"{given.database}: {unclear}\n")
        unclear.check()
    with open_database(given.database) as database:
        greylisted = send_greylisted(database.engine, database.folder, readers=max(10, given.readers // 10))
    sys.stdout.write(f"{given.database}: {greylisted}\n")
    greylisted.check()


if __name__ == "__main__":
    main()
