"""Use cases: send an edition, and what is left to be sent. How it is done is in ``sender``."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import structlog
from sqlalchemy import Connection

from syndicate.digest.compiled import CompiledEdition
from syndicate.errors import RelayError, StateError
from syndicate.model import DeliveryState, Edition, EditionState, Newsletter
from syndicate.service.composing import Composer
from syndicate.service.installation import Installation
from syndicate.service.ledger import Ledger
from syndicate.service.relays import RelayPool
from syndicate.service.sender import Run, Sender
from syndicate.service.signing import load_signer
from syndicate.storage import deliveries, editions, newsletters, shards
from syndicate.storage.engine import reading, writing

__all__ = ["SendReport", "count_waiting", "has_work", "list_unfinished", "send_edition"]

_log = structlog.get_logger(__name__)

#: Why an edition is held of which nothing but uncertain deliveries is left.
_UNDECIDED: Final = "undecided"


@dataclass(frozen=True, slots=True, kw_only=True)
class SendReport:
    """How a run over one edition ended."""

    edition: Edition
    counts: Mapping[DeliveryState, int]  #: of the whole edition
    sent: int  #: in this run
    uncertain: int  #: of how many readers this run does not know whether they have it
    next_attempt_at: datetime | None  #: when deferred ones come up again
    fault: RelayError | None  #: why the relay stopped the run, if it did


@dataclass(frozen=True, slots=True, kw_only=True)
class _Job:
    """One sender's work on one edition."""

    inst: Installation
    edition: Edition
    newsletter: Newsletter
    compiled: CompiledEdition


def list_unfinished(inst: Installation, newsletter_id: int | None = None) -> list[Edition]:
    """Editions that may be sent and are not finished, the oldest first."""
    states = (EditionState.APPROVED, EditionState.SENDING)
    with reading(inst.engine) as conn:
        return editions.list_editions(conn, newsletter_id=newsletter_id, states=states)[::-1]


def has_work(inst: Installation, edition_id: int) -> bool:
    """Whether a run over an edition would do anything now: somebody is ready, or it can be finished."""
    now = inst.clock()
    with reading(inst.engine) as conn:
        if shards.has_due_shard(conn, edition_id, now=now):
            return True
        is_over = shards.find_next_due(conn, edition_id) is None
        return is_over and not shards.is_any_leased(conn, edition_id, now=now)


def count_waiting(inst: Installation, edition_id: int) -> int:
    """How many readers a run over an edition would attempt at the most."""
    with reading(inst.engine) as conn:
        counts = deliveries.count_states(conn, edition_id)
    settled = (DeliveryState.SENT, DeliveryState.FAILED, DeliveryState.SKIPPED)
    return sum(count for state, count in counts.items() if state not in settled)


def send_edition(
    inst: Installation,
    edition_id: int,
    *,
    on_progress: Callable[[int], None] = lambda _count: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> SendReport:
    """Sends an edition to every reader who is still to be served, and returns when none is ready any more.

    Takes the shards that are free: raises StateError while other processes have all of them. Deliveries that
    a sender left behind when it died become uncertain and are handled as the edition's policy says.
    ``on_progress`` is called with the number of readers settled since the last call; after ``should_stop``
    what is on its way is finished and nothing else begun.
    """
    return asyncio.run(_send(_begin(inst, edition_id), on_progress, should_stop))


def _begin(inst: Installation, edition_id: int) -> _Job:
    with writing(inst.engine) as conn:
        edition = editions.lock_edition(conn, edition_id)
        if edition.state not in {EditionState.APPROVED, EditionState.SENDING}:
            raise StateError(f"edition {edition_id} is {edition.state}; {_advice(edition)}")
        if edition.state is EditionState.APPROVED:
            edition = editions.change_edition_state(conn, edition_id, EditionState.SENDING, now=inst.clock())
        return _Job(
            inst=inst,
            edition=edition,
            newsletter=newsletters.get_newsletter_by_id(conn, edition.newsletter_id),
            compiled=CompiledEdition.from_bytes(editions.get_compiled(conn, edition_id)),
        )


def _advice(edition: Edition) -> str:
    match edition.state:
        case EditionState.HELD if edition.reason == _UNDECIDED:
            return f"'edition retry {edition.id} --uncertain' sends those again of which nobody knows"
        case EditionState.HELD | EditionState.DRAFT:
            return f"'edition approve {edition.id}' lets it go"
        case EditionState.PAUSED:
            return f"'edition resume {edition.id}' lets it go on"
        case _:
            return "nothing of it is sent any more"


async def _send(job: _Job, on_progress: Callable[[int], None], should_stop: Callable[[], bool]) -> SendReport:
    inst, edition = job.inst, job.edition
    async with RelayPool(inst) as pool:
        sender = Sender(
            inst=inst,
            ledger=Ledger(inst, edition),
            composer=Composer(
                inst=inst,
                edition=edition,
                newsletter=job.newsletter,
                compiled=job.compiled,
                signer=load_signer(inst.settings),
            ),
            pool=pool,
            on_progress=on_progress,
            should_stop=should_stop,
        )
        run = await sender.run()
    return await asyncio.to_thread(_finish, job, run)


def _finish(job: _Job, run: Run) -> SendReport:
    edition_id = job.edition.id
    now = job.inst.clock()
    with writing(job.inst.engine) as conn:
        edition = editions.lock_edition(conn, edition_id)
        counts = deliveries.count_states(conn, edition_id)
        next_attempt_at = shards.find_next_due(conn, edition_id)
        is_leased = shards.is_any_leased(conn, edition_id, now=now)
        if is_leased and not run.has_worked:
            raise StateError(f"edition {edition_id} is being sent by another process; nothing to do here")
        if next_attempt_at is None and not is_leased and edition.state is EditionState.SENDING:
            edition = _end(conn, edition, counts, now)
    _log.info("edition_run_ended", edition_id=edition_id, state=edition.state.value, sent=run.sent)
    return SendReport(
        edition=edition,
        counts=counts,
        sent=run.sent,
        uncertain=run.uncertain,
        next_attempt_at=next_attempt_at,
        fault=run.fault,
    )


def _end(conn: Connection, edition: Edition, counts: Mapping[DeliveryState, int], now: datetime) -> Edition:
    """What an edition becomes with no shard that has work: finished is what its rows say, never that a loop
    has ended.
    """
    if any(counts[s] for s in (DeliveryState.PENDING, DeliveryState.ATTEMPTING, DeliveryState.DEFERRED)):
        return edition
    if counts[DeliveryState.UNCERTAIN]:
        return editions.change_edition_state(conn, edition.id, EditionState.HELD, reason=_UNDECIDED, now=now)
    return editions.change_edition_state(conn, edition.id, EditionState.SENT, now=now)
