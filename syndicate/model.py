"""The words of ARCHITECTURE.md as values: frozen dataclasses and enums. No I/O.

Every instant (``_at``) is aware and in UTC; a nominal local time (``_local``) is text such as
``2026-10-25T02:30``. ``Cadence`` is the reader's word and lives in ``subscribers.model``.
"""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from functools import cached_property
from typing import Final

from subscribers.model import Cadence

__all__ = [
    "ANY_CADENCE",
    "SETTLED",
    "Article",
    "Author",
    "DateQuality",
    "Delivery",
    "DeliveryState",
    "Edition",
    "EditionState",
    "Enclosure",
    "FileStamp",
    "FullText",
    "HeldArticle",
    "KnownArticle",
    "Newsletter",
    "Origin",
    "ParsedArticle",
    "Schedule",
    "Source",
    "SourceKind",
    "SourceState",
    "UncertainPolicy",
    "slugify",
]


class SourceKind(StrEnum):
    """Where articles come from."""

    FEED = "feed"
    FOLDER = "folder"
    SITEMAP = "sitemap"
    PAGE = "page"
    PUSH = "push"  # nothing is fetched: articles are handed in


class SourceState(StrEnum):
    """Whether a source is collected."""

    ACTIVE = "active"
    PAUSED = "paused"
    GONE = "gone"  # the server said 410; never asked again
    LOST = "lost"  # 404 for a month; asked once a day


class FullText(StrEnum):
    """How much of an article is taken."""

    AS_IS = "as-is"  # what the source gives
    FULL_TEXT = "full-text"  # what stands on the page that it links to
    SUMMARY = "summary"  # the first words and the link


class Origin(StrEnum):
    """How an article came in, which decides whether it is mailed."""

    NEW = "new"
    BASELINE = "baseline"  # was there when the source was added; shown, not mailed
    BACKFILL = "backfill"  # was there too, and the operator asked for it to be mailed


class DateQuality(StrEnum):
    """How far a publication date can be trusted."""

    GIVEN = "given"
    DAY = "day"  # a date without a time
    UPDATED = "updated"  # only a date of change was given
    FIRST_SEEN = "first_seen"  # none was given, or an impossible one


class EditionState(StrEnum):
    """The life of an edition."""

    DRAFT = "draft"
    APPROVED = "approved"
    SENDING = "sending"
    PAUSED = "paused"
    HELD = "held"
    SENT = "sent"
    CANCELLED = "cancelled"


class DeliveryState(StrEnum):
    """The life of one reader's copy."""

    PENDING = "pending"
    ATTEMPTING = "attempting"
    SENT = "sent"
    DEFERRED = "deferred"
    FAILED = "failed"
    UNCERTAIN = "uncertain"
    SKIPPED = "skipped"


#: States from which a delivery moves no more by itself.
SETTLED: Final = frozenset({DeliveryState.SENT, DeliveryState.FAILED, DeliveryState.SKIPPED})

#: The cadence of a manual edition for every subscription, whatever its own.
ANY_CADENCE: Final = "any"


class UncertainPolicy(StrEnum):
    """What becomes of a delivery of which nobody can know whether it arrived (RFC 1047)."""

    RESEND = "resend"
    HOLD = "hold"


@dataclass(frozen=True, slots=True, kw_only=True)
class Author:
    """Who wrote an article."""

    name: str
    email: str = ""
    url: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Enclosure:
    """A file that comes with an article."""

    url: str
    type: str = ""  #: media type
    length: int | None = None  #: bytes


@dataclass(frozen=True, kw_only=True)  # no slots: a hash that was worked out once is kept, and pickled too
class ParsedArticle:
    """An article as a source gave it: sanitised and absolute, not yet compared with what is stored."""

    guid: str  #: identity within its source; compared as it is, never normalised
    url: str  #: absolute http(s) link, or empty
    title: str  #: plain text, never empty
    content_html: str  #: sanitised HTML with absolute URLs
    summary: str  #: plain text of at most about 300 characters, cut at a word
    authors: tuple[Author, ...] = ()
    tags: tuple[str, ...] = ()  #: labels as the source writes them
    language: str = ""  #: BCP 47, or empty
    image_url: str = ""
    enclosures: tuple[Enclosure, ...] = ()
    published_at: datetime | None = None  #: None: not given, or impossible
    published_quality: DateQuality = DateQuality.GIVEN
    updated_at: datetime | None = None
    note: str = ""  #: what had to be repaired, for the operator; not part of the content

    @cached_property
    def content_hash(self) -> str:
        """SHA-256 over what a reader sees, as hex. Dates are not in it; empty fields are left out, so
        that a field added later changes no old hash.
        """
        seen = {
            "title": self.title,
            "content": self.content_html,
            "summary": self.summary,
            "url": self.url,
            "authors": [[a.name, a.email, a.url] for a in self.authors],
            "tags": list(self.tags),
            "image": self.image_url,
            "enclosures": [[e.url, e.type, e.length] for e in self.enclosures],
        }
        text = json.dumps({k: v for k, v in seen.items() if v}, sort_keys=True, ensure_ascii=False)
        return hashlib.sha256(b"\x01" + text.encode("utf-8", "surrogatepass")).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownArticle:
    """As much of a stored article as it takes to tell whether a parsed one is new."""

    id: int
    guid: str
    url: str
    content_hash: str
    earlier_hashes: frozenset[str]  #: of its last 8 other revisions
    aliases: frozenset[str] = frozenset()  #: guids by which its source has called it besides
    title: str = ""
    text_key: str = ""  #: of ``collect.likeness``; empty for a short text
    published_at: datetime | None = None
    updated_at: datetime | None = None  #: by its source, of the current revision; not when we noticed
    revisions: int = 1  #: how many texts it has had
    turns: int = 0  #: how often it went back to an earlier text within the last day
    is_aside: bool = False  #: known, but not accepted: held, excluded, or marked as seen


@dataclass(frozen=True, slots=True, kw_only=True)
class Article:
    """An accepted article, in its current revision."""

    id: int
    sequence: int  #: strictly growing over the installation; "newer than" means this, never a date
    source_id: int
    guid: str
    atom_id: str  #: minted once (RFC 4151) and stored: a moved site posts nothing again
    slug: str
    url: str
    title: str
    content_html: str
    summary: str
    authors: tuple[Author, ...]
    tags: tuple[str, ...]
    language: str
    image_url: str
    enclosures: tuple[Enclosure, ...]
    published_at: datetime
    published_quality: DateQuality
    updated_at: datetime  #: the last change that a reader would notice
    first_seen_at: datetime
    content_hash: str
    revision: int  #: 1, 2, ...
    origin: Origin

    @property
    def sorts_at(self) -> datetime:
        """When it counts as published: a date in the future never pins an article to the top."""
        return min(self.published_at, self.first_seen_at)

    @property
    def topic_slugs(self) -> frozenset[str]:
        """Its tags in the form in which topics are compared."""
        return frozenset(slugify(tag) for tag in self.tags)


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where articles come from, and how it has been lately."""

    id: int
    kind: SourceKind
    location: str  #: a URL, or an absolute path
    title: str
    state: SourceState
    backfill: str  #: none, all, or a number
    baseline_at: datetime | None  #: when the first valid document was taken; None: not yet
    etag: str  #: validators: opaque, exactly as the server gave them
    last_modified: str
    body_hash: str
    interval_s: int
    next_due_at: datetime
    last_checked_at: datetime | None
    last_success_at: datetime | None
    failures: int  #: in a row
    failing_since: datetime | None  #: when the first of them was
    error_reason: str  #: the last one's short code, such as ``timeout``; empty while all is well
    last_error: str
    created_at: datetime
    full_text: FullText
    selector: str  #: CSS, of the links of a page; empty: found out
    rules: tuple[str, ...]  #: which articles are taken, as the operator wrote them
    topic_map: Mapping[str, str]  #: the source's label -> ours; empty: the label is dropped
    needs_approval: bool  #: new articles wait for the operator
    is_intranet: bool  #: may be in a network of [fetch] allow_private
    validators_url: str  #: the URL that gave them, if it is not the location
    parser_version: int  #: of the program that read the body which the validators are of
    full_fetch_at: datetime | None  #: when the whole document was last asked for
    moved_to: str  #: where permanent redirects lead, or empty
    moved_since: datetime | None
    moved_seen: int  #: fetches in a row that were led there
    earlier_locations: tuple[str, ...]
    lease_expires_at: datetime | None  #: until when somebody collects it
    fence: int  #: grows with each lease: who comes back late writes nothing


@dataclass(frozen=True, slots=True, kw_only=True)
class FileStamp:
    """A file of a folder as it was read: one with the same time and size is not read again."""

    mtime_ns: int
    size: int  #: bytes
    content_hash: str  #: SHA-256 of the file, as hex
    guid: str = ""  #: of the article in it; empty if it holds none, such as a draft
    images: tuple[tuple[str, int, int], ...] = ()  #: that it shows: name, mtime_ns and size; 0, 0: missing


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldArticle:
    """An article that waits for the operator, or that a rule keeps out."""

    source_id: int
    guid: str
    content_hash: str
    reason: str  #: ``flood``, ``approval``, or the rule that keeps it out
    held_at: datetime
    article: ParsedArticle | None  #: None: kept out for good, only remembered


@dataclass(frozen=True, slots=True, kw_only=True)
class Newsletter:
    """What people subscribe to."""

    id: int
    slug: str
    title: str
    description: str
    language: str  #: BCP 47
    from_name: str
    from_email: str
    reply_to: str  #: may be empty
    postal_address: str  #: shown in each mail (CAN-SPAM)
    subject_template: str  #: Jinja2 over title, count, lead, date
    topics: tuple[str, ...]  #: labels offered to readers, in the operator's order
    time_zone: str  #: IANA name; its schedules are in this zone
    uncertain_policy: UncertainPolicy
    content_version: int  #: counts every change that its feeds show
    changed_at: datetime  #: when that was last counted
    cadences: tuple[Cadence, ...]  #: on offer; the first one is the default
    created_at: datetime

    def topic_label(self, slug: str) -> str | None:
        """The label of a topic by its slug, or None if this newsletter does not offer it."""
        return next((t for t in self.topics if slugify(t) == slug), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """When a newsletter's editions of one cadence open, in the newsletter's zone."""

    newsletter_id: int
    cadence: Cadence
    hour: int
    minute: int
    weekday: int | None  #: Monday is 0; weekly only
    monthday: int | None  #: 1 to 28; monthly only
    after_local: str  #: the last slot that was dealt with, or when the schedule was made; "" for never


@dataclass(frozen=True, slots=True, kw_only=True)
class Edition:
    """One digest of a newsletter."""

    id: int
    newsletter_id: int
    cadence: str  #: a cadence, or ANY_CADENCE for a manual edition for all of them
    slot: str  #: nominal local time ("2026-10-25T02:30"), or a unique manual key
    state: EditionState
    reason: str  #: why it is held or paused; empty otherwise
    cutoff: int  #: the sequence up to which it may include articles
    policy: UncertainPolicy
    subject: str  #: of the whole edition, for lists; a reader's own may differ
    opened_at: datetime
    finished_at: datetime | None

    @property
    def cadence_filter(self) -> str | None:
        """The cadence that its readers have, or None for a manual edition for all of them."""
        return None if self.cadence == ANY_CADENCE else self.cadence


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One reader's copy of one edition."""

    edition_id: int
    subscriber_id: int
    subscription_id: int
    address: str  #: frozen when the edition opened
    name: str
    reason: str  #: why this reader is in the audience
    watermark: int  #: frozen too, so that every attempt has the same articles
    topics: tuple[str, ...]
    state: DeliveryState
    attempts: int
    attempted_at: datetime | None
    next_attempt_at: datetime | None
    reply: str  #: the server's last words, at most 500 characters


def slugify(text: str, limit: int = 60) -> str:
    """The text as lower-case words joined by hyphens, for URLs and for comparing topics.

    Letters of every script are kept (an Arabic title has an Arabic slug); never empty.
    """
    folded = unicodedata.normalize("NFKC", text).casefold()
    words = re.sub(r"[^\w]+", "-", folded.replace("'", "").replace("’", "")).strip("-_")
    if len(words) > limit:
        words = words[: limit + 1].rsplit("-", 1)[0][:limit].strip("-_")
    return words or "untitled"
