"""What every feed format says, before any of them says it. Pure; knows no format, no SQL and no network.

A format reads only these values: whatever could break a document (a control character, a missing title,
a relative address) has been put right here, once for all of them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from datetime import date, datetime
from html import escape
from typing import Any, Final
from urllib.parse import quote

from syndicate.errors import UsageError
from syndicate.model import Article, Author, Enclosure

__all__ = ["Entry", "EntrySource", "Feed", "mint_atom_id"]

#: What XML 1.0 section 2.2 forbids, lone surrogates included, and the controls that it discourages.
_UNFIT: Final = re.compile(r"[^\t\n\r\x20-\x7e\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_WEB_ADDRESS: Final = re.compile(r"https?://[^/?#]", re.IGNORECASE)
#: Brackets may stand in a host (IPv6), and nowhere else (RFC 3986 section 3.2.2).
_SITE_AND_REST: Final = re.compile(r"((?:https?://[^/?#]*)?)(.*)", re.IGNORECASE | re.DOTALL)
_STRAY_PERCENT: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")
_MEDIA_TYPE: Final = re.compile(r"[a-z0-9][a-z0-9!#$&^_.+-]*/[a-z0-9][a-z0-9!#$&^_.+-]*")
_MAIL_ADDRESS: Final = re.compile(r"[A-Za-z0-9._+-]+@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+")
_TAG_AUTHORITY: Final = re.compile(
    r"([a-z0-9._-]+@)?[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class EntrySource:
    """The feed from which a collected article came (RFC 4287 section 4.2.11)."""

    atom_id: str  #: an IRI
    title: str  #: its address stands in for an empty one
    url: str  #: its site; may be empty
    feed_url: str  #: may be empty
    updated_at: datetime

    def __post_init__(self) -> None:
        _clean_fields(self)
        _set(self, "title", " ".join(self.title.split()) or self.url or self.feed_url or self.atom_id)
        _set(self, "url", _web_address(self.url))
        _set(self, "feed_url", _web_address(self.feed_url))


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """An article as feeds show it. Formats read the properties, never the article itself."""

    article: Article
    link: str  #: absolute http(s); comes out percent-encoded
    source: EntrySource | None  #: None for an article that was published here

    def __post_init__(self) -> None:
        _clean_fields(self)
        _set(self, "link", _percent_encoded(self.link))

    @property
    def atom_id(self) -> str:
        """Its lasting identity, the same in each format."""
        return self.article.atom_id

    @property
    def title(self) -> str:
        """Plain text on one line; the link stands in for a title that is empty."""
        return " ".join(self.article.title.split()) or self.link

    @property
    def summary(self) -> str:
        """Plain text, never empty."""
        return self.article.summary.strip() or self.title

    @property
    def content_html(self) -> str:
        """The whole article as HTML, never empty."""
        return self.article.content_html.strip() or f"<p>{escape(self.summary, quote=False)}</p>"

    @property
    def published_at(self) -> datetime:
        """When it counts as published, so that a date in the future pins it to the top of no reader."""
        return self.article.sorts_at

    @property
    def updated_at(self) -> datetime:
        """The last change that a reader would notice."""
        return self.article.updated_at

    @property
    def language(self) -> str:
        """BCP 47, or empty."""
        return self.article.language

    @property
    def authors(self) -> tuple[Author, ...]:
        """Those that have a name; a mail or web address that is none comes out empty."""
        return tuple(
            Author(
                name=" ".join(author.name.split()),
                email=author.email if _MAIL_ADDRESS.fullmatch(author.email) else "",
                url=_web_address(author.url),
            )
            for author in self.article.authors
            if author.name.strip()
        )

    @property
    def tags(self) -> tuple[str, ...]:
        """Each once, as written."""
        return tuple(dict.fromkeys(folded for tag in self.article.tags if (folded := " ".join(tag.split()))))

    @property
    def image_url(self) -> str:
        """An absolute http(s) address, or empty."""
        return _web_address(self.article.image_url)

    @property
    def enclosures(self) -> tuple[Enclosure, ...]:
        """Those at an http(s) address, each with a media type; ``length`` is None if it is unknown."""
        return tuple(
            Enclosure(url=url, type=_media_type(given.type), length=_length_bytes(given.length))
            for given in self.article.enclosures
            if (url := _web_address(given.url))
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Feed:
    """One feed, whatever the format. Entries come newest first; how many is the caller's decision."""

    title: str
    description: str  #: plain text; the title stands in for an empty one
    language: str  #: BCP 47
    home_url: str  #: the page that this is the feed of
    self_url: str  #: exactly where this document is served
    atom_id: str  #: an IRI, the same in each format
    generated_from_at: datetime  #: when its newsletter was made: the date of a feed without entries
    author_name: str  #: for entries that name no author; the title stands in for an empty one
    entries: tuple[Entry, ...]

    def __post_init__(self) -> None:
        _clean_fields(self)
        _set(self, "title", " ".join(self.title.split()) or self.home_url)
        _set(self, "description", self.description.strip() or self.title)
        _set(self, "author_name", self.author_name.strip() or self.title)
        _set(self, "home_url", _percent_encoded(self.home_url))
        _set(self, "self_url", _percent_encoded(self.self_url))

    @property
    def updated_at(self) -> datetime:
        """The last change of any entry. Never the clock: equal content gives equal bytes."""
        return max((entry.updated_at for entry in self.entries), default=self.generated_from_at)


def mint_atom_id(authority: str, date: date, specific: str) -> str:
    """A tag: URI (RFC 4151) that no other article of this authority has, if ``specific`` is its own.

    ``authority`` is a domain name or mail address that was the operator's on that day. To be called once
    for each article, when it is stored: an id that is minted again from what can change is no identity.
    Raises UsageError for an authority that a tag: URI cannot hold, such as an IPv6 address.
    """
    mailbox, at, host = authority.rpartition("@")
    try:
        name = f"{mailbox}{at}{host.encode('idna').decode('ascii')}".lower()
    except UnicodeError:
        name = ""
    if not _TAG_AUTHORITY.fullmatch(name):
        raise UsageError(f"'{authority}' cannot stand in a tag: URI; use a domain name, such as example.org")
    # RFC 4151 section 2.1: specific = *( pchar / "/" / "?" ), with pchar of RFC 3986
    opaque = quote(specific, safe="!$&'()*+,;=:@/?")
    return f"tag:{name},{date.isoformat()}:{opaque}"


def _set(instance: object, name: str, value: object) -> None:
    object.__setattr__(instance, name, value)  # the way of a frozen dataclass in __post_init__


def _clean_fields(instance: Any) -> None:
    for field in fields(instance):
        _set(instance, field.name, _clean(getattr(instance, field.name)))


def _clean(value: Any) -> Any:
    # exactly str: an enum's member is one too, and stays what it is
    if type(value) is str:
        return _UNFIT.sub("", value)
    if isinstance(value, tuple):
        return tuple(_clean(item) for item in value)
    if isinstance(value, Article | Author | Enclosure):
        return type(value)(**{f.name: _clean(getattr(value, f.name)) for f in fields(value)})
    return value


def _percent_encoded(url: str) -> str:
    # RSS knows URIs only, and a slug keeps the letters of its script; what is encoded already stays
    site, rest = _SITE_AND_REST.fullmatch(url.strip()).groups()  # type: ignore[union-attr] # it matches any text
    stray = _STRAY_PERCENT.sub("%25", rest)
    return quote(site, safe="%:/@[]") + quote(stray, safe="!#$%&'()*+,/:;=?@~")


def _web_address(url: str) -> str:
    return _percent_encoded(url) if _WEB_ADDRESS.match(url.strip()) else ""


def _media_type(given: str) -> str:
    # each format demands a type; RFC 2046 section 4.5.1 names this one for what is not known
    bare = given.partition(";")[0].strip().lower()
    return bare if _MEDIA_TYPE.fullmatch(bare) else "application/octet-stream"


def _length_bytes(given: int | None) -> int | None:
    return given if given is not None and given > 0 else None
