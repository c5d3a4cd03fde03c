"""Use case: send an edition, window by window, so that a crash leaves at most one window uncertain.

    mark a window (durable) -> hand it to the relay -> record the outcomes (durable) and mark the next

The database's calls run in a thread: they never hold up the connections to the relay.
"""

from __future__ import annotations

import asyncio
import os
import random
import socket
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Final

import structlog

from syndicate.deliver.backoff import decide_next_attempt
from syndicate.deliver.outcome import Envelope, Outcome, OutcomeKind, Stage
from syndicate.deliver.smtp import RelaySettings, SmtpRelay
from syndicate.digest.compiled import CompiledEdition
from syndicate.digest.compose import ReaderValues, compose_message
from syndicate.digest.select import select_articles
from syndicate.errors import OperationError, RelayError, StateError
from syndicate.model import (
    Delivery,
    DeliveryState,
    Edition,
    EditionState,
    Newsletter,
    UncertainPolicy,
)
from syndicate.service.installation import Installation
from syndicate.storage import deliveries, editions, newsletters
from syndicate.storage.deliveries import DeliveryOutcome
from syndicate.storage.engine import reading, writing

__all__ = ["SendReport", "count_waiting", "has_work", "list_unfinished", "relay_settings", "send_edition"]

_log = structlog.get_logger(__name__)

#: What an outcome on the wire makes of a delivery.
_STATES: Final[dict[OutcomeKind, DeliveryState]] = {
    OutcomeKind.SENT: DeliveryState.SENT,
    OutcomeKind.DEFERRED: DeliveryState.DEFERRED,
    OutcomeKind.FAILED: DeliveryState.FAILED,
    OutcomeKind.UNCERTAIN: DeliveryState.UNCERTAIN,
    OutcomeKind.UNSENT: DeliveryState.PENDING,
}

#: Why an edition is held of which nothing but uncertain deliveries is left.
_UNDECIDED: Final = "undecided"

#: Where a refusal to go on was said to one reader's message, whatever it meant.
_MET_BY_A_READER: Final = frozenset({Stage.RCPT, Stage.DATA})


@dataclass(frozen=True, slots=True, kw_only=True)
class SendReport:
    """How a run over one edition ended."""

    edition: Edition
    counts: Mapping[DeliveryState, int]  #: of the whole edition
    sent: int  #: in this run
    next_attempt_at: datetime | None  #: when deferred ones come up again
    fault: RelayError | None  #: why the relay stopped the run, if it did


@dataclass(frozen=True, slots=True, kw_only=True)
class _Job:
    """One sender's work on one edition."""

    inst: Installation
    edition: Edition
    newsletter: Newsletter
    compiled: CompiledEdition
    fence: int
    choices: dict[tuple[int, tuple[str, ...]], tuple[int, ...]] = field(default_factory=dict)


def relay_settings(inst: Installation) -> RelaySettings:
    """The relay of the settings. Raises ConfigurationError if a secret's file cannot be read."""
    smtp = inst.settings.smtp
    return RelaySettings(
        host=smtp.host,
        port=smtp.port,
        username=smtp.username,
        password=inst.settings.smtp_password,
        tls=smtp.tls,
        insecure=smtp.insecure,
        ca_file=inst.settings.folder / smtp.ca_file if smtp.ca_file else None,
        connections=inst.settings.delivery.connections,
        rate_s=inst.settings.delivery.rate_s,
    )


def list_unfinished(inst: Installation, newsletter_id: int | None = None) -> list[Edition]:
    """Editions that may be sent and are not finished, the oldest first."""
    states = (EditionState.APPROVED, EditionState.SENDING)
    with reading(inst.engine) as conn:
        return editions.list_editions(conn, newsletter_id=newsletter_id, states=states)[::-1]


def has_work(inst: Installation, edition_id: int) -> bool:
    """Whether a run over an edition would do anything now: somebody is ready, or it can be finished."""
    now = inst.clock()
    with reading(inst.engine) as conn:
        if not editions.is_lease_free(conn, edition_id, now=now):
            return False
        counts = deliveries.count_states(conn, edition_id)
        next_attempt_at = deliveries.find_next_attempt(conn, edition_id)
    waits = counts[DeliveryState.DEFERRED] + counts[DeliveryState.UNCERTAIN]
    is_waiting = counts[DeliveryState.PENDING] + counts[DeliveryState.ATTEMPTING] == 0 and waits > 0
    return not is_waiting or next_attempt_at is None or next_attempt_at <= now


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

    Takes the edition's lease first: raises StateError while another process has it. Deliveries that a sender
    left behind when it died become uncertain and are handled as the edition's policy says. ``on_progress`` is
    called with the number of readers settled since the last call; after ``should_stop`` the window that is
    on its way is finished and no other begun.
    """
    job = _begin(inst, edition_id)
    try:
        return asyncio.run(_send(job, on_progress, should_stop))
    finally:
        with writing(inst.engine) as conn:
            editions.release_lease(conn, edition_id, fence=job.fence)


def _begin(inst: Installation, edition_id: int) -> _Job:
    delivery = inst.settings.delivery
    now = inst.clock()
    owner = f"{socket.gethostname()}:{os.getpid()}"
    with writing(inst.engine) as conn:
        edition = editions.get_edition(conn, edition_id)
        if edition.state not in {EditionState.APPROVED, EditionState.SENDING}:
            raise StateError(f"edition {edition_id} is {edition.state}; {_advice(edition)}")
        fence = editions.take_lease(conn, edition_id, owner=owner, now=now, lease_s=delivery.lease_s)
        if fence is None:
            raise StateError(f"edition {edition_id} is being sent by another process; nothing to do here")
        recovered = deliveries.recover_attempts(conn, edition_id, fence=fence)
        if recovered:
            _log.warning("deliveries_uncertain", edition_id=edition_id, count=recovered)
        if edition.policy is UncertainPolicy.RESEND:
            deliveries.resend_uncertain(conn, edition_id, now=now)
        deliveries.expire_deferred(conn, edition_id, opened_before=now - timedelta(hours=delivery.lifetime_h))
        if edition.state is EditionState.APPROVED:
            edition = editions.change_edition_state(conn, edition_id, EditionState.SENDING, now=now)
        return _Job(
            inst=inst,
            edition=edition,
            newsletter=newsletters.get_newsletter_by_id(conn, edition.newsletter_id),
            compiled=CompiledEdition.from_bytes(editions.get_compiled(conn, edition_id)),
            fence=fence,
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
    fault: RelayError | None = None
    sent = 0
    window: list[Delivery] = []
    outcomes: list[DeliveryOutcome] = []
    async with SmtpRelay(relay_settings(job.inst)) as relay, _kept_lease(job):
        while True:
            window = await asyncio.to_thread(
                _record_and_mark,
                job,
                outcomes,
                after=window[-1].subscriber_id if window else 0,
                stop=fault is not None or should_stop(),
            )
            on_progress(sum(o.state is not DeliveryState.PENDING for o in outcomes))
            sent += sum(o.state is DeliveryState.SENT for o in outcomes)
            if not window:
                break
            envelopes = await asyncio.to_thread(_compose, job, window)
            report = await relay.deliver(envelopes)
            fault = report.fault
            outcomes = [
                _outcome(job, d, o, stopped=fault is not None)
                for d, o in zip(window, report.outcomes, strict=True)
            ]
    return await asyncio.to_thread(_finish, job, sent, fault)


@asynccontextmanager
async def _kept_lease(job: _Job) -> AsyncIterator[None]:
    """Renews the lease while a window is on its way: an answer may take ten minutes (RFC 5321 4.5.3.2.6)."""

    def renew() -> None:
        with writing(job.inst.engine) as conn:
            editions.renew_lease(
                conn,
                job.edition.id,
                fence=job.fence,
                now=job.inst.clock(),
                lease_s=job.inst.settings.delivery.lease_s,
            )

    async def beat() -> None:
        while True:
            await asyncio.sleep(job.inst.settings.delivery.lease_s / 3)
            try:
                await asyncio.to_thread(renew)
            except OperationError as error:
                # The next beat may succeed, and whether the lease is still ours is asked with every window.
                _log.warning("lease_not_renewed", edition_id=job.edition.id, error=str(error))

    task = asyncio.create_task(beat())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def _record_and_mark(
    job: _Job, outcomes: Sequence[DeliveryOutcome], *, after: int, stop: bool
) -> list[Delivery]:
    now = job.inst.clock()
    delivery = job.inst.settings.delivery
    with writing(job.inst.engine) as conn:
        deliveries.record_outcomes(conn, job.edition.id, outcomes, fence=job.fence, cutoff=job.edition.cutoff)
        state = editions.renew_lease(conn, job.edition.id, fence=job.fence, now=now, lease_s=delivery.lease_s)
        if state is None:
            raise StateError(f"edition {job.edition.id}: another process has taken it over; this one stops")
        if stop or state is not EditionState.SENDING:
            return []
        mark = partial(
            deliveries.mark_window,
            conn,
            job.edition.id,
            fence=job.fence,
            limit=delivery.window_size,
            now=now,
        )
        # At the end once more from the first reader: the time of some may have come, or the operator's word.
        return mark(after=after) or (mark() if after else [])


def _compose(job: _Job, window: Sequence[Delivery]) -> list[Envelope]:
    return [
        Envelope(
            key=row.subscriber_id,
            sender=job.newsletter.from_email,
            recipient=row.address,
            message=compose_message(job.compiled, _choose(job, row), _reader(job.inst, row)),
            is_canonical=True,
        )
        for row in window
    ]


def _choose(job: _Job, row: Delivery) -> tuple[int, ...]:
    """What is new to a reader, out of the compiled edition alone: each attempt has the same articles."""
    key = row.watermark, row.topics
    if key not in job.choices:
        chosen = select_articles(
            job.compiled.articles, watermark=row.watermark, cutoff=job.edition.cutoff, topics=row.topics
        )
        job.choices[key] = tuple(a.id for a in chosen)
    return job.choices[key]


def _reader(inst: Installation, row: Delivery) -> ReaderValues:
    links, urls = inst.links, inst.urls
    return ReaderValues(
        subscriber_id=row.subscriber_id,
        address=row.address,
        name=row.name,
        unsubscribe_url=urls.absolute(urls.unsubscribe(links.unsubscribe(row.subscription_id))),
        preferences_url=urls.absolute(urls.preferences(links.preferences(row.subscription_id))),
    )


def _outcome(job: _Job, row: Delivery, outcome: Outcome, *, stopped: bool) -> DeliveryOutcome:
    next_attempt_at = None
    state = _STATES[outcome.kind]
    if state is DeliveryState.PENDING and (not stopped or outcome.stage in _MET_BY_A_READER):
        # The relay works and did not want this one: at once again would be for ever.
        state = DeliveryState.DEFERRED
    if state in {DeliveryState.DEFERRED, DeliveryState.UNCERTAIN}:
        jitter = random.random()  # noqa: S311 - spreads load, keeps no secret
        next_attempt_at = decide_next_attempt(row.attempts, now=job.inst.clock(), jitter=jitter)
    if outcome.kind in {OutcomeKind.FAILED, OutcomeKind.UNCERTAIN}:
        _log.warning(
            "delivery_" + outcome.kind.value,
            edition_id=job.edition.id,
            subscriber_id=row.subscriber_id,
            stage=outcome.stage,
            reply=outcome.reply,
        )
    return DeliveryOutcome(
        subscriber_id=row.subscriber_id,
        state=state,
        reply=outcome.reply,
        next_attempt_at=next_attempt_at,
    )


def _finish(job: _Job, sent: int, fault: RelayError | None) -> SendReport:
    edition_id = job.edition.id
    with writing(job.inst.engine) as conn:
        counts = deliveries.count_states(conn, edition_id)
        edition = editions.get_edition(conn, edition_id)
        becomes = _decide_end(edition, counts, resendable=deliveries.count_resendable(conn, edition_id))
        if becomes is not None:
            reason = _UNDECIDED if becomes is EditionState.HELD else ""
            now = job.inst.clock()
            edition = editions.change_edition_state(conn, edition_id, becomes, reason=reason, now=now)
        next_attempt_at = deliveries.find_next_attempt(conn, edition_id)
    _log.info("edition_run_ended", edition_id=edition_id, state=edition.state.value, sent=sent)
    return SendReport(edition=edition, counts=counts, sent=sent, next_attempt_at=next_attempt_at, fault=fault)


def _decide_end(
    edition: Edition, counts: Mapping[DeliveryState, int], *, resendable: int
) -> EditionState | None:
    """What an edition becomes after a run: finished is what its rows say, never that a loop has ended."""
    open_states = (DeliveryState.PENDING, DeliveryState.ATTEMPTING, DeliveryState.DEFERRED)
    if edition.state is not EditionState.SENDING or any(counts[state] for state in open_states):
        return None
    uncertain = counts[DeliveryState.UNCERTAIN]
    if not uncertain:
        return EditionState.SENT
    if edition.policy is UncertainPolicy.RESEND and resendable:
        return None
    return EditionState.HELD
