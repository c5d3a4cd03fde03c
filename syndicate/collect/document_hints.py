"""What a feed says about itself as a document: when to come back, where it moves, where more of it is.

Read from the tree, alike for every way of reading articles. Decides no interval.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypedDict

from lxml import etree

from syndicate.collect.feed_names import local_name, namespace_of
from syndicate.collect.links import absolute_url

__all__ = ["Hints", "hints_of"]

_ATOM: Final = "http://www.w3.org/2005/Atom"
_SYNDICATION: Final = "http://purl.org/rss/1.0/modules/syndication/"
_ENTRIES: Final = frozenset(["item", "entry"])
_PERIODS_S: Final = {
    "hourly": 3_600,
    "daily": 86_400,
    "weekly": 7 * 86_400,
    "monthly": 30 * 86_400,
    "yearly": 365 * 86_400,
}
_DAYS: Final = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_DIGITS: Final = 6


class Hints(TypedDict):
    """See the fields of the same names in ``ParsedSource``."""

    min_interval_s: float | None
    skip_hours: frozenset[int]
    skip_days: frozenset[int]
    hubs: tuple[str, ...]
    self_url: str
    next_page_url: str


def hints_of(root: etree._Element, url: str) -> Hints:
    """The hints of an RSS, Atom or RDF document that was found at ``url``.

    RSS 2.0 ``ttl``, ``skipHours``, ``skipDays``; the RSS 1.0 module ``syndication``; WebSub's links ``hub``
    and ``self``; RFC 5005's ``prev-archive``, else its ``next``. What cannot be right counts as not said.
    """
    head = [child for child in _head(root) if isinstance(child.tag, str)]
    links = _links(head, url)
    following = [target for name in ("prev-archive", "next") for target in links.get(name, ())]
    self_url = next(iter(links.get("self", ())), "")
    return Hints(
        min_interval_s=max(filter(None, (_ttl_s(head), _period_s(head))), default=None),
        skip_hours=_unless_all(_skipped(head, "skipHours", _hour), 24),
        skip_days=_unless_all(_skipped(head, "skipDays", _day), 7),
        hubs=tuple(dict.fromkeys(links.get("hub", ()))),
        self_url=self_url,
        next_page_url=next((target for target in following if target not in {url, self_url}), ""),
    )


def _head(root: etree._Element) -> list[etree._Element]:
    """What a document says before and after its entries."""
    if local_name(str(root.tag)) == "feed":
        return [child for child in root if local_name(str(child.tag)) not in _ENTRIES]
    channels = [child for child in root if local_name(str(child.tag)) == "channel"]
    return [
        child for channel in channels[:1] for child in channel if local_name(str(child.tag)) not in _ENTRIES
    ]


def _links(head: list[etree._Element], url: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for element in head:
        if element.tag == f"{{{_ATOM}}}link":
            target = absolute_url(element.get("href", ""), url) if element.get("href") else ""
            for relation in element.get("rel", "").lower().split():
                found.setdefault(relation, []).extend(filter(None, [target]))
    return found


def _text(head: list[etree._Element], name: str, namespace: str = "") -> str:
    for element in head:
        if local_name(element.tag) == name and (namespace_of(element.tag) == namespace or not namespace):
            return (element.text or "").strip()
    return ""


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) <= _DIGITS else 0


def _ttl_s(head: list[etree._Element]) -> float | None:
    return 60.0 * _number(_text(head, "ttl")) or None


def _period_s(head: list[etree._Element]) -> float | None:
    period = _text(head, "updatePeriod", _SYNDICATION).lower()
    frequency = _text(head, "updateFrequency", _SYNDICATION)
    if not period and not frequency:
        return None
    return float(_PERIODS_S.get(period or "daily", 0)) / (_number(frequency) or 1) or None


def _skipped(head: list[etree._Element], holder: str, read: Callable[[str], int | None]) -> frozenset[int]:
    found = {
        read((child.text or "").strip())
        for element in head
        if local_name(element.tag) == holder
        for child in element.iterchildren(etree.Element)
    }
    return frozenset(value for value in found if value is not None)


def _hour(text: str) -> int | None:
    """0 to 23 in GMT; RSS 0.91 counts from 1 to 24."""
    return _number(text) % 24 if text.isascii() and text.isdigit() and _number(text) <= 24 else None


def _day(text: str) -> int | None:
    return _DAYS.index(text.lower()) if text.lower() in _DAYS else None


def _unless_all(values: frozenset[int], whole: int) -> frozenset[int]:
    """Whoever skips every hour has not meant it."""
    return values if len(values) < whole else frozenset()
