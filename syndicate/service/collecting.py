"""Use case: read the sources that are due, and store what is new or changed."""

from __future__ import annotations

import asyncio
import random
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfo

import structlog
from aiohttp import ClientSession
from sqlalchemy import Connection

from syndicate import __version__
from syndicate.collect.decide import Decision, Verdict, decide_articles, decide_next_check
from syndicate.collect.fetch import Fetched, fetch, open_session
from syndicate.collect.folders import SETTLE_S, read_folder
from syndicate.collect.parse import parse_document
from syndicate.errors import CollectError, FetchError
from syndicate.model import Origin, ParsedArticle, Source, SourceKind
from syndicate.publish.feed import mint_atom_id
from syndicate.service.installation import Installation
from syndicate.storage import articles, newsletters, sources
from syndicate.storage.engine import reading, writing

__all__ = ["SourceReport", "collect_due", "collect_source", "count_due", "open_client"]

#: A guid that can be an Atom id as it is.
_IRI: Final = re.compile(r"(https?://|urn:|tag:)[^\s<>\"]+$")

#: How soon a folder is read again in which files were being written; our choice.
_SETTLES_IN_S: Final = 5

_log = structlog.get_logger(__name__)


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
    problems: tuple[str, ...] = ()  #: articles that could not be read, one line each
    error: str = ""  #: why the source could not be read at all


@dataclass(frozen=True, slots=True, kw_only=True)
class _Reading:
    """What a source held. No articles with the old validators stands for "nothing has changed"."""

    articles: Sequence[ParsedArticle] | None
    title: str = ""
    home_url: str = ""
    etag: str = ""
    last_modified: str = ""
    body_hash: str = ""
    problems: tuple[str, ...] = ()
    is_whole: bool = True  #: False: some files were being written, and are read at the next look


def open_client(inst: Installation) -> ClientSession:
    """The one guarded client through which everything is fetched."""
    return open_session(
        user_agent=f"Syndicate/{__version__} (+{inst.settings.site.url})",
        allow=inst.settings.fetch.allow_private,
    )


def collect_due(
    inst: Installation, *, on_report: Callable[[SourceReport], None] = lambda _report: None
) -> list[SourceReport]:
    """Reads every source whose time has come; one that fails does not stop the others."""
    with reading(inst.engine) as conn:
        due = sources.list_due_sources(conn, inst.clock())
    return asyncio.run(_collect(inst, due, on_report)) if due else []


def count_due(inst: Installation) -> int:
    """How many sources ``collect_due`` would read now."""
    with reading(inst.engine) as conn:
        return len(sources.list_due_sources(conn, inst.clock()))


def collect_source(inst: Installation, source_id: int) -> SourceReport:
    """Reads one source now, due or not. Raises NotFound."""
    with reading(inst.engine) as conn:
        source = sources.get_source(conn, source_id)
    return asyncio.run(_collect(inst, [source], lambda _report: None))[0]


async def _collect(
    inst: Installation, due: Sequence[Source], on_report: Callable[[SourceReport], None]
) -> list[SourceReport]:
    gate = asyncio.Semaphore(inst.settings.fetch.connections)

    async def collect_one(session: ClientSession, source: Source) -> SourceReport:
        async with gate:
            report = await _collect_one(inst, session, source)
        on_report(report)
        return report

    async with open_client(inst) as session:
        return await asyncio.gather(*(collect_one(session, source) for source in due))


async def _collect_one(inst: Installation, session: ClientSession, source: Source) -> SourceReport:
    try:
        found = await _read(inst, session, source)
        return await asyncio.to_thread(_store, inst, source, found)
    except CollectError as error:
        _log.warning("source_failed", source_id=source.id, location=source.location, reason=error.reason)
        failure = error
    except Exception as error:  # noqa: BLE001 - whatever one source does to a parser, the others are read
        _log.exception("source_failed", source_id=source.id, location=source.location)
        failure = CollectError(source.location, "unexpected", f"cannot be read: {error!r}")
    await asyncio.to_thread(_store_failure, inst, source, failure)
    return SourceReport(source_id=source.id, location=source.location, title=source.title, error=str(failure))


async def _read(inst: Installation, session: ClientSession, source: Source) -> _Reading:
    if source.kind is SourceKind.FOLDER:
        zone = inst.settings.time_zone
        found = await asyncio.to_thread(_read_folder, source, zone, inst.clock())
        if not found.is_whole:
            # Who writes an article and then asks to collect means this article; it settles in a moment.
            await asyncio.sleep(SETTLE_S)
            found = await asyncio.to_thread(_read_folder, source, zone, inst.clock())
        return found
    answer = await fetch(
        session,
        source.location,
        etag=source.etag,
        last_modified=source.last_modified,
        max_bytes=inst.settings.fetch.max_bytes,
        deadline_s=inst.settings.fetch.deadline_s,
    )
    if not isinstance(answer, Fetched) or answer.body_hash == source.body_hash:
        return _Reading(
            articles=None, etag=source.etag, last_modified=source.last_modified, body_hash=source.body_hash
        )
    parsed = await asyncio.to_thread(
        parse_document,
        answer.body,
        url=answer.final_url,
        content_type=answer.content_type,
        now=inst.clock(),
    )
    return _Reading(
        articles=parsed.articles,
        title=parsed.title,
        home_url=parsed.home_url,
        etag=answer.etag,
        last_modified=answer.last_modified,
        body_hash=answer.body_hash,
    )


def _read_folder(source: Source, zone: ZoneInfo, now: datetime) -> _Reading:
    found = read_folder(Path(source.location), zone=zone, now=now)
    return _Reading(
        articles=found.articles,
        title=found.title,
        problems=tuple(str(p) for p in found.problems),
        is_whole=not found.waiting,
    )


def _store(inst: Installation, source: Source, found: _Reading) -> SourceReport:
    now = inst.clock()
    with writing(inst.engine) as conn:
        # Read again, and locked: another process may have collected it while this one was fetching.
        source = sources.get_source(conn, source.id, lock=True)
        decisions: list[Decision] = []
        if found.articles is not None:
            decisions = decide_articles(
                found.articles,
                articles.list_known_articles(conn, source.id),
                is_first=source.baseline_at is None,
                backfill=source.backfill,
                home_url=found.home_url,
            )
            _act(inst, conn, source, decisions, now)
        sources.record_success(
            conn,
            source.id,
            now=now,
            # Half-written files are settled in seconds, and a baseline without them would mail them later.
            is_whole=found.is_whole,
            next_due_at=decide_next_check(
                interval_s=source.interval_s if found.is_whole else _SETTLES_IN_S,
                failures=0,
                retry_after_s=None,
                now=now,
                jitter=random.random(),  # noqa: S311 - spreads load
            ),
            etag=found.etag,
            last_modified=found.last_modified,
            body_hash=found.body_hash,
            title=found.title,
        )
    for decision in decisions:
        if decision.verdict is not Verdict.SAME:
            _log.info(
                "article_decided",
                source_id=source.id,
                guid=decision.article.guid,
                verdict=decision.verdict.value,
                reason=decision.reason,
            )
    return _report(source, decisions, found.problems)


def _act(
    inst: Installation, conn: Connection, source: Source, decisions: Sequence[Decision], now: datetime
) -> None:
    new = [d for d in decisions if d.verdict is Verdict.NEW]
    changed = [d for d in decisions if d.verdict is Verdict.CHANGED]
    first = articles.take_sequences(conn, len(new)) if new else 0
    for sequence, decision in enumerate(new, start=first):
        articles.add_article(
            conn,
            decision.article,
            source_id=source.id,
            sequence=sequence,
            atom_id=_atom_id(inst, source, decision.article.guid, sequence, now),
            origin=decision.origin or Origin.NEW,
            now=now,
        )
    for decision in changed:
        if decision.known_id is not None:
            articles.revise_article(conn, decision.known_id, decision.article, now=now)
    if new or changed:
        newsletters.bump_content_version(conn, source.id, now=now)


def _atom_id(inst: Installation, source: Source, guid: str, sequence: int, now: datetime) -> str:
    # RFC 4287 section 4.2.6: who republishes an entry keeps its id.
    if source.kind is SourceKind.FEED and _IRI.match(guid):
        return guid
    return mint_atom_id(inst.urls.host, now.date(), f"article/{sequence}")


def _report(source: Source, decisions: Sequence[Decision], problems: tuple[str, ...]) -> SourceReport:
    verdicts = Counter(d.verdict for d in decisions)
    baseline = sum(d.origin is Origin.BASELINE for d in decisions)
    fresh = (d.article for d in decisions if d.verdict is not Verdict.SAME)
    notes = tuple(f"{article.title}: {article.note}" for article in fresh if article.note)
    return SourceReport(
        source_id=source.id,
        location=source.location,
        title=source.title,
        new=verdicts[Verdict.NEW] - baseline,
        baseline=baseline,
        changed=verdicts[Verdict.CHANGED],
        same=verdicts[Verdict.SAME],
        problems=problems + notes,
    )


def _store_failure(inst: Installation, source: Source, error: CollectError) -> None:
    now = inst.clock()
    with writing(inst.engine) as conn:
        sources.record_failure(
            conn,
            source.id,
            now=now,
            next_due_at=decide_next_check(
                interval_s=source.interval_s,
                failures=source.failures + 1,
                retry_after_s=error.retry_after_s if isinstance(error, FetchError) else None,
                now=now,
                jitter=random.random(),  # noqa: S311 - spreads load, keeps no secret
            ),
            error=str(error),
            is_gone=error.reason == "gone",
        )
