"""One sender's hold on an edition's ledger: it takes shards, marks readers, records outcomes.

    step: record what is known, mark who is next    one durable commit

Synchronous and for one thread at a time. Knows no relay: who is next among those it has found is said by the
caller, and so is what became of them.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import chain
from operator import attrgetter
from typing import Final, TypeVar

import structlog
from sqlalchemy import Connection

from syndicate.errors import StateError
from syndicate.model import DeliveryState, Edition, EditionState, UncertainPolicy
from syndicate.service.installation import Installation
from syndicate.storage import deliveries, editions, shards
from syndicate.storage.deliveries import DeliveryOutcome, ReadyDelivery
from syndicate.storage.engine import Writer
from syndicate.storage.shards import SHARD_SIZE, Shard

__all__ = ["Ledger", "Step"]

_T = TypeVar("_T")

_log = structlog.get_logger(__name__)

#: After how long a shard is looked at again whose readers had to wait for their domain, or which was due and
#: had nobody ready; our choice.
_LOOK_AGAIN: Final = timedelta(seconds=1)

#: Shards that are looked at in one step, at the most: the lease of those that we have runs on meanwhile.
_MOST_LOOKS: Final = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What one commit did."""

    state: EditionState  #: the edition's, as it was in this commit
    marked: frozenset[int]  #: of those who were to be: the readers who may be attempted now
    found: Sequence[ReadyDelivery]  #: more readers whose turn it is
    is_all_taken: bool  #: one was wanted, and no other shard is due and free


@dataclass(slots=True, kw_only=True)
class _Held:
    shard: Shard
    renewed_at: datetime
    waiting: int = 0  #: how many readers were found, and neither marked nor declined
    attempting: int = 0
    has_declined: bool = False


class Ledger:
    """The shards of an edition that this sender has, and its readers in them."""

    def __init__(self, inst: Installation, edition: Edition) -> None:
        self._inst, self._edition = inst, edition
        self._owner = f"{socket.gethostname()}:{os.getpid()}"
        self._writer = Writer(inst.engine)
        self._held: dict[int, _Held] = {}  #: by the shard's number
        self._declined_until: datetime | None = None
        self._shard_of: dict[int, int] = {}  #: the shard's number, by reader

    @property
    def edition_id(self) -> int:
        """The edition's number."""
        return self._edition.id

    @property
    def attempting(self) -> int:
        """How many readers are marked and have no outcome on record."""
        return sum(held.attempting for held in self._held.values())

    @property
    def has_declined(self) -> bool:
        """Whether there are readers who wait for their domain in a shard that was given back just now."""
        return self._declined_until is not None and self._inst.clock() <= self._declined_until

    def step(self, outcomes: Sequence[DeliveryOutcome], picked: Collection[int], *, wants_more: bool) -> Step:
        """Records outcomes and marks readers, in one commit that also looks at who owns what.

        ``picked`` are readers that an earlier step found, or whose outcome was ``pending``; nobody is marked
        unless the edition is being sent. With ``wants_more`` the next shard is taken, if there is one. After
        an error nothing of it has happened, and it may be repeated. Raises StateError if another process has
        taken a shard over; what belongs to the others is on record by then.
        """
        now = self._inst.clock()
        held = {number: copy(each) for number, each in self._held.items()}
        found: dict[int, list[ReadyDelivery]] = {}
        is_all_taken = False
        with self._writer.writing() as conn:
            state, has_lost = self._hold(conn, held, now)
            may_begin = state is EditionState.SENDING and not has_lost
            self._record(conn, held, outcomes)
            marked = self._mark(conn, held, picked, now, may_begin=may_begin)
            if may_begin:
                found = self._look_again(conn, held, now)
            if may_begin and wants_more and not found:
                found, is_all_taken = self._take_shard(conn, held, now)
        # Not before the commit: what failed is repeated as if it had never been.
        self._held = held
        for outcome in outcomes:
            if outcome.state is not DeliveryState.PENDING:
                del self._shard_of[outcome.subscriber_id]
        for reader in picked:
            if reader not in marked:
                del self._shard_of[reader]
        for number, rows in found.items():
            self._shard_of |= dict.fromkeys((row.subscriber_id for row in rows), number)
        if has_lost:
            raise StateError(f"edition {self._edition.id}: another process has taken it over; this one stops")
        return Step(state=state, marked=marked, found=list(chain(*found.values())), is_all_taken=is_all_taken)

    def decline(self, readers: Iterable[int]) -> None:
        """Gives readers back that were found: they wait for their domain, and others come first."""
        for reader in readers:
            held = self._held[self._shard_of.pop(reader)]
            held.waiting -= 1
            held.has_declined = True

    def close(self) -> None:
        """Gives every shard back. A reader who is marked still is found out by the shard's next owner."""
        with self._writer.writing() as conn:
            now = self._inst.clock()
            for _, held in sorted(self._held.items()):
                if shards.hold_shard(conn, held.shard) is not None:
                    self._give_back(conn, held, self._find_due(conn, held.shard, now), now)
        self._writer.close()
        self._held.clear()
        self._shard_of.clear()

    def _hold(self, conn: Connection, held: dict[int, _Held], now: datetime) -> tuple[EditionState, bool]:
        """The edition's state, and whether we have lost shards, which are taken out."""
        lease_s = self._inst.settings.delivery.lease_s
        state: EditionState | None = None
        lost = []
        for number, each in sorted(held.items()):
            # A clock that was set back would otherwise keep us from renewing.
            if timedelta() <= now - each.renewed_at < timedelta(seconds=lease_s / 3):
                found = shards.hold_shard(conn, each.shard)
            else:
                found = shards.renew_shard(conn, each.shard, now=now, lease_s=lease_s)
                each.renewed_at = now
            if found is None:
                lost.append(number)
            else:
                state = found
        for number in lost:
            del held[number]
        if state is None:
            state = editions.get_edition(conn, self._edition.id).state
        return state, bool(lost)

    def _record(
        self, conn: Connection, held: Mapping[int, _Held], outcomes: Sequence[DeliveryOutcome]
    ) -> None:
        edition = self._edition
        for each, theirs in self._by_shard(held, outcomes, attrgetter("subscriber_id")):
            deliveries.record_outcomes(
                conn, edition.id, theirs, fence=each.shard.fence, cutoff=edition.cutoff
            )
            each.attempting -= len(theirs)
            each.waiting += sum(outcome.state is DeliveryState.PENDING for outcome in theirs)

    def _mark(
        self,
        conn: Connection,
        held: Mapping[int, _Held],
        picked: Collection[int],
        now: datetime,
        *,
        may_begin: bool,
    ) -> frozenset[int]:
        marked: set[int] = set()
        for each, readers in self._by_shard(held, picked, lambda reader: reader):
            each.waiting -= len(readers)
            if may_begin:
                begun = deliveries.mark(conn, self._edition.id, readers, fence=each.shard.fence, now=now)
                each.attempting += len(begun)
                marked |= begun
        return frozenset(marked)

    def _by_shard(
        self, held: Mapping[int, _Held], things: Collection[_T], reader_of: Callable[[_T], int]
    ) -> list[tuple[_Held, list[_T]]]:
        """Things about readers, by those shards that are ours."""
        if len(self._held) == 1:  # nearly always, and then there is nothing to look for
            return [(each, list(things)) for each in held.values() if things]
        grouped: dict[int, list[_T]] = {}
        for thing in things:
            grouped.setdefault(self._shard_of[reader_of(thing)], []).append(thing)
        return [(held[number], theirs) for number, theirs in grouped.items() if number in held]

    def _look_again(
        self, conn: Connection, held: dict[int, _Held], now: datetime
    ) -> dict[int, list[ReadyDelivery]]:
        """Those who are ready again in the shards of which nobody is under way; gives back the others."""
        again = {}
        for number in [number for number, each in held.items() if not (each.waiting or each.attempting)]:
            each = held[number]
            due_at = self._find_due(conn, each.shard, now)
            is_due = due_at is not None and due_at <= now and not each.has_declined
            rows = self._find_ready(conn, each.shard, now) if is_due else []
            each.waiting = len(rows)
            if rows:
                again[number] = rows
            else:
                self._give_back(conn, each, due_at, now)
                del held[number]
        return again

    def _take_shard(
        self, conn: Connection, held: dict[int, _Held], now: datetime
    ) -> tuple[dict[int, list[ReadyDelivery]], bool]:
        """The readers of the next shard that has any whose turn it is, and whether there was none to take."""
        lease_s = self._inst.settings.delivery.lease_s
        for _ in range(_MOST_LOOKS):
            taken = shards.lease_shard(conn, self._edition.id, owner=self._owner, now=now, lease_s=lease_s)
            if taken is None:
                return {}, True
            each = _Held(shard=taken, renewed_at=now)
            self._set_right(conn, taken, now)
            rows = self._find_ready(conn, taken, now)
            if rows:
                each.waiting = len(rows)
                held[taken.number] = each
                return {taken.number: rows}, False
            self._give_back(conn, each, self._find_due(conn, taken, now), now, pause=True)
        return {}, False

    def _set_right(self, conn: Connection, taken: Shard, now: datetime) -> None:
        """What its last owner left, what is to be sent again by itself, and what is too old."""
        edition, lifetime_h = self._edition, self._inst.settings.delivery.lifetime_h
        if recovered := deliveries.recover_attempts(conn, taken):
            _log.warning("deliveries_uncertain", edition_id=edition.id, count=recovered)
        if edition.policy is UncertainPolicy.RESEND:
            deliveries.resend_uncertain(conn, taken, now=now)
        if edition.opened_at < now - timedelta(hours=lifetime_h):
            deliveries.expire_deferred(conn, taken)

    def _find_ready(self, conn: Connection, shard: Shard, now: datetime) -> list[ReadyDelivery]:
        return deliveries.list_ready(
            conn, shard.edition_id, after=shard.first_id - 1, last=shard.last_id, limit=SHARD_SIZE, now=now
        )

    def _find_due(self, conn: Connection, shard: Shard, now: datetime) -> datetime | None:
        resends = self._edition.policy is UncertainPolicy.RESEND
        return deliveries.find_due(conn, shard, now=now, resends=resends)

    def _give_back(
        self, conn: Connection, held: _Held, due_at: datetime | None, now: datetime, *, pause: bool = False
    ) -> None:
        """Gives a shard back that is ours in this transaction; with a pause it is not due at once."""
        if due_at is not None and (pause or held.has_declined):
            due_at = max(due_at, now + _LOOK_AGAIN)
        if due_at is not None and held.has_declined:
            self._declined_until = due_at
        shards.release_shard(conn, held.shard, due_at=due_at)
