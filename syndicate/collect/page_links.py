"""The articles that a page lists, as links. Fetches nothing; reads none of what they lead to."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Final
from urllib.parse import urlsplit

from cssselect import SelectorError
from lxml import etree, html
from lxml.cssselect import CSSSelector

from syndicate.collect.links import absolute_url, canonical_link, is_home_page
from syndicate.collect.pages import PageLink
from syndicate.collect.sanitise import shorten
from syndicate.collect.web_page import WebPage
from syndicate.errors import ParseError

__all__ = ["MAX_LINKS", "check_selector", "list_page_links"]

#: Links of one page. Our choice; a page that lists more lists its whole archive.
MAX_LINKS: Final = 1_000
_LINKS_READ: Final = 5_000
_TITLE_LIMIT: Final = 300

_HEADINGS: Final = frozenset(["h1", "h2", "h3", "h4", "h5", "h6"])
_BESIDE: Final = frozenset(["nav", "header", "footer", "aside", "form", "dialog"])
_BESIDE_ROLES: Final = frozenset(
    ["navigation", "banner", "contentinfo", "complementary", "search", "dialog", "menu"]
)
#: Words in class or id of what stands beside the content. A part of a name, bounded by what is no letter.
_BESIDE_NAMES: Final = re.compile(
    r"(?<![a-z])(nav|navbar|navigation|menu|mainmenu|footer|sidebar|breadcrumbs?|pagination|pager|cookies?|consent"
    r"|comments|share|sharing|social|related|tags|tagcloud|advert|ads?|sponsor(ed)?|skip-?links?|masthead"
    r"|popular|byline|author)(?![a-z])",
    re.IGNORECASE,
)
#: Paths of lists and services: those with a name after them, and those that hold no article themselves.
_LIST: Final = re.compile(
    r"/(tags?|category|categories|kategorien?|authors?|autor(en)?|people|users?|profile|page|seite|search|suche)"
    r"(/[^/]*)?/?$",
    re.IGNORECASE,
)
_SERVICE: Final = re.compile(
    r"/(topics?|themen?|login|signin|register|signup|account|cart|about(-us)?|contact|kontakt|imprint|impressum"
    r"|privacy(-policy)?|datenschutz|terms|agb|legal|cookies?|help|faq|jobs|careers|feed|rss|sitemap|subscribe"
    r"|newsletters?|archives?|archiv)(\.\w{2,5})?/?$",
    re.IGNORECASE,
)
_FILE: Final = re.compile(
    r"\.(pdf|jpe?g|png|gif|webp|avif|svg|mp[34]|m4a|ogg|zip|gz|xml|json|css|js|docx?|xlsx?|ics)$",
    re.IGNORECASE,
)
_DATED: Final = re.compile(r"/(19|20)\d\d[/-](0?[1-9]|1[0-2])(?!\d)")
_NUMBERED: Final = re.compile(r"(^|[/_=.-])\d{4,}(?!\d)")
_LINK_COUNT: Final = etree.XPath("count(.//a)")
_SAYS_NOTHING: Final = re.compile(
    r"(read|learn|find out|see|show|view) (more|on|article|all)\b.*|more|continue( reading)?\b.*|weiterlesen"
    r"|mehr|lire la suite|leer más|\d+ comments?|permalink|[\W\d_]*",
    re.IGNORECASE,
)


@dataclass(slots=True)
class _Candidate:
    """What is known so far about an address to which one or more links of the page lead."""

    url: str
    title: str
    score: int


def list_page_links(body: bytes, *, url: str, content_type: str, selector: str = "") -> tuple[PageLink, ...]:
    """The articles that a page lists, in its order, each address once; at most 1,000.

    With a CSS ``selector`` these are the links that it picks, and those inside of what it picks, wherever
    they lead. Without one they are those links of the main content to the same host that look like articles,
    judged by where they stand, by their words, and by their address. Raises ParseError, whose reason is one
    of empty, not_html, bad_selector.
    """
    page = WebPage(body, url=url, content_type=content_type)
    if selector:
        links = (a for element in _picked(page, selector) for a in element.iter("a"))
        found = list(_merged(page, ((a, 0) for a in links)))
    else:
        found = [c for c in _merged(page, _scored(page)) if c.score + _address_score(c.url) >= 2]
    return tuple(PageLink(url=c.url, title=c.title) for c in found[:MAX_LINKS])


def check_selector(selector: str, *, url: str) -> CSSSelector:
    """The selector, ready to use on a page; raises ParseError ``bad_selector`` that says what is wrong."""
    try:
        return CSSSelector(selector, translator="html")
    except (SelectorError, etree.XPathError) as error:
        why = " ".join(str(error).split()).rstrip(".")
        raise ParseError(
            url, "bad_selector", f"cannot be read with the selector '{selector}': {why}"
        ) from None


def _picked(page: WebPage, selector: str) -> list[html.HtmlElement]:
    try:
        found = check_selector(selector, url=page.url)(page.root)
    except etree.XPathError:
        raise ParseError(page.url, "bad_selector", f"cannot be read with the selector '{selector}'") from None
    return [e for e in found if isinstance(e, html.HtmlElement)] if isinstance(found, list) else []


def _merged(page: WebPage, links: Iterator[tuple[html.HtmlElement, int]]) -> Iterator[_Candidate]:
    """One candidate for each address; a picture, a headline and "read more" often lead to the same one."""
    by_address: dict[str, _Candidate] = {}
    for link, score in islice(links, _LINKS_READ):
        url = absolute_url(str(link.get("href") or ""), page.base).partition("#")[0]
        if not url or canonical_link(url) == canonical_link(page.url):
            continue
        title = _title(link)
        known = by_address.setdefault(canonical_link(url), _Candidate(url=url, title=title, score=score))
        if (score, len(title)) > (known.score, len(known.title)) and title:
            known.title = title
        known.score = max(known.score, score)
    return iter(by_address.values())


def _scored(page: WebPage) -> Iterator[tuple[html.HtmlElement, int]]:
    """The links of the main content to the same host, and how much each looks like a headline."""
    mains = [e for e in page.root.iter() if e.tag == "main" or e.get("role") == "main"]
    host = _host(page.url)
    for link in _links_of(mains[0] if len(mains) == 1 else page.root):
        url = absolute_url(str(link.get("href") or ""), page.base)
        if url and _host(url) == host and not is_home_page(url) and not _is_no_article(url):
            yield link, _headline_score(link)


def _is_no_article(url: str) -> bool:
    path = urlsplit(url).path
    return any(pattern.search(path) for pattern in (_FILE, _LIST, _SERVICE))


def _links_of(content: html.HtmlElement) -> Iterator[html.HtmlElement]:
    """The links inside of an element, without those of its navigation, adverts, comments and the like."""
    most = _count_links(content) / 2
    # Not by recursion: a hostile page nests deeper than Python's stack.
    waiting = [content]
    while waiting:
        here = waiting.pop()
        if here.tag == "a" and here.get("href"):
            yield here
        waiting.extend(child for child in reversed(here) if not _stands_beside(child, most))


def _stands_beside(element: html.HtmlElement, most: float) -> bool:
    if not isinstance(element.tag, str) or element.tag in {"a", "body", "html", "main", "article"}:
        return False
    if element.tag == "header":  # of a page, not of the card of an article
        return next(element.iterancestors("article"), None) is None
    if element.tag in _BESIDE or str(element.get("role") or "").lower() in _BESIDE_ROLES:
        return True
    if not _BESIDE_NAMES.search(f"{element.get('class') or ''} {element.get('id') or ''}"):
        return False
    # <div class="has-sidebar"> is the whole page.
    holds_content = next(element.iter("main", "article"), None) is not None
    return not holds_content and _count_links(element) <= most


def _count_links(element: html.HtmlElement) -> float:
    return float(str(_LINK_COUNT(element)))


def _headline_score(link: html.HtmlElement) -> int:
    title = _title(link)
    words = len(title.split())
    is_heading = any(e.tag in _HEADINGS for e in link.iter()) or any(
        e.tag in _HEADINGS for e in link.iterancestors()
    )
    in_card = next(link.iterancestors("article"), None) is not None
    # Scripts without spaces between words say as much in eight characters.
    is_long = words >= 4 or len(title) >= 25 or (words == 1 and len(title) >= 8 and not title.isascii())
    return 2 * is_heading + in_card + is_long - (words < 2 and not is_long)


def _address_score(url: str) -> int:
    parts = urlsplit(url)
    last = parts.path.rstrip("/").rpartition("/")[2]
    is_slug = len(re.findall(r"[^\W_]+", re.sub(r"\.\w{2,5}$", "", last))) >= 3
    is_named = bool(_DATED.search(parts.path) or _NUMBERED.search(f"{parts.path}?{parts.query}"))
    return int(is_slug or is_named)


def _title(link: html.HtmlElement) -> str:
    """The words of a link: of the heading in it if there is one, for cards are links as a whole."""
    heading = next((e for e in link.iter() if e.tag in _HEADINGS), link)
    words = shorten(" ".join(str(t) for t in heading.itertext()), _TITLE_LIMIT)
    return "" if _SAYS_NOTHING.fullmatch(words) else words


def _host(url: str) -> str:
    return (urlsplit(url).hostname or "").removeprefix("www.")
