"""What the proofs share: an edition for many readers, its end, and the account of what every reader got.

The oracle is the relay: what it accepted, it accepted, whatever the ledger says.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, text

from syndicate.model import Delivery, DeliveryState, Edition, EditionState, UncertainPolicy
from syndicate.service.editions import retry_edition
from syndicate.service.installation import Installation, utc_now
from syndicate.service.sending import send_edition
from syndicate.storage import deliveries, editions
from syndicate.storage.engine import reading, writing
from tests.builders import add_newsletter, add_reader, add_source
from tests.installation_builders import make_installation, message_id_of, open_now, publish
from tests.smtp_server import Accepted

__all__ = [
    "OPEN",
    "Account",
    "ClockAhead",
    "address_of",
    "finish",
    "list_rows",
    "prepare",
    "state_of",
    "take_account",
    "write_readers",
]

#: States in which a reader's copy is not settled.
OPEN = frozenset(
    {DeliveryState.PENDING, DeliveryState.ATTEMPTING, DeliveryState.DEFERRED, DeliveryState.UNCERTAIN}
)

#: Runs after which an edition that is not finished never will be.
_MOST_RUNS = 20


@dataclass
class ClockAhead:
    """The wall clock and some time on top of it: whose predecessor was killed need not wait for the lease."""

    ahead_s: float = 0.0

    def __call__(self) -> datetime:
        return utc_now() + timedelta(seconds=self.ahead_s)

    def move(self, seconds: float) -> None:
        self.ahead_s += seconds


def address_of(number: int) -> str:
    """The address of a reader of ``prepare``."""
    return f"r{number}@example.com"


def write_readers(inst: Installation, readers: int, *, policy: UncertainPolicy) -> tuple[Any, int]:
    """A newsletter with so many readers; it and the number of its source."""
    now = inst.clock()
    with writing(inst.engine) as conn:
        source = add_source(conn, now)
        newsletter = add_newsletter(conn, now, draws_from=[source.id], uncertain_policy=policy)
        for n in range(readers):
            add_reader(conn, newsletter.id, now, f"r{n}")
    return newsletter, source.id


def prepare(
    engine: Engine,
    folder: Path,
    readers: int,
    *,
    clock: Callable[[], datetime] = utc_now,
    policy: UncertainPolicy = UncertainPolicy.RESEND,
) -> Edition:
    """An open edition for so many readers, r0@example.com and so on."""
    inst = make_installation(engine, folder, clock=clock)
    newsletter, source_id = write_readers(inst, readers, policy=policy)
    publish(inst, source_id, "Coast")
    return open_now(inst, newsletter)


def list_rows(engine: Engine, edition_id: int) -> list[Delivery]:
    """The edition's ledger."""
    with reading(engine) as conn:
        return deliveries.list_deliveries(conn, edition_id)


def state_of(engine: Engine, edition_id: int) -> EditionState:
    """The edition's state."""
    with reading(engine) as conn:
        return editions.get_edition(conn, edition_id).state


def finish(inst: Installation, edition_id: int, *, lease_s: float = 3600.0) -> int:
    """Sends an edition to its end as an operator would; returns how many readers had to be decided about.

    The installation's clock is a ``ClockAhead``: it is moved past the leases of whoever is gone, and past
    the time for which a deferred reader waits.
    """
    assert isinstance(inst.clock, ClockAhead)
    undecided = 0
    for _ in range(_MOST_RUNS):
        state = state_of(inst.engine, edition_id)
        if state is EditionState.SENT:
            return undecided
        if state is EditionState.HELD:
            undecided += retry_edition(inst, edition_id, {DeliveryState.UNCERTAIN})
        inst.clock.move(lease_s)
        send_edition(inst, edition_id)
    raise AssertionError(
        f"edition {edition_id} is {state_of(inst.engine, edition_id)} after {_MOST_RUNS} runs"
    )


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Account:
    """What every reader of an edition got, by what the relay accepted."""

    readers: int
    copies: Mapping[str, int]  #: by address; everybody is there
    lost: int  #: got nothing, and are neither open nor settled with a reason
    false_sent: int  #: ``sent`` in the ledger, and not accepted
    strangers: int  #: mails to people who are not in the edition
    changed_copies: int  #: readers whose copies are not the same bytes
    shared_ids: int  #: readers who share a Message-ID
    integrity: str

    @property
    def duplicates(self) -> int:
        """Copies beyond the first ones."""
        return sum(max(0, count - 1) for count in self.copies.values())

    @property
    def twice(self) -> dict[str, int]:
        """Copies beyond the first one, of those who got any."""
        return {address: count - 1 for address, count in self.copies.items() if count > 1}

    def check(self) -> None:
        """Fails where the promise was not kept, whatever state the edition is in."""
        wrong = (self.lost, self.false_sent, self.strangers, self.changed_copies, self.shared_ids)
        assert (wrong, self.integrity) == ((0,) * 5, "ok"), self

    def __repr__(self) -> str:
        return (
            f"{self.readers} readers: lost {self.lost}, duplicates {self.duplicates}, false sent "
            f"{self.false_sent}, strangers {self.strangers}, changed copies {self.changed_copies}, "
            f"shared ids {self.shared_ids}, database {self.integrity}"
        )


def take_account(engine: Engine, edition_id: int, accepted: Sequence[Accepted]) -> Account:
    """Compares an edition's ledger with what the relay accepted."""
    rows = list_rows(engine, edition_id)
    mails: dict[str, list[bytes]] = defaultdict(list)
    for mail in accepted:
        mails[mail.recipient].append(mail.content)
    ids = {message_id_of(contents[0]) for contents in mails.values()}
    return Account(
        readers=len(rows),
        copies={row.address: len(mails[row.address]) for row in rows},
        lost=sum(not mails[row.address] and not _is_accounted_for(row) for row in rows),
        false_sent=sum(row.state is DeliveryState.SENT and not mails[row.address] for row in rows),
        strangers=len({a for a, contents in mails.items() if contents} - {row.address for row in rows}),
        changed_copies=sum(len(set(contents)) > 1 for contents in mails.values()),
        shared_ids=sum(bool(contents) for contents in mails.values()) - len(ids),
        integrity=_integrity(engine),
    )


def _is_accounted_for(row: Delivery) -> bool:
    return row.state in OPEN or (row.state is not DeliveryState.SENT and bool(row.reply))


def _integrity(engine: Engine) -> str:
    if engine.dialect.name != "sqlite":
        return "ok"
    with reading(engine) as conn:
        return str(conn.execute(text("PRAGMA integrity_check")).scalar_one())
