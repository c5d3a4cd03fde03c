"""HTML files to articles. Reads no file and no clock, fetches nothing that a page points to."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime, tzinfo
from typing import Final

from lxml import etree, html

from syndicate.collect.charset import charset_of, xml_charset
from syndicate.collect.dates import parse_date
from syndicate.collect.files import (
    PlaceImage,
    image_note,
    not_placed,
    read_text,
    same_words,
    title_from_path,
)
from syndicate.collect.links import absolute_url
from syndicate.collect.main_text import find_main_text
from syndicate.collect.parsed import choose_guid, choose_language, choose_title, labels
from syndicate.collect.sanitise import excerpt, plain_text, sanitise, shorten
from syndicate.collect.web_page import WebPage
from syndicate.errors import ParseError
from syndicate.model import Author, DateQuality, ParsedArticle

__all__ = ["parse_html"]

_META: Final = re.compile(rb"<meta[^>]{0,300}>", re.IGNORECASE)
_WHOLE_PAGE: Final = re.compile(r"<(html|head|body)[\s>]", re.IGNORECASE)
_HEAD_BYTES: Final = 4_096
_ONLY_DATE: Final = re.compile(r"((published|posted|date)( on)?:?)?\s*", re.IGNORECASE)
_DATELINE: Final = 100  # characters
_BESIDE: Final = frozenset(["aside", "footer", "nav"])
_BESIDE_NAME: Final = re.compile(r"\b(menu|nav|navbar|navigation|sidebar|footer)\b", re.IGNORECASE)
#: The date that is found with a main text is not used: the page's own is better.
_ANY_DATE: Final = datetime(9000, 1, 1, tzinfo=UTC)


def parse_html(
    body: bytes, *, path: str, zone: tzinfo, place_image: PlaceImage = not_placed
) -> ParsedArticle:
    """The article in an HTML file: a whole page, or a fragment.

    Of a page the only ``<article>`` is taken, else the only ``<main>``; else the main text if there are menus
    and the like around it, else the body. Title, author, dates, summary, tags, canonical link, image and
    language come from the page's head, and the title also from its ``<h1>``, which is left out of the text
    where it repeats it, as a line is that only gives the date.
    Relative links and images fare as in Markdown. Raises ParseError.
    """
    charsets = [charset_of(m.decode("latin-1")) for m in _META.findall(body[:_HEAD_BYTES])]
    text, note = read_text(body, path=path, declared=[*filter(None, charsets), xml_charset(body)])
    page = _Page(text, path)
    published_at, quality = page.date(["article:published_time", "date", "dc.date"], zone)
    if published_at is None:
        published_at, quality = page.dateline(zone)
    updated_at, _ = page.date(["article:modified_time", "last-modified"], zone)
    title = page.take_title()
    url = absolute_url(page.link("canonical") or page.meta("og:url"))
    page.place_images(place_image)
    markup = page.content()
    content = page.main_text(url) or sanitise(markup, base_url=url)
    return ParsedArticle(
        guid=choose_guid("", path),
        url=url,
        title=choose_title(title or title_from_path(path), content),
        content_html=content,
        summary=shorten(page.meta("description") or page.meta("og:description")) or excerpt(content),
        authors=tuple(Author(name=shorten(name, 200)) for name in page.metas("author")),
        tags=labels([*page.metas("article:tag"), *",".join(page.metas("keywords")).split(",")]),
        language=choose_language(page.language),
        image_url=place_image(page.meta("og:image")) or absolute_url(page.meta("og:image"), url),
        published_at=published_at,
        published_quality=quality,
        updated_at=updated_at,
        note="; ".join(filter(None, [note, "" if url else image_note(markup)])),
    )


class _Page:
    """A parsed page and what it says about itself."""

    def __init__(self, text: str, path: str) -> None:
        parser = html.HTMLParser(encoding="utf-8", remove_comments=True, remove_pis=True, huge_tree=False)
        try:
            self.root = html.document_fromstring(text.encode(), parser=parser)
        except (etree.LxmlError, ValueError):
            raise ParseError(path, "not_html", "holds no HTML that can be read") from None
        self.is_whole = bool(_WHOLE_PAGE.search(text))
        self.language = str(self.root.get("lang") or "")
        body = self.root.find("body")
        self.body = body if body is not None else self.root
        self.main = self._main()

    def _main(self) -> html.HtmlElement:
        for tag in ("article", "main") if self.is_whole else ():
            found = list(self.root.iter(tag))
            if len(found) == 1:
                return found[0]
        return self.body

    def metas(self, name: str) -> tuple[str, ...]:
        """The contents of all ``<meta>`` of a name or property, in their order."""
        said = (
            str(m.get("content") or "").strip()
            for m in self.root.iter("meta")
            if name in {str(m.get("name") or "").lower(), str(m.get("property") or "").lower()}
        )
        return tuple(text for text in said if text)

    def meta(self, name: str) -> str:
        return next(iter(self.metas(name)), "")

    def link(self, relation: str) -> str:
        links = (e for e in self.root.iter("link") if relation in str(e.get("rel") or "").lower().split())
        return next((str(e.get("href") or "") for e in links), "")

    def date(self, names: Iterable[str], zone: tzinfo) -> tuple[datetime | None, DateQuality]:
        for name in names:
            at, quality = parse_date(self.meta(name), zone=zone)
            if at is not None:
                return at, quality
        return None, DateQuality.FIRST_SEEN

    def dateline(self, zone: tzinfo) -> tuple[datetime | None, DateQuality]:
        """The date of the first ``<time>``, if its line is short: in a long one it belongs to the story."""
        element = self._first_time()
        if element is None:
            return None, DateQuality.FIRST_SEEN
        return parse_date(str(element.get("datetime") or _words(element)), zone=zone)

    def take_title(self) -> str:
        """The title; takes the heading that says it, and a line that only gives the date, off the text."""
        heading = next(iter(self.main.iter("h1")), None)
        words = _words(heading) if heading is not None else ""
        title = self.meta("og:title") or words or plain_text(self.root.findtext(".//title") or "")
        if heading is not None and same_words(words, title):
            heading.drop_tree()
        time = self._first_time()
        line = time.getparent() if time is not None else None
        if (
            time is not None
            and line is not None
            and _ONLY_DATE.fullmatch(_words(line).replace(_words(time), ""))
        ):
            line.drop_tree()
        return title

    def _first_time(self) -> html.HtmlElement | None:
        element = next(iter(self.main.iter("time")), None)
        line = element.getparent() if element is not None else None
        is_short = line is not None and line is not self.main and len(_words(line)) <= _DATELINE
        return element if is_short else None

    def place_images(self, place_image: PlaceImage) -> None:
        """Gives the images of the article the addresses that are found for them."""
        for image in self.main.iter("img"):
            url = place_image(str(image.get("src") or ""))
            if url:
                image.set("src", url)

    def main_text(self, url: str) -> str:
        """The main text of a page whose body holds more than that, sanitised; empty if it does not, or if
        nothing on it looks like one. Links have to be absolute, or resolve against ``url``.
        """
        if not self.is_whole or self.main is not self.body or not any(map(_is_beside, self.body.iter("*"))):
            return ""
        page = WebPage(html.tostring(self.root), url=url, content_type="text/html")
        found = find_main_text(page, now=_ANY_DATE)
        return found.content_html if found is not None else ""

    def content(self) -> str:
        parts = [html.tostring(child, encoding="unicode") for child in self.main]
        return "".join([_escape(self.main.text or ""), *parts])


def _is_beside(element: html.HtmlElement) -> bool:
    """Whether an element stands beside the text of a page: a menu, a footer, a column."""
    names = f"{element.get('id') or ''} {element.get('class') or ''} {element.get('role') or ''}"
    return element.tag in _BESIDE or bool(_BESIDE_NAME.search(names))


def _words(element: html.HtmlElement) -> str:
    return " ".join(element.text_content().split())


def _escape(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;")
