"""Tokens: what a template holds in place of values that differ from reader to reader.

A token is ASCII letters and digits, so that escaping, inlining and URL rewriting leave it alone, and
holds a nonce that occurs in no article, so that no article can forge one. Knows no transfer encoding,
and puts no reader's value anywhere.
"""

from __future__ import annotations

import hashlib
import hmac
import html
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from html.parser import HTMLParser
from itertools import count
from typing import Final
from urllib.parse import quote

from lxml import etree
from markupsafe import Markup

from syndicate.digest.plain import clean_line
from syndicate.digest.view import ArticleView
from syndicate.errors import OperationError, TemplateError

__all__ = [
    "READER_SLOTS",
    "VARIANT_SLOTS",
    "Context",
    "Part",
    "Placeholders",
    "Slot",
    "When",
    "choose_nonce",
    "cut",
    "encode_value",
    "html_contexts",
]

READER_SLOTS: Final = ("name", "address", "unsubscribe_url", "preferences_url")
VARIANT_SLOTS: Final = ("subject", "preheader", "count", "left_out")
_SLOTS: Final = READER_SLOTS + VARIANT_SLOTS
_MAX_VALUE: Final = 320  # our choice; longer than any address can be (RFC 5321 section 4.5.3.1)
_MAX_URL: Final = 900
_URL: Final = re.compile(r"https?://[!#-;=?-Z\[\]_a-z~%]+")
_URL_ATTRIBUTES: Final = frozenset({"href", "src", "action", "background", "cite", "poster"})
_VOID: Final = frozenset({"br", "col", "hr", "img", "input", "link", "meta", "wbr"})


class Context(StrEnum):
    """Where a slot stands, which decides how its value is encoded."""

    TEXT = "text"  # between the tags of HTML
    ATTRIBUTE = "attribute"
    COMPONENT = "component"  # a part of a URL behind its host
    URL = "url"  # the whole of a URL attribute
    PLAIN = "plain"  # in text/plain


class When(StrEnum):
    """On what a piece of the document depends."""

    ALWAYS = "always"
    ARTICLES = "articles"  # one of its articles is shown
    NAMED = "named"  # the reader has given a name
    UNNAMED = "unnamed"
    ONE = "one"  # exactly one article is shown
    MANY = "many"
    MORE = "more"  # articles had to be left out


@dataclass(frozen=True, slots=True, kw_only=True)
class Slot:
    """A place for a value, and how the value is encoded there."""

    name: str
    context: Context


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A stretch of a document that is shown or not as a whole."""

    when: When
    article_ids: tuple[int, ...]  #: for When.ARTICLES only
    pieces: tuple[str | Slot, ...]


class Placeholders:
    """What one rendering of a template is given for the values of readers and variants.

    ``reader.*`` and ``variant.*`` are tokens to be printed, not values to be compared: for that there
    are the blocks ``{% call only_with(article) %}`` and ``{% call only_when("named") %}``.
    """

    def __init__(self, template: str, nonce: str) -> None:
        self.template, self.nonce = template, nonce
        self.is_html = template.endswith(".html")
        self.conditions: list[tuple[When, tuple[int, ...]]] = []

    @property
    def values(self) -> dict[str, object]:
        """The names that a template sees."""
        tokens = {name: Markup(f"zq{self.nonce}X{i:02d}zq") for i, name in enumerate(_SLOTS)}  # noqa: S704 - letters and digits
        return {
            "reader": {name: tokens[name] for name in READER_SLOTS},
            "variant": {name: tokens[name] for name in VARIANT_SLOTS},
            "only_with": self._only_with,
            "only_when": self._only_when,
        }

    def tokens_in(self, document: str) -> list[str]:
        """Every token of this rendering, in the order in which they stand."""
        return re.findall(rf"zq{self.nonce}(?:X\d\d|F\d+[be])zq", document)

    def error(self, detail: str) -> TemplateError:
        """A mistake that only shows in the finished document, where lines are not the template's."""
        return TemplateError(self.template, None, detail)

    def _only_with(self, *articles: ArticleView, caller: Callable[[], str]) -> str:
        return self._enclose(When.ARTICLES, tuple(a.id for a in articles), caller)

    def _only_when(self, condition: str, *, caller: Callable[[], str]) -> str:
        known = [w for w in When if w not in {When.ALWAYS, When.ARTICLES}]
        if condition not in known:
            raise ValueError(f"only_when('{condition}') is unknown; one of {', '.join(known)}")
        return self._enclose(When(condition), (), caller)

    def _enclose(self, when: When, article_ids: tuple[int, ...], caller: Callable[[], str]) -> str:
        number = len(self.conditions)
        self.conditions.append((when, article_ids))
        begin, end = (f"zq{self.nonce}F{number}{edge}zq" for edge in "be")
        if not self.is_html:
            return begin + caller() + end
        return Markup(f"<!--{begin}-->") + caller() + Markup(f"<!--{end}-->")  # noqa: S704 - as above


def choose_nonce(secret: bytes, purpose: str, content: str) -> str:
    """A nonce that does not occur in the content and that nobody without the secret can foresee.

    Equal input gives the same nonce, so that compiling twice gives the same bytes.
    """
    for number in count():  # pragma: no branch - it ends at the first nonce that is free
        text = f"nonce\0{purpose}\0{number}".encode()
        nonce = hmac.new(secret, text, hashlib.sha256).hexdigest()[:10]
        if f"zq{nonce}" not in content:
            break
    return nonce


def html_contexts(document: str, placeholders: Placeholders) -> list[Context]:
    """The context of each slot, in the order in which the slots stand in the document.

    Raises TemplateError for a slot where no encoding is safe: in a style, a script, a comment, an event
    attribute or the host of a URL.
    """
    root = etree.fromstring(document, etree.HTMLParser())
    contexts: list[Context] = []
    for event, element in etree.iterwalk(root, events=("start", "end", "comment")):
        if event == "start":
            for name, value in element.attrib.items():
                contexts += _attribute_contexts(str(name), str(value), placeholders)
            slots = _slots_in(element.text or "", placeholders)
            if slots and element.tag in {"style", "script", "textarea"}:
                raise placeholders.error(f"{_named(slots[0])} stands in <{element.tag}>; it cannot be there")
            contexts += [Context.TEXT] * len(slots)
        else:
            if event == "comment" and (slots := _slots_in(element.text or "", placeholders)):
                raise placeholders.error(f"{_named(slots[0])} stands in a comment; it cannot be there")
            contexts += [Context.TEXT] * len(_slots_in(element.tail or "", placeholders))
    if len(contexts) != len(_slots_in(document, placeholders)):
        raise placeholders.error("a value stands outside of <html>; it cannot be there")
    return contexts


def cut(document: str, placeholders: Placeholders, contexts: list[Context]) -> tuple[Part, ...]:
    """The document as parts that, one after the other, are the whole of it.

    ``contexts`` are those of its slots, in order. Raises TemplateError for blocks within blocks, and for
    a block that leaves tags open or closes what is outside of it.
    """
    parts: list[Part] = []
    following = iter(contexts)
    text, inside = 0, 0  # where the part begins; the number of its block, plus 1
    for edge in re.finditer(rf"(?:<!--)?zq{placeholders.nonce}F(\d+)([be])zq(?:-->)?", document):
        number, is_begin = int(edge[1]), edge[2] == "b"
        if is_begin == bool(inside):
            raise placeholders.error("only_with and only_when cannot stand within each other")
        parts.append(_part(document[text : edge.start()], inside, placeholders, following))
        text, inside = edge.end(), number + 1 if is_begin else 0
    parts.append(_part(document[text:], 0, placeholders, following))
    return tuple(part for part in parts if part.pieces)


def encode_value(value: str, context: Context) -> str:
    """The value as it stands in its place, before any transfer encoding.

    Values are put on one line and cut at 320 characters; a URL is taken as it is. Raises OperationError
    for a URL that is not http(s), or has characters that no URL has.
    """
    if context is Context.URL:
        if not _URL.fullmatch(value) or len(value) > _MAX_URL:
            raise OperationError(f"{value[:100]!a} is not an absolute http(s) address")
        return html.escape(value, quote=True)
    text = clean_line(value)[: _MAX_URL if _URL.fullmatch(value) else _MAX_VALUE]
    if context is Context.TEXT:
        return html.escape(text, quote=False)
    if context is Context.ATTRIBUTE:
        return html.escape(text, quote=True)
    return quote(text, safe="") if context is Context.COMPONENT else text


def _part(text: str, inside: int, placeholders: Placeholders, contexts: Iterator[Context]) -> Part:
    when, article_ids = placeholders.conditions[inside - 1] if inside else (When.ALWAYS, ())
    if inside and placeholders.is_html:
        _require_balance(text, placeholders)
    pieces: list[str | Slot] = []
    for i, piece in enumerate(re.split(rf"zq{placeholders.nonce}X(\d\d)zq", text)):
        if i % 2:
            pieces.append(Slot(name=_SLOTS[int(piece)], context=next(contexts)))
        elif piece:
            pieces.append(piece)
    return Part(when=when, article_ids=article_ids, pieces=tuple(pieces))


def _slots_in(text: str, placeholders: Placeholders) -> list[str]:
    return [_SLOTS[int(i)] for i in re.findall(rf"zq{placeholders.nonce}X(\d\d)zq", text)]


def _named(slot: str) -> str:
    return f"{'reader' if slot in READER_SLOTS else 'variant'}.{slot}"


def _attribute_contexts(name: str, value: str, placeholders: Placeholders) -> list[Context]:
    slots = _slots_in(value, placeholders)
    if not slots:
        return []
    if name == "style" or name.startswith("on"):
        raise placeholders.error(f"{_named(slots[0])} stands in the attribute {name}; it cannot be there")
    if name not in _URL_ATTRIBUTES:
        return [Context.ATTRIBUTE] * len(slots)
    if placeholders.tokens_in(value) == [value]:
        if not slots[0].endswith("_url"):
            raise placeholders.error(f"{_named(slots[0])} is no URL; it cannot be the whole of {name}")
        return [Context.URL]
    if not re.match(rf"https?://(?:(?!zq{placeholders.nonce})[^/?#])+[/?#]|mailto:\S", value):
        raise placeholders.error(f"{_named(slots[0])} stands in the host of a URL; it cannot be there")
    return [Context.COMPONENT] * len(slots)


def _require_balance(text: str, placeholders: Placeholders) -> None:
    checker = _Balance()
    checker.feed(text)
    checker.close()
    if checker.open or checker.broken:
        tag = checker.broken or checker.open[-1]
        raise placeholders.error(f"<{tag}> begins or ends outside of its only_with or only_when block")


class _Balance(HTMLParser):
    """Follows tags through a piece of serialised HTML."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.broken = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:  # noqa: ARG002 - the base class's signature
        if tag not in _VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.broken = self.broken or tag
