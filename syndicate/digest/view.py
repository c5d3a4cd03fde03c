"""What the templates of the digest see: articles as an editor would set them. Decides no selection."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from syndicate.digest.plain import clean_line, excerpt, text_of_html
from syndicate.digest.select import Section
from syndicate.model import Article, Newsletter, slugify
from syndicate.typography import direction_of, https_address, language_of, reading_minutes

__all__ = [
    "ArticleView",
    "SectionView",
    "newsletter_values",
    "view_sections",
]

_MAX_TITLE: Final = 200  # our choice, as is the next: an excerpt is an invitation
_MAX_SUMMARY: Final = 320


@dataclass(frozen=True, slots=True, kw_only=True)
class ArticleView:
    """One article in a digest; every text is one line of plain text."""

    id: int
    title: str
    summary: str  #: at most 320 characters; made from the content if the source gave none; may be empty
    url: str  #: where reading goes on
    image_url: str  #: https, or empty: mail clients show nothing else
    authors: str  #: names joined by commas; may be empty
    also_in: str  #: its other topics, joined by commas; may be empty
    published_at: datetime
    minutes: int  #: to read it, at least 1
    language: str  #: BCP 47; empty where it is the newsletter's own
    direction: str  #: ltr or rtl

    @property
    def side(self) -> str:
        """Where its lines begin: left or right. Mail programs do not know ``text-align: start``."""
        return "right" if self.direction == "rtl" else "left"


@dataclass(frozen=True, slots=True, kw_only=True)
class SectionView:
    """Articles under one label; the label is empty when there is only one section without topic."""

    label: str
    articles: tuple[ArticleView, ...]


def view_sections(
    sections: Sequence[Section], newsletter: Newsletter, urls: Mapping[int, str]
) -> tuple[SectionView, ...]:
    """The sections as templates see them. ``urls`` has an entry for every article, by id."""
    return tuple(
        SectionView(
            label=clean_line(section.label),
            articles=tuple(_article(a, section.label, newsletter, urls[a.id]) for a in section.articles),
        )
        for section in sections
    )


def newsletter_values(newsletter: Newsletter) -> dict[str, str]:
    """What every template of mail sees of the newsletter, each on one line."""
    direction = direction_of(newsletter.language)
    return {
        "title": clean_line(newsletter.title),
        "description": clean_line(newsletter.description),
        "postal_address": clean_line(", ".join(newsletter.postal_address.splitlines())),
        "language": language_of(newsletter.language),
        "time_zone": newsletter.time_zone,
        "direction": direction,
        "side": "right" if direction == "rtl" else "left",
        "far_side": "left" if direction == "rtl" else "right",
    }


def _article(article: Article, label: str, newsletter: Newsletter, url: str) -> ArticleView:
    own = article.topic_slugs
    topics = [t for t in newsletter.topics if t != label and slugify(t) in own]
    language = language_of(article.language, newsletter.language)
    is_own = language.lower() == language_of(newsletter.language).lower()
    return ArticleView(
        id=article.id,
        title=excerpt(article.title, _MAX_TITLE),
        summary=excerpt(article.summary or text_of_html(article.content_html), _MAX_SUMMARY),
        url=url,
        image_url=https_address(article.image_url),
        authors=", ".join(clean_line(a.name) for a in article.authors if a.name),
        also_in=", ".join(map(clean_line, topics)),
        published_at=article.sorts_at,
        minutes=reading_minutes(article.content_html),
        language="" if is_own else language,
        direction=direction_of(language),
    )
