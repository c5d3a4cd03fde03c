"""Which articles a reader gets, and in which order. Pure; knows no mail and no size."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final, Protocol, TypeVar

from syndicate.model import Article, slugify

__all__ = [
    "OTHER_LABEL",
    "Section",
    "Selectable",
    "Selector",
    "group_sections",
    "order_articles",
    "select_articles",
]

#: Watermarks whose articles are kept, far more than there are editions between them; our choice.
_MOST_WATERMARKS: Final = 10_000

#: The label of the last section, of articles in none of the newsletter's topics.
OTHER_LABEL: Final = "More"


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """Articles under one label; the label is empty when there is nothing to tell apart."""

    label: str
    articles: tuple[Article, ...]


class Selectable(Protocol):
    """As much of an article, stored or compiled, as tells whose it is."""

    @property
    def sequence(self) -> int:
        """Its place in the order in which articles were accepted."""

    @property
    def topic_slugs(self) -> frozenset[str]:
        """Its topics."""


_Selectable = TypeVar("_Selectable", bound=Selectable)


def select_articles(
    articles: Sequence[_Selectable], *, watermark: int, cutoff: int, topics: Collection[str]
) -> tuple[_Selectable, ...]:
    """The articles that are new to a reader: sequence in (watermark, cutoff], in one of the topics.

    ``topics`` are slugs; empty means every topic. The order of ``articles`` is kept, so pass them in
    editorial order (``order_articles``), sorted once for all readers.
    """
    wanted = frozenset(topics)
    return tuple(
        article
        for article in articles
        if watermark < article.sequence <= cutoff and (not wanted or wanted & article.topic_slugs)
    )


class Selector:
    """``select_articles`` for the many readers of one edition: what is new to each, a bit for each article,
    the lowest for the first.
    """

    def __init__(self, articles: Sequence[Selectable], *, cutoff: int) -> None:
        self._sequences = [(1 << i, a.sequence) for i, a in enumerate(articles) if a.sequence <= cutoff]
        self._newer: dict[int, int] = {}  #: by watermark; most readers have one of a few
        self._about: dict[str, int] = {}  #: by topic
        for i, article in enumerate(articles):
            for topic in article.topic_slugs:
                self._about[topic] = self._about.get(topic, 0) | 1 << i

    def select(self, watermark: int, topics: Collection[str]) -> int:
        """What is new to a reader of these topics, slugs; none given means every topic."""
        newer = self._newer.get(watermark)
        if newer is None:
            newer = sum(bit for bit, sequence in self._sequences if sequence > watermark)
            if len(self._newer) < _MOST_WATERMARKS:
                self._newer[watermark] = newer
        if not topics:
            return newer
        about, wanted = self._about, 0
        for topic in topics:
            wanted |= about.get(topic, 0)
        return newer & wanted


def group_sections(articles: Sequence[Article], topics: Sequence[str]) -> tuple[Section, ...]:
    """The articles by topic: each in the first of the newsletter's ``topics`` (labels) that it has.

    Sections are in the order of ``topics``; articles in none of them come last, under OTHER_LABEL if
    there are other sections. Within a section the newest comes first. No section is empty.
    """
    slugs = [slugify(topic) for topic in topics]
    places: list[list[Article]] = [[] for _ in range(len(topics) + 1)]
    for article in sorted(articles, key=lambda a: (a.sorts_at, a.sequence), reverse=True):
        own = article.topic_slugs
        places[next((i for i, slug in enumerate(slugs) if slug in own), -1)].append(article)
    other = OTHER_LABEL if any(places[:-1]) else ""
    labels = [*topics, other]
    return tuple(
        Section(label=label, articles=tuple(place))
        for label, place in zip(labels, places, strict=True)
        if place
    )


def order_articles(articles: Sequence[Article], topics: Sequence[str]) -> tuple[Article, ...]:
    """The articles in editorial order: section by section, the newest first in each."""
    return tuple(a for section in group_sections(articles, topics) for a in section.articles)
