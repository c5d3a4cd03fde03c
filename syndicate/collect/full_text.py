"""Articles out of web pages: whole ones, and the full text of those whose source gives only a part.

Fetches nothing. What is taken from a page is sanitised last of all, whichever library found it.
"""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import datetime
from functools import partial
from html import escape
from typing import Final

from syndicate.collect.dates import plausible
from syndicate.collect.files import same_words
from syndicate.collect.links import is_home_page
from syndicate.collect.main_text import find_main_text
from syndicate.collect.page_facts import PageFacts, list_authors
from syndicate.collect.pages import PageLink, page_guid
from syndicate.collect.parsed import choose_language, choose_title, labels, settle_dates
from syndicate.collect.sanitise import excerpt, plain_text
from syndicate.collect.web_page import WebPage
from syndicate.errors import ParseError
from syndicate.model import ParsedArticle

__all__ = ["as_summary", "extract_article", "take_full_text"]

#: Less text than this is a notice ("Please enable JavaScript"), and no article. Our choice; characters.
_SHORTEST: Final = 140
#: How much of what a source says has to come back in the text of its page, in words of four letters or more.
_SHARED: Final = 0.25
_FEWEST_WORDS: Final = 4


def extract_article(
    body: bytes, *, link: PageLink, url: str, content_type: str, now: datetime
) -> ParsedArticle:
    """The article on a page that a sitemap or a list names.

    ``link`` is how it was named; its ``page_guid`` is the article's, and its title, language and dates stand
    in for what the page does not say. ``url`` is where the page was found, after redirects. Raises
    ParseError, whose reason is one of empty, not_html, no_article.
    """
    if is_home_page(url) and not is_home_page(link.url):
        raise ParseError(link.url, "no_article", "leads to the front page of its site, not to an article")
    page = WebPage(body, url=url, content_type=content_type)
    facts = PageFacts(page)
    text = find_main_text(page, now=now, at_least=_SHORTEST)
    if text is None or text.length < _SHORTEST:
        raise ParseError(link.url, "no_article", "holds no text that looks like an article")
    title = facts.title or text.title or link.title
    content = _without_title(text.content_html, title)
    published_at, quality = facts.published(text, link)
    article = ParsedArticle(
        guid=page_guid(link.url),
        url=facts.address(link.url),
        title=choose_title(title, content),
        content_html=content,
        summary=facts.summary or excerpt(content),
        authors=facts.authors or list_authors(text.authors),
        tags=facts.tags or labels(text.tags),
        language=facts.language or choose_language(link.language),
        image_url=facts.image_url,
        published_at=published_at,
        published_quality=quality,
        # When a page was changed says little; it is better than nothing where nothing else is said.
        updated_at=facts.modified_at or (None if published_at else link.last_modified_at),
    )
    return settle_dates(article, partial(plausible, now=now))


def take_full_text(
    article: ParsedArticle, body: bytes, *, url: str, content_type: str, now: datetime
) -> ParsedArticle:
    """The article with the text of the page that it links to, and with picture, author and language if it
    has none.

    Guid, URL, title, dates and summary stay as the source gives them. Where the page gives no more text than
    the source, or text about something else (a notice, a form to log in), the source's text stays too, and
    the note says so. Never raises for what a page holds.
    """
    try:
        page = WebPage(body, url=url, content_type=content_type)
    except ParseError as error:
        return _noted(article, f"its page {error.detail}")
    facts = PageFacts(page)
    given = plain_text(article.content_html)
    text = find_main_text(page, now=now, at_least=len(given))
    content = article.content_html
    if text is None or text.length < max(len(given), _SHORTEST):
        article = _noted(article, "its page gives no more text than its source")
    elif not _is_about(article, given, f"{facts.title} {plain_text(text.content_html)}"):
        article = _noted(article, "its page is about something else, so it has the text of its source")
    else:
        content = _without_title(text.content_html, article.title)
    return replace(
        article,
        content_html=content,
        summary=article.summary or excerpt(content),
        authors=article.authors or facts.authors or list_authors(text.authors if text else ()),
        language=article.language or facts.language,
        image_url=article.image_url or facts.image_url,
    )


def as_summary(article: ParsedArticle) -> ParsedArticle:
    """The article with its summary for a text: the first words, for whoever follows the link."""
    words = article.summary or excerpt(article.content_html)
    return replace(
        article, content_html=f"<p>{escape(words, quote=False)}</p>" if words else "", summary=words
    )


def _without_title(content: str, title: str) -> str:
    """The text without its first heading if that repeats the title, which is shown above it anyway."""
    found = re.match(r"\s*<h[12](?: [^>]*)?>(.*?)</h[12]>\s*", content, re.DOTALL)
    return content[found.end() :] if found and same_words(plain_text(found.group(1)), title) else content


def _is_about(article: ParsedArticle, given: str, text: str) -> bool:
    """Whether a text shares enough words with what a source says; scripts without spaces are not judged."""
    words = _words(f"{article.title} {given}")
    if len(words) < _FEWEST_WORDS or given.count(" ") < len(given) / 50:
        return True
    return len(words & _words(text)) >= _SHARED * len(words)


def _words(text: str) -> frozenset[str]:
    return frozenset(re.findall(r"\w{4,}", text.casefold()))


def _noted(article: ParsedArticle, words: str) -> ParsedArticle:
    return replace(article, note="; ".join(filter(None, [article.note, words])))
