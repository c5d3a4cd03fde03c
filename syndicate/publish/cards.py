"""What pages are made from, besides the words of ``syndicate.model``. Values only: no HTML, no SQL.

All texts are plain text as people wrote them; the templates escape them.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from subscribers.model import Cadence
from syndicate.model import Article, Newsletter

__all__ = [
    "ArticleCard",
    "ArticleSection",
    "EditionCard",
    "NewsletterCard",
    "Pagination",
    "PostboxCard",
    "PostboxMessage",
    "PreferencesForm",
    "SiteInfo",
    "SubscribeForm",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteInfo:
    """The installation as its visitors know it."""

    title: str
    url: str  #: public address, http(s)


@dataclass(frozen=True, slots=True, kw_only=True)
class ArticleCard:
    """An article in a list, and where its title leads."""

    article: Article
    url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ArticleSection:
    """Articles under one label; the label is empty when there is nothing to tell apart."""

    label: str
    articles: tuple[ArticleCard, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class EditionCard:
    """An edition in a list."""

    id: int
    subject: str
    opened_at: datetime
    url: str
    count: int  #: of its articles


@dataclass(frozen=True, slots=True, kw_only=True)
class NewsletterCard:
    """A newsletter on the site's front page, with the newest of its articles."""

    newsletter: Newsletter
    latest: tuple[ArticleCard, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Pagination:
    """Which page of a long list this is."""

    number: int  #: from 1
    last: int  #: the number of the last page


@dataclass(frozen=True, slots=True, kw_only=True)
class SubscribeForm:
    """What stands in the subscribe form: nothing yet, or what a visitor sent and has to correct."""

    email: str = ""
    name: str = ""
    cadence: Cadence | None = None  #: None: the newsletter's first one
    topics: frozenset[str] = frozenset()  #: slugs; empty means every topic


@dataclass(frozen=True, slots=True, kw_only=True)
class PreferencesForm:
    """What stands in a reader's preferences."""

    email: str  #: shown, not to be changed
    is_active: bool  #: whether the reader gets any mail at all
    name: str
    cadence: Cadence
    topics: frozenset[str]  #: slugs; empty means every topic


@dataclass(frozen=True, slots=True, kw_only=True)
class PostboxCard:
    """A mail in the list of the embedded mailbox."""

    key: str
    recipient: str
    sender: str
    subject: str
    received_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class PostboxMessage:
    """A mail of the embedded mailbox, opened."""

    card: PostboxCard
    headers: tuple[tuple[str, str], ...]  #: name and decoded value, in the message's order
    text: str  #: the text part; may be empty
    has_html: bool
