"""How like two texts are: by their words, and as a reader sees them. Pure; decides nothing about articles."""

from __future__ import annotations

import hashlib
import html
import re
import unicodedata
from dataclasses import replace
from itertools import pairwise
from typing import Final

from syndicate.collect.links import canonical_link
from syndicate.collect.sanitise import plain_text
from syndicate.model import KnownArticle, ParsedArticle

__all__ = ["is_cosmetic", "is_mostly_other", "same_title", "text_key"]

#: Two articles may well begin with the same few words; only a text of this many characters says which it is.
_TELLING: Final = 200
#: Of the pairs of words that follow each other, how many the shorter text has to share with the other.
_MOST: Final = 0.5

_SIZE: Final = re.compile(r' (?:width|height)="[^"]*"')
_ADDRESS: Final = re.compile(r'( (?:href|src)=")(https?:[^"]*)"')
_TAG: Final = re.compile(r"<[^>]*>")
_AROUND_TAGS: Final = re.compile(r"\s*(<[^>]*>)\s*")


def text_key(article: ParsedArticle) -> str:
    """SHA-256 over title and folded text, as hex: equal for the same words, whatever their case, spacing and
    markup. Empty if the text has fewer than 200 characters, for such a text names no article.
    """
    # The tags of sanitised HTML are plain to see; to parse it again would cost ten times as much.
    text = _fold(html.unescape(_TAG.sub(" ", article.content_html)))
    if len(text) < _TELLING:
        return ""
    both = f"{_fold(article.title)}\x00{text}".replace(" ", "")  # a tag may stand inside of a word
    return hashlib.sha256(both.encode("utf-8", "surrogatepass")).hexdigest()


def same_title(one: str, other: str) -> bool:
    """Whether two titles say the same, whatever their case and spacing."""
    return one == other or _fold(one) == _fold(other)


def is_mostly_other(article: ParsedArticle, title: str, content_html: str) -> bool:
    """Whether title and text of an article have less than half in common with these.

    Compared are the pairs of words that follow each other, against the shorter of the two: a text that was
    cut down or continued is not another one.
    """
    one = _pairs(f"{article.title} {plain_text(article.content_html)}")
    other = _pairs(f"{title} {plain_text(content_html)}")
    return len(one & other) < _MOST * min(len(one), len(other))


def is_cosmetic(article: ParsedArticle, known: KnownArticle, content_html: str) -> bool:
    """Whether an article differs from the stored one, whose HTML this is, in nothing that a reader notices:
    only in white space, in the parameters of its links that track people, or in the sizes of its images.
    """
    if article.url and canonical_link(article.url) != (canonical_link(known.url) if known.url else ""):
        return False
    # With the stored text and link in it the new article has the stored hash if all the rest is equal.
    rest = replace(article, content_html=content_html, url=known.url)
    return rest.content_hash == known.content_hash and _seen(article.content_html) == _seen(content_html)


def _seen(markup: str) -> str:
    bare = _ADDRESS.sub(_plain_address, _SIZE.sub("", markup))
    if "<pre" in bare:
        return bare  # where spaces are text
    return _AROUND_TAGS.sub(r"\1", " ".join(bare.split()))


def _plain_address(match: re.Match[str]) -> str:
    try:
        return f'{match.group(1)}{canonical_link(html.unescape(match.group(2)))}"'
    except ValueError:  # a link in a text need not be one that works
        return match.group()


def _pairs(text: str) -> set[tuple[str, str]]:
    words = _fold(text).split()
    return set(pairwise(words)) or {(word, "") for word in words}


def _fold(text: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())
