"""Use case: what a look at a source brought is compared with what is there, and stored. Fetches nothing."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Final

import structlog
from sqlalchemy import Connection

from syndicate.collect.decide import Decision, SourceHistory, Verdict, decide_articles
from syndicate.collect.filters import decide_filter, map_topics, parse_rule
from syndicate.collect.full_text import as_summary
from syndicate.collect.identity import known_aside, list_doubtful
from syndicate.collect.likeness import text_key
from syndicate.collect.links import canonical_link, is_home_page
from syndicate.collect.parsed import labels
from syndicate.model import FileStamp, FullText, HeldArticle, Origin, ParsedArticle, Source, SourceKind
from syndicate.publish.feed import mint_atom_id
from syndicate.service.installation import Installation
from syndicate.storage import articles, held, newsletters, source_files
from syndicate.storage.articles import NewArticle

__all__ = ["USUAL_DAYS", "Accepted", "Found", "SourceReport", "accept", "report_failure", "store_articles"]

_log = structlog.get_logger(__name__)

#: A guid that can be an Atom id as it is.
_IRI: Final = re.compile(r"(https?://|urn:|tag:)[^\s<>\"]+$")

#: Over how many days a source's usual number of new articles is counted.
USUAL_DAYS: Final = 7

#: In a topic map: what every article of the source is about, joined by commas.
_EVERY: Final = "*"


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceReport:
    """What one look at one source brought."""

    source_id: int
    location: str
    title: str
    new: int = 0  #: will be mailed
    baseline: int = 0  #: shown, not mailed: they were there before
    changed: int = 0
    same: int = 0
    held: int = 0  #: wait for the operator
    excluded: int = 0  #: kept out by the source's rules
    noted: int = 0  #: pages that are no articles: they were there before, or have no text
    problems: tuple[str, ...] = ()  #: articles that could not be read, one line each
    notes: tuple[str, ...] = ()  #: what an operator may want to know: a move, a flood
    error: str = ""  #: why the source could not be read at all


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What a source held, as far as it was read."""

    articles: Sequence[ParsedArticle]  #: as the source gives them
    texts: Mapping[str, ParsedArticle] = field(
        default_factory=dict
    )  #: with full text, by the hash of the former
    home_url: str = ""
    unread: frozenset[str] = frozenset()  #: guids of what is there still and was not read again
    remembered: Mapping[str, str] = field(default_factory=dict)  #: guids without an article, with the reason
    files: Mapping[str, FileStamp] = field(default_factory=dict)  #: of a folder, those that were read
    gone_files: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    is_whole: bool = True  #: False: more is to come with the next look
    is_partial: bool = False  #: only what is new
    may_be_late: bool = False  #: pushed: twice, or out of order


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """An article that is taken in."""

    article: ParsedArticle  #: as it is stored
    origin: Origin
    given: ParsedArticle | None = None  #: as its source gave it, if that is something else
    content_hash: str = ""  #: of that


def store_articles(
    inst: Installation, conn: Connection, source: Source, found: Found, now: datetime
) -> SourceReport:
    """Decides about each article, stores what is to be stored, and says what that was. Call it with the
    source's row locked.
    """
    known = articles.list_known_articles(conn, source.id, now=now)
    known += [known_aside(each) for each in held.list_held(conn, source.id)]
    doubtful = list_doubtful(found.articles, known, home_url=found.home_url) if known else []
    decisions = decide_articles(
        found.articles,
        known,
        is_first=source.baseline_at is None,
        backfill=source.backfill,
        home_url=found.home_url,
        texts=articles.list_texts(conn, doubtful),
        unread=found.unread,
        excluded=_excluded(source, found.articles),
        needs_approval=source.needs_approval,
        history=_history(inst, conn, source, len(known), now),
        is_partial=found.is_partial,
        may_be_late=found.may_be_late,
    )
    _act(inst, conn, source, found, decisions, now)
    source_files.put_file_stamps(conn, source.id, found.files, gone=found.gone_files)
    _log_decisions(source, decisions)
    return _report(source, found, decisions)


def accept(
    inst: Installation, conn: Connection, source: Source, accepted: Sequence[Accepted], now: datetime
) -> None:
    """Takes articles in, in this order. The counter of sequences stays locked until the commit."""
    if not accepted:
        return
    first = articles.take_sequences(conn, len(accepted))
    articles.add_articles(
        conn,
        [_new_article(inst, source, each, first + n, now) for n, each in enumerate(accepted)],
        source_id=source.id,
        now=now,
    )
    newsletters.bump_content_version(conn, source.id, now=now)


def report_failure(source: Source, error: str) -> SourceReport:
    """Why a source could not be read."""
    return SourceReport(source_id=source.id, location=source.location, title=source.title, error=error)


def _new_article(
    inst: Installation, source: Source, accepted: Accepted, sequence: int, now: datetime
) -> NewArticle:
    given = accepted.given or accepted.article
    return NewArticle(
        parsed=accepted.article,
        sequence=sequence,
        atom_id=_atom_id(inst, source, accepted.article.guid, sequence, now),
        origin=accepted.origin,
        content_hash=accepted.content_hash or given.content_hash,
        link_key=_link_key(given.url),
        text_key=text_key(given),
    )


def _act(
    inst: Installation,
    conn: Connection,
    source: Source,
    found: Found,
    decisions: Sequence[Decision],
    now: datetime,
) -> None:
    # Before anything new comes in: it may have the name that another one had until now.
    names = {d.known_id: d.renamed_to for d in decisions if d.renamed_to and d.known_id is not None}
    articles.rename_articles(conn, source.id, names)
    new = [d for d in decisions if d.verdict is Verdict.NEW]
    accept(
        inst,
        conn,
        source,
        [
            Accepted(article=_shape(source, found, d.article), origin=d.origin or Origin.NEW, given=d.article)
            for d in new
        ],
        now,
    )
    changed = [d for d in decisions if d.verdict is Verdict.CHANGED and d.known_id is not None]
    for decision in changed:
        _revise(conn, source, found, decision, now)
    if changed and not new:
        newsletters.bump_content_version(conn, source.id, now=now)
    for decision in decisions:
        if decision.verdict is not Verdict.SAME or decision.known_id is None:
            continue
        if decision.dated_at is not None:
            articles.note_source_date(conn, decision.known_id, decision.dated_at)
    _hold(conn, source, found, decisions, now)


def _revise(conn: Connection, source: Source, found: Found, decision: Decision, now: datetime) -> None:
    given, known_id = decision.article, decision.known_id
    if known_id is None:
        return
    articles.revise_article(
        conn,
        known_id,
        _shape(source, found, given),
        now=now,
        content_hash=given.content_hash,
        link_key=_link_key(given.url),
        text_key=text_key(given),
        has_turned=decision.reason == "reverted",
    )


def _hold(
    conn: Connection, source: Source, found: Found, decisions: Sequence[Decision], now: datetime
) -> None:
    """Stores what waits or is kept out, and what is said of it anew, under the name that it has now."""
    moved = [d for d in decisions if d.aside_guid and (d.renamed_to or d.verdict is Verdict.CHANGED)]
    before = {each.guid: each for each in held.list_held(conn, source.id)} if moved else {}
    held.take_held(conn, source.id, [d.aside_guid for d in moved])
    kept = [d for d in decisions if d.verdict in {Verdict.HELD, Verdict.EXCLUDED}]
    remembered = [
        HeldArticle(source_id=source.id, guid=guid, content_hash="", reason=reason, held_at=now, article=None)
        for guid, reason in found.remembered.items()
    ]
    held.hold_articles(
        conn,
        [
            *(_held_anew(source, found, d, before[d.aside_guid]) for d in moved if d.aside_guid in before),
            *(_held(source, found, d, now) for d in kept),
            *remembered,
        ],
    )


def _held(source: Source, found: Found, decision: Decision, now: datetime) -> HeldArticle:
    waits = decision.verdict is Verdict.HELD
    return HeldArticle(
        source_id=source.id,
        guid=decision.article.guid,
        content_hash=decision.article.content_hash,
        reason=decision.reason,
        held_at=now,
        article=_shape(source, found, decision.article) if waits else None,
    )


def _held_anew(source: Source, found: Found, decision: Decision, before: HeldArticle) -> HeldArticle:
    guid, article = decision.renamed_to or before.guid, before.article
    if article is not None and decision.verdict is Verdict.CHANGED:
        article = _shape(source, found, decision.article)
    return replace(
        before,
        guid=guid,
        content_hash=decision.article.content_hash,
        article=replace(article, guid=guid) if article is not None else None,
    )


def _shape(source: Source, found: Found, given: ParsedArticle) -> ParsedArticle:
    """An article as it is stored: with as much text and under those topics as the operator wants."""
    article = found.texts.get(given.content_hash, given)
    article = replace(article, guid=given.guid) if article.guid != given.guid else article
    if source.full_text is FullText.SUMMARY:
        article = as_summary(article)
    if not source.topic_map:
        return article
    article = map_topics(article, {k: v for k, v in source.topic_map.items() if k != _EVERY})
    every = source.topic_map.get(_EVERY, "").split(",")
    return replace(article, tags=labels([*article.tags, *every]))


def _excluded(source: Source, parsed: Sequence[ParsedArticle]) -> Mapping[str, str]:
    if not source.rules:
        return {}
    rules = [parse_rule(text) for text in source.rules]
    reasons = {article.guid: decide_filter(article, rules) for article in parsed}
    return {guid: reason for guid, reason in reasons.items() if reason}


def _history(
    inst: Installation, conn: Connection, source: Source, known: int, now: datetime
) -> SourceHistory | None:
    if source.baseline_at is None or source.kind in {SourceKind.FOLDER, SourceKind.PUSH}:
        return None  # what its owner writes or hands in is meant
    days = min(USUAL_DAYS, max(1.0, (now - source.baseline_at) / timedelta(days=1)))
    new = articles.count_new_since(conn, [source.id], now - timedelta(days=USUAL_DAYS)).get(source.id, 0)
    since = source.last_success_at or source.created_at
    return SourceHistory(
        articles=known,
        new_per_day=new / days,
        days_since_success=max(0.0, (now - since) / timedelta(days=1)),
        flood_limit=inst.settings.fetch.flood,
    )


def _link_key(url: str) -> str:
    if not url or is_home_page(url):
        return ""
    return sha256(canonical_link(url).encode("utf-8", "surrogatepass")).hexdigest()


def _atom_id(inst: Installation, source: Source, guid: str, sequence: int, now: datetime) -> str:
    # RFC 4287 section 4.2.6: who republishes an entry keeps its id.
    if source.kind is SourceKind.FEED and _IRI.match(guid):
        return guid
    return mint_atom_id(inst.urls.host, now.date(), f"article/{sequence}")


def _log_decisions(source: Source, decisions: Sequence[Decision]) -> None:
    for decision in decisions:
        if decision.verdict is not Verdict.SAME:
            _log.info(
                "article_decided",
                source_id=source.id,
                guid=decision.article.guid,
                verdict=decision.verdict.value,
                reason=decision.reason,
            )


def _report(source: Source, found: Found, decisions: Sequence[Decision]) -> SourceReport:
    verdicts = Counter(d.verdict for d in decisions)
    baseline = sum(d.origin is Origin.BASELINE for d in decisions if d.verdict is Verdict.NEW)
    given = (d.article for d in decisions if d.verdict is not Verdict.SAME)
    fresh = (found.texts.get(article.content_hash, article) for article in given)
    repaired = tuple(f"{article.title}: {article.note}" for article in fresh if article.note)
    has_flood = any(d.verdict is Verdict.HELD and d.reason == "flood" for d in decisions)
    flood = f"{verdicts[Verdict.HELD]} new articles at once are more than it usually has; they wait for you"
    return SourceReport(
        source_id=source.id,
        location=source.location,
        title=source.title,
        new=verdicts[Verdict.NEW] - baseline,
        baseline=baseline,
        changed=verdicts[Verdict.CHANGED],
        same=verdicts[Verdict.SAME],
        held=verdicts[Verdict.HELD],
        excluded=verdicts[Verdict.EXCLUDED],
        noted=len(found.remembered),
        problems=found.problems + repaired,
        notes=(flood,) if has_flood else (),
    )
