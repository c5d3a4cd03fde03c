"""What a page says about itself, and the links that it shares with others. Pure; writes no page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from syndicate.model import Article, Newsletter, slugify
from syndicate.publish.cards import Pagination
from syndicate.publish.formats import FORMATS
from syndicate.publish.urls import Urls
from syndicate.typography import language_of

__all__ = [
    "FeedLink",
    "Head",
    "TopicLink",
    "article_topic_links",
    "feed_links",
    "private_head",
    "public_head",
    "topic_label",
    "topic_links",
]

_MOST_TOPICS: Final = 12  # our choice, for a newsletter that offers none of its own


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedLink:
    """A feed of this page, for its head and for people."""

    name: str  #: of the format, such as RSS
    title: str  #: whose feed it is, and in which format
    media_type: str  #: without charset
    url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicLink:
    """A topic and where its articles are."""

    label: str
    url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """What a page says about itself to browsers, feed readers and those who link to it."""

    title: str
    language: str = "en"  #: BCP 47, of what is shown; the words around it are English
    description: str = ""
    canonical_url: str = ""  #: absolute; empty for a page that is one reader's business
    kind: str = "website"  #: Open Graph's word
    image_url: str = ""
    feeds: tuple[FeedLink, ...] = ()
    topic_feeds: tuple[FeedLink, ...] = ()
    newsletter: Newsletter | None = None

    @property
    def is_public(self) -> bool:
        """Whether others may link to the page and search engines list it."""
        return bool(self.canonical_url)


def public_head(
    urls: Urls, newsletter: Newsletter, title: str, path: str, page: Pagination | None = None
) -> Head:
    """The head of a page of a newsletter's archive."""
    number = page.number if page else 1
    return Head(
        title=title if number == 1 else f"{title}, page {number}",
        language=language_of(newsletter.language),
        canonical_url=urls.absolute(urls.page(path, number)),
        feeds=feed_links(urls, newsletter),
        newsletter=newsletter,
    )


def private_head(urls: Urls, title: str, newsletter: Newsletter | None = None) -> Head:
    """The head of a form, of its answer, or of an error: nothing to be linked to or listed."""
    return Head(title=title, feeds=feed_links(urls, newsletter) if newsletter else (), newsletter=newsletter)


def feed_links(urls: Urls, newsletter: Newsletter, topic: str = "", label: str = "") -> tuple[FeedLink, ...]:
    """The feeds of a newsletter, or of one of its topics, in every format."""
    slug, whose = newsletter.slug, f"{newsletter.title}: {label}" if topic else newsletter.title
    return tuple(
        FeedLink(
            name=made.name,
            title=f"{whose} ({made.name})",
            media_type=made.media_type.partition(";")[0],
            url=urls.topic_feed(slug, topic, made.path_suffix)
            if topic
            else urls.feed(slug, made.path_suffix),
        )
        for made in FORMATS.values()
    )


def topic_links(urls: Urls, newsletter: Newsletter, used: Mapping[str, int]) -> list[TopicLink]:
    """The topics on offer that have articles; of a newsletter that offers none, those used most.

    ``used`` counts articles by topic slug.
    """
    offered = [slugify(label) for label in newsletter.topics]
    slugs = offered or sorted(used, key=lambda slug: (-used[slug], slug))[:_MOST_TOPICS]
    return [
        TopicLink(label=topic_label(newsletter, slug), url=urls.topic(newsletter.slug, slug))
        for slug in slugs
        if used.get(slug)
    ]


def article_topic_links(urls: Urls, newsletter: Newsletter, article: Article) -> list[TopicLink]:
    """An article's topics, each once, in the article's order."""
    slugs = dict.fromkeys(slugify(tag) for tag in article.tags)
    return [
        TopicLink(label=topic_label(newsletter, slug, article.tags), url=urls.topic(newsletter.slug, slug))
        for slug in slugs
    ]


def topic_label(newsletter: Newsletter, topic: str, tags: Sequence[str] = ()) -> str:
    """A topic (a slug) as the operator writes it, else whoever tagged an article, else its own words."""
    written = newsletter.topic_label(topic) or next((tag for tag in tags if slugify(tag) == topic), None)
    return written or topic.replace("-", " ")
