"""Use case: one look at one source, of whichever kind. Asks the database what is known; stores nothing."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import Final

import structlog

from syndicate.collect.fetch import Fetched, NotModified
from syndicate.collect.folders import SETTLE_S, FolderReading, read_folder
from syndicate.collect.full_text import extract_article, take_full_text
from syndicate.collect.hosts import HostHeld
from syndicate.collect.page_links import list_page_links
from syndicate.collect.pages import PAGES_AT_ONCE, PageLink, choose_pages, page_guid
from syndicate.collect.parse import PARSER_VERSION, differences, parse_document
from syndicate.collect.parse_sitemap import Sitemap, parse_sitemap
from syndicate.collect.parsed import ParsedSource
from syndicate.collect.rhythm import decide_validators
from syndicate.errors import CollectError, FetchError, ParseError
from syndicate.model import FullText, ParsedArticle, Source, SourceKind
from syndicate.service.egress import Egress
from syndicate.service.installation import Installation
from syndicate.service.media import keep_image
from syndicate.service.storing import Found
from syndicate.storage import articles, held, source_files
from syndicate.storage.engine import reading

__all__ = ["Look", "Validators", "look", "read_document"]

_log = structlog.get_logger(__name__)

#: The part of all documents that is parsed twice, to find out whether our parser errs; our choice.
_COMPARED: Final = 1 / 200

#: Sitemaps of an index that are read in one look, the newest first; and in the first one, which has to know
#: all that is there. Our choice.
_MOST_CHILDREN: Final = 50
_MOST_CHILDREN_AT_FIRST: Final = 200

#: Why a page is remembered without an article.
_THERE_BEFORE: Final = "was there when the source was added"
_NEVER_AN_ARTICLE: Final = frozenset({"gone", "http_404", "robots", "no_article", "empty", "not_html"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Validators:
    """By which the next look can tell that nothing has changed; empty: it has to read all of it."""

    etag: str = ""
    last_modified: str = ""
    url: str = ""  #: that gave them, if it is not the source's location
    body_hash: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What one look at a source found, and what it means for the next one."""

    source: Source
    found: Found | None  #: None: nothing has changed
    title: str = ""
    validators: Validators = Validators()
    full_fetch_at: datetime | None = None
    fresh_s: float | None = None
    min_interval_s: float | None = None
    skip_hours: frozenset[int] = frozenset()
    skip_days: frozenset[int] = frozenset()
    permanent_url: str = ""  #: where permanent redirects led
    hubs: tuple[str, ...] = ()  #: where what is new can be subscribed to
    self_url: str = ""  #: under which name
    is_over: bool = False  #: the source says that nothing more will come


async def look(inst: Installation, egress: Egress, source: Source, *, is_forced: bool = False) -> Look:
    """Looks at a source; ``is_forced`` reads all of it whatever its validators say. Raises CollectError."""
    match source.kind:
        case SourceKind.FOLDER:
            return await _look_at_folder(inst, source)
        case SourceKind.SITEMAP | SourceKind.PAGE:
            return await _look_at_pages(inst, egress, source, is_forced=is_forced)
        case SourceKind.PUSH:
            return Look(source=source, found=None)
        case SourceKind.FEED:
            return await _look_at_feed(inst, egress, source, is_forced=is_forced)


async def read_document(
    inst: Installation, egress: Egress, source: Source, body: bytes, *, url: str, content_type: str
) -> tuple[ParsedSource, Found]:
    """What a feed's document holds, with the full text of what is new if the source is read so."""
    parsed: ParsedSource = await egress.parse(
        parse_document, body, url=url, content_type=content_type, now=inst.clock()
    )
    if random.random() < _COMPARED:  # noqa: S311 - a sample
        await _compare_parsers(inst, egress, source, body, url=url, content_type=content_type)
    texts = await _full_texts(inst, egress, source, parsed.articles)
    return parsed, Found(
        articles=parsed.articles,
        texts=texts,
        home_url=parsed.home_url,
        problems=(parsed.note,) if parsed.note else (),
    )


async def _compare_parsers(
    inst: Installation, egress: Egress, source: Source, body: bytes, *, url: str, content_type: str
) -> None:
    """Logs where our parser reads a document otherwise than feedparser does."""
    with suppress(ParseError):
        found = await egress.parse(differences, body, url=url, content_type=content_type, now=inst.clock())
        if found:
            _log.warning("parsers_differ", source_id=source.id, location=source.location, found=found[:5])


async def _look_at_feed(inst: Installation, egress: Egress, source: Source, *, is_forced: bool) -> Look:
    answer, full_fetch_at = await _ask(inst, egress, source, is_forced=is_forced)
    if not isinstance(answer, Fetched) or _is_same(source, answer, is_forced=is_forced):
        return Look(
            source=source,
            found=None,
            full_fetch_at=full_fetch_at,
            fresh_s=answer.fresh_s,
            permanent_url=answer.permanent_url,
        )
    parsed, found = await read_document(
        inst, egress, source, answer.body, url=answer.final_url, content_type=answer.content_type
    )
    hubs = tuple(link.url for link in answer.links if link.rel == "hub") or parsed.hubs
    self_url = next((link.url for link in answer.links if link.rel == "self"), parsed.self_url)
    return Look(
        source=source,
        found=replace(found, is_partial=answer.is_partial),
        title=parsed.title,
        validators=_validators(source, answer),
        full_fetch_at=full_fetch_at,
        fresh_s=answer.fresh_s,
        min_interval_s=parsed.min_interval_s,
        skip_hours=parsed.skip_hours,
        skip_days=parsed.skip_days,
        permanent_url=answer.permanent_url,
        hubs=hubs,
        self_url=self_url,
        is_over=parsed.is_expired,
    )


async def _ask(
    inst: Installation, egress: Egress, source: Source, *, is_forced: bool
) -> tuple[Fetched | NotModified, datetime | None]:
    """The source's document, and when all of it was last asked for."""
    now = inst.clock()
    etag, last_modified = "", ""
    if not is_forced and source.parser_version == PARSER_VERSION:
        etag, last_modified = decide_validators(
            etag=source.etag,
            last_modified=source.last_modified,
            full_fetch_at=source.full_fetch_at,
            now=now,
        )
    answer = await egress.fetch(
        source,
        source.location,
        etag=etag,
        last_modified=last_modified,
        validators_url=source.validators_url,
    )
    return answer, source.full_fetch_at if etag or last_modified else now


def _is_same(source: Source, answer: Fetched, *, is_forced: bool) -> bool:
    is_read = source.parser_version == PARSER_VERSION and not is_forced
    return is_read and answer.body_hash == source.body_hash and not answer.is_partial


def _validators(source: Source, answer: Fetched) -> Validators:
    return Validators(
        etag=answer.etag,
        last_modified=answer.last_modified,
        url="" if answer.final_url == source.location else answer.final_url,
        body_hash="" if answer.is_partial else answer.body_hash,
    )


async def _full_texts(
    inst: Installation, egress: Egress, source: Source, given: Sequence[ParsedArticle]
) -> dict[str, ParsedArticle]:
    """New and changed articles with the text of their pages, by the hash of what was given."""
    is_wanted = source.full_text is FullText.FULL_TEXT
    if not is_wanted or (source.baseline_at is None and source.backfill == "none"):
        return {}
    known = await asyncio.to_thread(_known_hashes, inst, source, [a.guid for a in given])
    fresh = [a for a in given if a.url and known.get(a.guid) != a.content_hash]
    texts = {}
    for article in fresh[:PAGES_AT_ONCE]:
        texts[article.content_hash] = await _with_full_text(inst, egress, source, article)
    return texts


async def _with_full_text(
    inst: Installation, egress: Egress, source: Source, article: ParsedArticle
) -> ParsedArticle:
    try:
        page = await _fetch_page(egress, source, article.url)
        full: ParsedArticle = await egress.parse(
            take_full_text,
            article,
            page.body,
            url=page.final_url,
            content_type=page.content_type,
            now=inst.clock(),
        )
    except HostHeld:
        raise  # a pause is no failure: the whole look is put off
    except CollectError as error:
        # The article is there all the same, with as much as its source gives.
        note = "; ".join(filter(None, [article.note, f"its page {error.detail or error.reason}"]))
        return replace(article, note=note)
    return full


async def _fetch_page(egress: Egress, source: Source, url: str) -> Fetched:
    session = egress.session(source)
    if not await egress.robots.may_fetch(session, url):
        raise FetchError(url, "robots", "may not be read: robots.txt forbids it")
    page = await egress.fetch(source, url, gap_s=await egress.robots.crawl_delay_s(session, url))
    if not isinstance(page, Fetched):
        raise FetchError(url, "http_304", "answered 304 to a plain request")
    return page


def _known_hashes(inst: Installation, source: Source, guids: Sequence[str]) -> dict[str, str]:
    with reading(inst.engine) as conn:
        known = articles.list_known_hashes(conn, source.id, guids)
        return known | {each.guid: each.content_hash for each in held.list_held(conn, source.id)}


async def _look_at_pages(inst: Installation, egress: Egress, source: Source, *, is_forced: bool) -> Look:
    """A sitemap, or a page that lists articles: those of the pages named that were never seen are read."""
    answer, full_fetch_at = await _ask(inst, egress, source, is_forced=is_forced)
    if not isinstance(answer, Fetched) or _is_same(source, answer, is_forced=is_forced):
        return Look(
            source=source,
            found=None,
            full_fetch_at=full_fetch_at,
            fresh_s=answer.fresh_s,
            permanent_url=answer.permanent_url,
        )
    if source.kind is SourceKind.SITEMAP:
        links, is_index, notes = await _sitemap_links(egress, source, answer)
    else:
        links, is_index, notes = await _page_links(egress, source, answer), False, ()
    guids = [page_guid(link.url) for link in links]
    known = await asyncio.to_thread(_known_guids, inst, source, guids)
    limit = _pages_wanted(source)
    chosen = choose_pages(links, known, limit=limit)
    found = await _read_pages(inst, egress, source, chosen)
    rest = set(guids) - known - {page_guid(link.url) for link in chosen}
    if source.baseline_at is None and source.backfill != "all":
        remembered = dict.fromkeys(rest, _THERE_BEFORE)
        found, rest = replace(found, remembered={**remembered, **found.remembered}), set()
    # What an index names may have changed although the index has not; what was left is there still.
    is_settled = not rest and not is_index and not found.problems
    found = replace(found, problems=(*notes, *found.problems))
    return Look(
        source=source,
        found=found,
        validators=_validators(source, answer) if is_settled else Validators(),
        full_fetch_at=full_fetch_at,
        fresh_s=answer.fresh_s,
        permanent_url=answer.permanent_url,
    )


def _pages_wanted(source: Source) -> int:
    if source.baseline_at is not None or source.backfill == "all":
        return PAGES_AT_ONCE
    return 0 if source.backfill == "none" else min(int(source.backfill), PAGES_AT_ONCE)


async def _sitemap_links(
    egress: Egress, source: Source, answer: Fetched
) -> tuple[Sequence[PageLink], bool, tuple[str, ...]]:
    """The pages that a sitemap names, whether it is an index, and what was left out."""
    top: Sitemap = await egress.parse(
        parse_sitemap, answer.body, url=answer.final_url, content_type=answer.content_type
    )
    links, notes = list(top.pages), [top.note]
    most = _MOST_CHILDREN
    if source.baseline_at is None:
        most = _MOST_CHILDREN_AT_FIRST
        if len(top.children) > most:
            count = f"names {len(top.children):,} sitemaps, more than {most}"
            raise ParseError(source.location, "too_large", f"{count}; add those that you want")
    for child in top.children[:most]:
        document = await _fetch_page(egress, source, child)
        # An index in an index is not followed: the protocol has none.
        below: Sitemap = await egress.parse(
            parse_sitemap, document.body, url=document.final_url, content_type=document.content_type
        )
        links += below.pages
        notes.append(below.note)
    return links, top.is_index, tuple(filter(None, notes))


async def _page_links(egress: Egress, source: Source, answer: Fetched) -> Sequence[PageLink]:
    links: Sequence[PageLink] = await egress.parse(
        list_page_links,
        answer.body,
        url=answer.final_url,
        content_type=answer.content_type,
        selector=source.selector,
    )
    if not links:
        hint = "give a selector" if not source.selector else f"'{source.selector}' picks no link"
        raise ParseError(source.location, "no_links", f"names no articles; {hint}")
    return links


async def _read_pages(inst: Installation, egress: Egress, source: Source, links: Sequence[PageLink]) -> Found:
    found: list[ParsedArticle] = []
    remembered: dict[str, str] = {}
    problems: list[str] = []
    for link in links:
        try:
            page = await _fetch_page(egress, source, link.url)
            article: ParsedArticle = await egress.parse(
                extract_article,
                page.body,
                link=link,
                url=page.final_url,
                content_type=page.content_type,
                now=inst.clock(),
            )
            found.append(article)
        except HostHeld as error:
            problems.append(str(error))
            break  # what is left is unknown still, and asked for with the next look
        except CollectError as error:
            # What will never be an article is not asked for again; what failed is, with the next look.
            if error.reason in _NEVER_AN_ARTICLE:
                remembered[page_guid(link.url)] = error.detail or error.reason
            else:
                problems.append(str(error))
    return Found(
        articles=found, remembered=remembered, problems=tuple(problems), is_partial=True, home_url=""
    )


def _known_guids(inst: Installation, source: Source, guids: Sequence[str]) -> set[str]:
    with reading(inst.engine) as conn:
        known = articles.list_known_hashes(conn, source.id, guids)
        return {*known, *held.list_held_guids(conn, source.id)}


async def _look_at_folder(inst: Installation, source: Source) -> Look:
    found = await asyncio.to_thread(_read_folder, inst, source)
    if found.waiting:
        # Who writes an article and then asks to collect means this article; it settles in a moment.
        await asyncio.sleep(SETTLE_S)
        found = await asyncio.to_thread(_read_folder, inst, source)
    for image in found.images:
        await asyncio.to_thread(_keep, inst, image.name, image.path)
    return Look(
        source=source,
        found=Found(
            articles=found.articles,
            unread=frozenset(found.unread),
            files=found.stamps,
            gone_files=tuple(found.gone),
            problems=tuple(str(problem) for problem in found.problems),
            is_whole=not found.waiting,
        ),
        title=found.title,
        full_fetch_at=inst.clock(),
    )


def _read_folder(inst: Installation, source: Source) -> FolderReading:
    with reading(inst.engine) as conn:
        known = source_files.list_file_stamps(conn, source.id)
    return read_folder(
        Path(source.location),
        zone=inst.settings.time_zone,
        now=inst.clock(),
        known=known if source.parser_version == PARSER_VERSION else {},
        media_base=inst.urls.absolute(inst.urls.media("")),
    )


def _keep(inst: Installation, name: str, path: Path) -> None:
    content = path.read_bytes()
    # It may have changed since it was looked at; then the next look sees it.
    if sha256(content).hexdigest() == Path(name).stem:
        keep_image(inst, name, content)
