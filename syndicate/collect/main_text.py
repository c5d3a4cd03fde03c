"""The main text of a web page, apart from its menus, adverts and comments. Fetches nothing.

Trafilatura finds it, and readability where that finds too little. Neither is ever given an address to
fetch: both see a parsed tree only, and so does htmldate, which downloads what looks like a URL.
"""

from __future__ import annotations

import logging
from copy import deepcopy
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from lxml import etree, html

from syndicate.collect.page_markup import mend, to_html
from syndicate.collect.sanitise import plain_text, sanitise
from syndicate.collect.web_page import WebPage

__all__ = ["MainText", "find_main_text"]

_PARAGRAPH: Final = 40  # characters that make a paragraph recognisable
_LIBRARIES: Final = ("trafilatura", "htmldate", "readability", "justext")


@dataclass(frozen=True, slots=True, kw_only=True)
class MainText:
    """The main text of a page, and what was found about it beside the page's head."""

    content_html: str  #: sanitised, with absolute URLs
    length: int  #: characters of plain text
    title: str = ""
    authors: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    day: str = ""  #: of publication, as YYYY-MM-DD, or empty


def find_main_text(page: WebPage, *, now: datetime, at_least: int = 0) -> MainText | None:
    """The main text of a page, or None if nothing on it looks like one.

    Where the first library finds less than ``at_least`` characters, the second is asked too, and the longer
    text is taken. The page's tree is changed: read its links before.
    """
    for name in _LIBRARIES:  # each page that they cannot read is our caller's to report
        logging.getLogger(name).setLevel(logging.CRITICAL)
    mend(page.root, page.base)
    found = _by_trafilatura(page, now)
    if found is not None and found.length >= max(at_least, 1):
        return found
    other = _by_readability(page)
    if found is None or other.length > found.length:
        return other if other.length else None
    return found


def _by_trafilatura(page: WebPage, now: datetime) -> MainText | None:
    document = _extract(page.root, page.base, now)
    if document is None or document.body is None:
        return None
    frame = _frame(page.root, document.body)
    if frame is not None:
        # A container by no usual name: the second look is told where to look, and keeps lists and headings.
        frame.tag = "article"
        frame.set("class", "post")
        again = _extract(page.root, page.base, now)
        if again is not None and again.body is not None and _size(again.body) >= 0.9 * _size(document.body):
            document = again
    content = sanitise(to_html(document.body), base_url=page.base)
    return MainText(
        content_html=content,
        length=len(plain_text(content)),
        title=document.title or "",
        authors=tuple(name.strip() for name in (document.author or "").split(";") if name.strip()),
        tags=tuple(document.tags or ()),
        day=document.date or "",
    )


def _extract(root: html.HtmlElement, base: str, now: datetime) -> Any:  # a Document of trafilatura, or None
    import trafilatura  # noqa: PLC0415 - takes 0.4 s, which only who reads a page is to pay

    try:
        return trafilatura.bare_extraction(
            root,
            url=base,
            fast=True,  # as good, quicker, and keeps the structure of the text
            output_format="xml",
            include_comments=False,
            include_images=True,
            include_links=True,
            include_formatting=True,
            with_metadata=True,
            date_extraction_params={
                "extensive_search": False,  # which takes any number in the text for a date
                "original_date": True,
                "max_date": (now + timedelta(days=1)).strftime("%Y-%m-%d"),
            },
        )
    except Exception:  # noqa: BLE001 - whatever a page does to one heuristic, there is another
        return None


def _by_readability(page: WebPage) -> MainText:
    from readability import Document  # type: ignore[import-untyped]  # noqa: PLC0415 - ships none; as above

    try:
        markup = Document(deepcopy(page.root), url=page.base).summary(html_partial=True)
    except Exception:  # noqa: BLE001 - the page has no main text, then
        markup = ""
    content = sanitise(markup, base_url=page.base)
    return MainText(content_html=content, length=len(plain_text(content)))


def _frame(root: html.HtmlElement, body: etree._Element) -> html.HtmlElement | None:
    """The element around all paragraphs that were found, if more than paragraphs was lost from it."""
    if next(body.iter("head", "list"), None) is not None:
        return None
    starts = {_start(p) for p in body.iter("p")} - {""}
    found = [p for p in root.iter("p") if _start(p) in starts]
    if len(found) < 2:
        return None
    shared = list(found[0].iterancestors())
    for paragraph in found[1:]:
        above = set(paragraph.iterancestors())
        shared = [element for element in shared if element in above]
    frame = shared[0]
    has_more = next(frame.iter("h2", "h3", "h4", "ul", "ol", "dl"), None) is not None
    return frame if has_more and frame.tag not in {"html", "article", "main"} else None


def _start(paragraph: etree._Element) -> str:
    text = " ".join("".join(str(t) for t in paragraph.itertext()).split())
    return text[:_PARAGRAPH] if len(text) >= _PARAGRAPH else ""


def _size(body: etree._Element) -> int:
    return sum(len(str(text)) for text in body.itertext())
