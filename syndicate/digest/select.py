"""Which articles a reader gets, and in which order. Pure; knows no mail and no size."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final, Protocol, TypeVar

from syndicate.model import Article, slugify

__all__ = ["OTHER_LABEL", "Section", "Selectable", "group_sections", "order_articles", "select_articles"]

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
