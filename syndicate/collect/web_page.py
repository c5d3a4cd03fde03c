"""A web page as it came over the wire: its tree, and what its head says. Fetches nothing, judges no text."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, Final

from lxml import etree, html

from syndicate.collect.charset import charset_of, decode, xml_charset
from syndicate.collect.links import absolute_url
from syndicate.collect.parsed import choose_language
from syndicate.collect.sanitise import clean_text, plain_text, shorten
from syndicate.errors import ParseError

__all__ = ["WebPage"]

_META: Final = re.compile(rb"<meta[^>]{0,300}>", re.IGNORECASE)
_HEAD_BYTES: Final = 4_096
#: What tells a page from a picture or a PDF, whatever its type says.
_MARKUP: Final = re.compile(r"<(!doctype html|html|head|body|main|article|div|p|h1|a)[\s>]", re.IGNORECASE)
_MARKUP_WITHIN: Final = 100_000  # characters
#: schema.org's types of a thing to be read; each of them ends so.
_READABLE: Final = ("Article", "BlogPosting", "Report")
_JSON_LIMIT: Final = 200_000  # characters of one script
_JSON_DEPTH: Final = 6


class WebPage:
    """A parsed page. Raises ParseError ``empty`` or ``not_html`` if it is none.

    ``url`` is where it was found; relative addresses resolve against it, or against its ``<base>``.
    """

    def __init__(self, body: bytes, *, url: str, content_type: str) -> None:
        self.url = url
        self.root = _parse(_text(body, url=url, content_type=content_type), url, content_type)
        bases = (str(e.get("href") or "") for e in self.root.iter("base"))
        self.base = next((found for b in bases if b and (found := absolute_url(b, url))), url)

    @property
    def language(self) -> str:
        """BCP 47, or empty."""
        said = self.root.get("lang") or self.root.get("{http://www.w3.org/XML/1998/namespace}lang")
        return choose_language(str(said or ""))

    @property
    def title(self) -> str:
        """The title of the window: plain text, or empty."""
        return shorten(plain_text(self.root.findtext(".//title") or ""))

    def metas(self, *names: str) -> tuple[str, ...]:
        """The contents of all ``<meta>`` of these names or properties, in their order."""
        said = (
            clean_text(str(m.get("content") or "")).strip()
            for m in self.root.iter("meta")
            if {str(m.get("name") or "").lower(), str(m.get("property") or "").lower()} & set(names)
        )
        return tuple(text for text in said if text)

    def meta(self, *names: str) -> str:
        """The first content of the first of these names that says anything, or empty."""
        return next((said[0] for name in names if (said := self.metas(name))), "")

    def link(self, relation: str) -> str:
        """Where the first ``<link>`` of a relation leads: absolute, or empty."""
        return next((url for url, _ in self.links(relation)), "")

    def links(self, relation: str) -> Iterator[tuple[str, str]]:
        """Address and media type of each ``<link>`` of a relation that leads anywhere."""
        for link in self.root.iter("link"):
            href = str(link.get("href") or "").strip()
            if href and relation in str(link.get("rel") or "").lower().split():
                url = absolute_url(href, self.base)
                if url:
                    yield url, str(link.get("type") or "").partition(";")[0].strip().lower()

    def described_article(self) -> dict[str, Any]:
        """The first article that the page describes in JSON-LD (schema.org), or nothing."""
        for script in self.root.iter("script"):
            text = script.text or ""
            if "ld+json" not in str(script.get("type") or "").lower() or len(text) > _JSON_LIMIT:
                continue
            try:
                described = json.loads(text, strict=False)
            except (ValueError, RecursionError):
                continue
            for thing in _things(described):
                if any(kind.endswith(_READABLE) for kind in _kinds(thing)):
                    return thing
        return {}


def _text(body: bytes, *, url: str, content_type: str) -> str:
    metas = (charset_of(meta.decode("latin-1")) for meta in _META.findall(body[:_HEAD_BYTES]))
    text, _ = decode(body, [charset_of(content_type), *filter(None, metas), xml_charset(body)])
    if not text.strip():
        raise ParseError(url, "empty", "is empty")
    return text


def _parse(text: str, url: str, content_type: str) -> html.HtmlElement:
    kind = shorten(content_type.partition(";")[0].strip().lower(), 60)
    if not _MARKUP.search(text, 0, _MARKUP_WITHIN):
        raise ParseError(url, "not_html", f"is no web page{f', but of type {kind}' if kind else ''}")
    parser = html.HTMLParser(encoding="utf-8", remove_comments=True, remove_pis=True, huge_tree=False)
    try:
        return html.document_fromstring(clean_text(text).encode(), parser=parser)
    except (etree.LxmlError, ValueError):
        raise ParseError(url, "not_html", "holds no HTML that can be read") from None


def _things(value: object, depth: int = 0) -> Iterator[dict[str, Any]]:
    """Every object of a JSON-LD document: they stand alone, in lists, and in ``@graph``."""
    if depth > _JSON_DEPTH:
        return
    if isinstance(value, list):
        for part in value:
            yield from _things(part, depth + 1)
    elif isinstance(value, dict):
        yield value
        yield from _things(value.get("@graph"), depth + 1)
        yield from _things(value.get("mainEntity"), depth + 1)


def _kinds(thing: dict[str, Any]) -> list[str]:
    kinds = thing.get("@type")
    return [str(kind) for kind in (kinds if isinstance(kinds, list) else [kinds])]
