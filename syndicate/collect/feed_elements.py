"""Elements and attributes of feeds as feedparser sees them: names, texts, what they inherit. Reads no entry.

Whatever feedparser would see in another way raises NotSure.
"""

from __future__ import annotations

import re
from contextlib import suppress
from html.entities import entitydefs
from typing import Final, NamedTuple
from urllib.parse import urljoin, urlsplit

from lxml import etree

from syndicate.collect.feed_names import KNOWN_PREFIXES, PREFIX_OF, XML, NotSure, local_name, namespace_of
from syndicate.collect.sanitise import TAGS

__all__ = [
    "PLAIN_TAGS",
    "Names",
    "Place",
    "attributes_of",
    "looks_like_html",
    "mended",
    "place_of",
    "resolve",
]

_ELEMENTS: Final = 60_000
_ATTRIBUTES: Final = 100  # of one element
#: Those of our elements that feedparser takes for HTML as well.
PLAIN_TAGS: Final = TAGS - {"bdi", "bdo", "mark", "rp", "rt", "ruby"}
_BAD_REFERENCE: Final = re.compile(r"[A-Za-z][A-Za-z0-9+-.]*:///|.*[\[\]]", re.DOTALL)
_WHOLE_ADDRESS: Final = re.compile(r"https?://[A-Za-z0-9]")
_FROM_1252: Final = {
    n: bytes([n]).decode("cp1252") for n in range(128, 160) if n not in {129, 141, 143, 144, 157}
}


class Place(NamedTuple):
    """What an element inherits."""

    base: str  #: xml:base, an absolute http(s) URL, or empty
    language: str  #: xml:lang
    is_atom: bool


def attributes_of(element: etree._Element) -> dict[str, str]:
    """Attributes as feedparser names them: in lower case, without foreign namespaces."""
    count = len(element.attrib)
    if not count:
        return {}
    if count > _ATTRIBUTES:  # counted first: lxml takes quadratic time to give them
        raise NotSure("too many attributes")
    found: dict[str, str] = {}
    for key, value in element.items():
        name = str(key).lower()
        if name.startswith("{"):
            namespace, name = namespace_of(name), local_name(name)
            if namespace == XML.lower():
                name = f"xml:{name}"
            elif namespace in PREFIX_OF:
                raise NotSure("an attribute of a known namespace")
        found[name] = str(value).lower() if name in {"rel", "type"} else str(value)
    if not found.keys().isdisjoint(("base", "lang", "mode", "lastmod")):
        raise NotSure("an attribute with a meaning of its own")
    return found


def place_of(place: Place, attributes: dict[str, str]) -> Place:
    """What an element with these attributes inherits and adds, inside another place."""
    if "xml:base" in attributes:
        place = place._replace(base=_base(place.base, attributes["xml:base"]))
    if "xml:lang" in attributes:
        place = place._replace(language=attributes["xml:lang"].replace("_", "-"))
    return place


def _base(outer: str, given: str) -> str:
    base = resolve(outer, given)
    if not _WHOLE_ADDRESS.match(base):
        raise NotSure("a relative base")
    return base


def resolve(base: str, reference: str) -> str:
    """An address against a base, as feedparser joins them; against none it stays what it is."""
    if _BAD_REFERENCE.match(reference):
        raise NotSure("an odd address")
    if not base and reference.isascii():
        return reference
    try:
        return urljoin(base, reference) if base else (urlsplit(reference) and reference)
    except ValueError:
        raise NotSure("an odd address") from None


def mended(text: str) -> str:
    """What feedparser does to each text: UTF-8 that was read as Latin-1, and controls of Windows-1252."""
    text = text.strip()
    if text.isascii():
        return text
    with suppress(UnicodeError):
        text = text.encode("iso-8859-1").decode("utf-8")
    return text.translate(_FROM_1252)


def looks_like_html(text: str) -> bool:
    """As feedparser judges a text of RSS that should be plain."""
    if not (re.search(r"</(\w+)>", text) or re.search(r"&#?\w+;", text)):
        return False
    if any(tag.lower() not in PLAIN_TAGS for tag in re.findall(r"</?(\w+)", text)):
        raise NotSure("a text that may be HTML")
    return all(name in entitydefs for name in re.findall(r"&(\w+);", text))


class Names:
    """Elements by the names that feedparser gives them; counts what it is asked."""

    def __init__(self) -> None:
        self._known: dict[str, str] = {}
        self._count = 0

    def of(self, element: etree._Element) -> str:
        """The name, such as ``title`` or ``dc_creator``; ``?`` for an element of an unknown namespace."""
        self._count += 1
        if self._count > _ELEMENTS:
            raise NotSure("too many elements")
        tag = element.tag
        name = self._known.get(tag)
        if name is None:
            name = self._known[tag] = _feedparser_name(tag)
        if name == "?" and (element.prefix is None or element.prefix.lower() in KNOWN_PREFIXES):
            raise NotSure("an unknown namespace")
        return name


def _feedparser_name(tag: str) -> str:
    namespace = namespace_of(tag).lower()
    if namespace not in PREFIX_OF:
        if "backend.userland.com/rss" in namespace or ":" in local_name(tag):
            raise NotSure("an odd namespace")
        return "?"
    prefix = PREFIX_OF[namespace]
    local = local_name(tag).lower()
    return f"{prefix}_{local}" if prefix else local
