"""Use cases: open an edition (freeze its articles, text and readers), look at it, decide about it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import structlog
from sqlalchemy import Connection

from syndicate.digest.compile import EditionInput, compile_edition
from syndicate.digest.compose import plan_variant
from syndicate.digest.select import order_articles, select_articles
from syndicate.errors import StateError
from syndicate.model import (
    ANY_CADENCE,
    Article,
    Delivery,
    DeliveryState,
    Edition,
    EditionState,
    Newsletter,
)
from syndicate.service.installation import Installation
from syndicate.storage import articles, audience, deliveries, editions, newsletters, shards
from syndicate.storage.engine import reading, writing

__all__ = [
    "EditionReport",
    "Opened",
    "Planned",
    "approve_edition",
    "cancel_edition",
    "edition_input",
    "hold_edition",
    "list_edition_reports",
    "open_edition",
    "pause_edition",
    "plan_edition",
    "report_edition",
    "resume_edition",
    "retry_edition",
]

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """An edition with its readers and articles fixed."""

    edition: Edition
    readers: int
    articles: tuple[Article, ...]  #: in editorial order


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned(Opened):
    """An edition as it would be opened now."""

    selections: Mapping[tuple[int, ...], int]  #: how many readers get each choice of articles, by their ids


@dataclass(frozen=True, slots=True, kw_only=True)
class EditionReport:
    """How far an edition is."""

    edition: Edition
    newsletter: Newsletter
    counts: Mapping[DeliveryState, int]
    exceptions: tuple[Delivery, ...] = ()  #: failed, deferred, uncertain and skipped ones, by reader


class _NothingToSend(Exception):
    """Rolls the opening back: nobody would get anything."""


def open_edition(
    inst: Installation,
    newsletter: Newsletter,
    *,
    cadence: str,
    slot: str,
    reason: str,
    held: str = "",
) -> Opened | None:
    """Opens the edition of a slot in one transaction, or returns None: there is nothing new to anybody, or
    another process has opened it.

    Fixed from here on: the cutoff, the articles in their revision, the compiled text, the readers with their
    watermarks. ``reason`` says why a reader is in it; ``held``, if not empty, why it waits for the operator.
    Raises TemplateError, with nothing opened.
    """
    try:
        with writing(inst.engine) as conn:
            opened = _open(inst, conn, newsletter, cadence=cadence, slot=slot, reason=reason, held=held)
    except _NothingToSend:
        return None
    if opened is not None:
        # Only now: what a plan does is taken back, and so is whatever fails before the commit.
        edition = opened.edition
        _log.info(
            "edition_opened", edition_id=edition.id, readers=opened.readers, articles=len(opened.articles)
        )
    return opened


def plan_edition(inst: Installation, newsletter: Newsletter, *, cadence: str) -> Planned | None:
    """What ``open_edition`` would open now, by doing it and taking it back."""
    planned = None
    try:
        with writing(inst.engine) as conn:
            opened = _open(inst, conn, newsletter, cadence=cadence, slot="plan", reason="plan", held="plan")
            if opened is not None:
                planned = Planned(
                    edition=opened.edition,
                    readers=opened.readers,
                    articles=opened.articles,
                    selections=_count_selections(conn, opened),
                )
            raise _NothingToSend  # noqa: TRY301 - the transaction must not be committed
    except _NothingToSend:
        return planned


def _open(
    inst: Installation,
    conn: Connection,
    newsletter: Newsletter,
    *,
    cadence: str,
    slot: str,
    reason: str,
    held: str,
) -> Opened | None:
    wanted = None if cadence == ANY_CADENCE else cadence
    cutoff = articles.current_sequence(conn)
    lowest = audience.lowest_watermark(conn, newsletter.id, wanted)
    found = []
    if lowest is not None:
        found = articles.list_mailable_articles(conn, newsletter.id, after=lowest, cutoff=cutoff)
    if not found:
        raise _NothingToSend
    edition = editions.open_edition(
        conn,
        newsletter_id=newsletter.id,
        cadence=cadence,
        slot=slot,
        state=EditionState.HELD if held else EditionState.APPROVED,
        reason=held,
        cutoff=cutoff,
        policy=newsletter.uncertain_policy,
        now=inst.clock(),
    )
    if edition is None:
        return None
    ordered = order_articles(found, newsletter.topics)
    editions.put_articles(conn, edition.id, ordered)
    audience.supersede(conn, edition)
    readers = audience.freeze_audience(conn, edition, reason=reason)
    if not readers:
        raise _NothingToSend
    shards.cut_shards(conn, edition.id, now=edition.opened_at)
    compiled = compile_edition(
        edition_input(
            inst,
            newsletter,
            ordered,
            edition_id=edition.id,
            opened_at=edition.opened_at,
            cadence=edition.cadence,
        )
    )
    subject = plan_variant(compiled, tuple(a.id for a in ordered)).subject
    editions.put_compiled(conn, edition.id, subject=subject, compiled=compiled.to_bytes())
    edition = editions.get_edition(conn, edition.id)
    return Opened(edition=edition, readers=readers, articles=tuple(ordered))


def _count_selections(conn: Connection, opened: Opened) -> dict[tuple[int, ...], int]:
    selections: Counter[tuple[int, ...]] = Counter()
    edition = opened.edition
    for watermark, topics, count in audience.iter_selections(conn, edition.id):
        chosen = select_articles(opened.articles, watermark=watermark, cutoff=edition.cutoff, topics=topics)
        selections[tuple(a.id for a in chosen)] += count
    return selections


def edition_input(
    inst: Installation,
    newsletter: Newsletter,
    ordered: Sequence[Article],
    *,
    edition_id: int,
    opened_at: datetime,
    cadence: str = ANY_CADENCE,
) -> EditionInput:
    """What the digest is compiled from; number 0 is a preview, which has no page in the archive."""
    urls = inst.urls
    return EditionInput(
        newsletter=newsletter,
        articles=tuple(ordered),
        article_urls={a.id: a.url or urls.absolute(urls.article(newsletter.slug, a)) for a in ordered},
        edition_id=edition_id,
        archive_url=urls.absolute(
            urls.edition(newsletter.slug, edition_id) if edition_id else urls.newsletter(newsletter.slug)
        ),
        home_url=urls.absolute(urls.newsletter(newsletter.slug)),
        opened_at=opened_at,
        cadence=cadence,
        template_folders=inst.templates,
        secret=inst.settings.secret,
    )


def list_edition_reports(inst: Installation, newsletter: Newsletter | None = None) -> list[EditionReport]:
    """Editions of one newsletter, or of all, the newest first."""
    with reading(inst.engine) as conn:
        by_id = {n.id: n for n in newsletters.list_newsletters(conn)}
        return [
            EditionReport(
                edition=edition,
                newsletter=by_id[edition.newsletter_id],
                counts=deliveries.count_states(conn, edition.id),
            )
            for edition in editions.list_editions(conn, newsletter_id=newsletter.id if newsletter else None)
        ]


def report_edition(inst: Installation, edition_id: int) -> EditionReport:
    """One edition with every delivery that is not simply sent. Raises NotFound."""
    states = (
        DeliveryState.FAILED,
        DeliveryState.DEFERRED,
        DeliveryState.UNCERTAIN,
        DeliveryState.SKIPPED,
        DeliveryState.ATTEMPTING,
    )
    with reading(inst.engine) as conn:
        edition = editions.get_edition(conn, edition_id)
        return EditionReport(
            edition=edition,
            newsletter=newsletters.get_newsletter_by_id(conn, edition.newsletter_id),
            counts=deliveries.count_states(conn, edition_id),
            exceptions=tuple(deliveries.list_deliveries(conn, edition_id, states)),
        )


def approve_edition(inst: Installation, edition_id: int) -> Edition:
    """Lets a draft or held edition be sent. Raises StateError, NotFound."""
    return _change(inst, edition_id, EditionState.APPROVED)


def pause_edition(inst: Installation, edition_id: int, reason: str = "by the operator") -> Edition:
    """Stops an edition after the window that is on its way. Raises StateError, NotFound."""
    return _change(inst, edition_id, EditionState.PAUSED, reason)


def hold_edition(inst: Installation, edition_id: int, reason: str = "by the operator") -> Edition:
    """Stops an edition until somebody approves it. Raises StateError, NotFound."""
    return _change(inst, edition_id, EditionState.HELD, reason)


def resume_edition(inst: Installation, edition_id: int) -> Edition:
    """Lets a paused edition go on with exactly those readers who are left. Raises StateError, NotFound."""
    with reading(inst.engine) as conn:
        edition = editions.get_edition(conn, edition_id)
    if edition.state is not EditionState.PAUSED:
        raise StateError(f"edition {edition_id} is {edition.state}, not paused; there is nothing to resume")
    return _change(inst, edition_id, EditionState.SENDING)


def cancel_edition(inst: Installation, edition_id: int) -> Edition:
    """Ends an edition: nobody is attempted any more. The articles come with the next one to whoever has not
    been served newer ones since; to a reader who has, the copy ends as skipped, with the reason on record.
    """
    with writing(inst.engine) as conn:
        edition = editions.change_edition_state(conn, edition_id, EditionState.CANCELLED, now=inst.clock())
        deliveries.cancel_open(conn, edition_id)
        return edition


def retry_edition(inst: Installation, edition_id: int, states: set[DeliveryState]) -> int:
    """Puts failed or uncertain deliveries back, exactly those; returns how many. Raises StateError."""
    with writing(inst.engine) as conn:
        # An edition that opens at this moment does not see what is put back here, nor the other way round.
        editions.wait_turn(conn, editions.get_edition(conn, edition_id).newsletter_id)
        edition = editions.lock_edition(conn, edition_id)
        if edition.state is EditionState.CANCELLED:
            raise StateError(f"edition {edition_id} is cancelled; nothing of it is sent any more")
        count = deliveries.retry(conn, edition_id, states)
        shards.wake_shards(conn, edition_id, now=inst.clock())
        if count and edition.state in {EditionState.SENT, EditionState.HELD}:
            editions.change_edition_state(conn, edition_id, EditionState.SENDING, now=inst.clock())
        return count


def _change(inst: Installation, edition_id: int, state: EditionState, reason: str = "") -> Edition:
    with writing(inst.engine) as conn:
        return editions.change_edition_state(conn, edition_id, state, reason=reason, now=inst.clock())
