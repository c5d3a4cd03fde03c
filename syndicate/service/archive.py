"""Use cases: the public pages, each as HTML. Raises NotFound for what is not there."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Final

from sqlalchemy import Connection

from syndicate.digest.select import group_sections
from syndicate.errors import NotFound
from syndicate.model import Article, Edition, EditionState, Newsletter
from syndicate.publish.archive import PageRenderer
from syndicate.publish.cards import (
    ArticleCard,
    ArticleSection,
    EditionCard,
    NewsletterCard,
    Pagination,
    SiteInfo,
)
from syndicate.service.feeds import list_topics
from syndicate.service.installation import Installation
from syndicate.storage import articles, editions, newsletters
from syndicate.storage.engine import reading

__all__ = [
    "PUBLIC",
    "article_page",
    "edition_page",
    "editions_page",
    "home_page",
    "newsletter_page",
    "page_renderer",
    "topic_page",
]

#: Articles on a page of a list, editions beside them, and articles of each newsletter on the front page; our
#: choice.
_PAGE: Final = 20
_RECENT: Final = 5
_LATEST: Final = 3

#: Editions that the public may see: whatever is on its way to somebody.
PUBLIC: Final = (EditionState.SENDING, EditionState.PAUSED, EditionState.SENT)


def page_renderer(inst: Installation) -> PageRenderer:
    """Renders this site's pages."""
    return _renderer(inst.templates, inst.settings.site.title, inst.settings.site.url)


@lru_cache(maxsize=8)
def _renderer(folders: tuple[Path, ...], title: str, url: str) -> PageRenderer:
    return PageRenderer(folders, SiteInfo(title=title, url=url))


def home_page(inst: Installation) -> str:
    """The site's front page."""
    with reading(inst.engine) as conn:
        cards = [
            NewsletterCard(
                newsletter=n,
                latest=_cards(inst, n, articles.list_newsletter_articles(conn, n.id, limit=_LATEST)),
            )
            for n in newsletters.list_newsletters(conn)
        ]
    return page_renderer(inst).home(cards)


def newsletter_page(inst: Installation, slug: str, number: int = 1) -> str:
    """A newsletter's front page, or a further page of its articles."""
    with reading(inst.engine) as conn:
        newsletter = newsletters.get_newsletter(conn, slug)
        page = _page(articles.count_newsletter_articles(conn, newsletter.id), number)
        found = _page_of_articles(conn, newsletter, page)
        recent = editions.list_editions(conn, newsletter_id=newsletter.id, states=PUBLIC, limit=_RECENT)
        return page_renderer(inst).newsletter(
            newsletter,
            _cards(inst, newsletter, found),
            [_edition_card(inst, conn, newsletter, edition) for edition in recent],
            articles.list_used_topics(conn, newsletter.id),
            page,
        )


def topic_page(inst: Installation, slug: str, topic: str, number: int = 1) -> str:
    """What a newsletter has on one topic."""
    with reading(inst.engine) as conn:
        newsletter = newsletters.get_newsletter(conn, slug)
        known = list_topics(conn, newsletter)
        if topic not in known:
            raise NotFound("topic", topic, known)
        page = _page(articles.count_newsletter_articles(conn, newsletter.id, topic=topic), number)
        found = _page_of_articles(conn, newsletter, page, topic)
    return page_renderer(inst).topic(newsletter, topic, _cards(inst, newsletter, found), page)


def article_page(inst: Installation, slug: str, article_id: int) -> tuple[str, str]:
    """An article's page, and the path that it belongs at."""
    with reading(inst.engine) as conn:
        newsletter = newsletters.get_newsletter(conn, slug)
        article = articles.get_article(conn, newsletter.id, article_id)
        before, after = articles.find_neighbours(conn, newsletter.id, article)
    html = page_renderer(inst).article(
        newsletter,
        article,
        previous=_card(inst, newsletter, before) if before else None,
        following=_card(inst, newsletter, after) if after else None,
    )
    return html, inst.urls.article(slug, article)


def editions_page(inst: Installation, slug: str, number: int = 1) -> str:
    """The list of a newsletter's editions."""
    with reading(inst.engine) as conn:
        newsletter = newsletters.get_newsletter(conn, slug)
        page = _page(editions.count_editions(conn, newsletter.id, PUBLIC), number)
        found = editions.list_editions(
            conn,
            newsletter_id=newsletter.id,
            states=PUBLIC,
            limit=_PAGE,
            offset=(page.number - 1) * _PAGE,
        )
        cards = [_edition_card(inst, conn, newsletter, edition) for edition in found]
    return page_renderer(inst).editions(newsletter, cards, page)


def edition_page(inst: Installation, slug: str, edition_id: int) -> str:
    """One edition on the web, with everything that any of its readers got."""
    with reading(inst.engine) as conn:
        newsletter = newsletters.get_newsletter(conn, slug)
        edition = editions.get_edition(conn, edition_id)
        if edition.newsletter_id != newsletter.id or edition.state not in PUBLIC:
            raise NotFound("edition", edition_id)
        found = articles.list_edition_articles(conn, edition_id)
        card = _edition_card(inst, conn, newsletter, edition)
    sections = [
        ArticleSection(label=s.label, articles=_cards(inst, newsletter, s.articles))
        for s in group_sections(found, newsletter.topics)
    ]
    return page_renderer(inst).edition(newsletter, card, sections)


def _page(count: int, number: int) -> Pagination:
    last = max(1, -(-count // _PAGE))
    if not 1 <= number <= last:
        raise NotFound("page", number, [f"1 to {last}"])
    return Pagination(number=number, last=last)


def _page_of_articles(
    conn: Connection, newsletter: Newsletter, page: Pagination, topic: str = ""
) -> list[Article]:
    return articles.list_newsletter_articles(
        conn, newsletter.id, topic=topic, limit=_PAGE, offset=(page.number - 1) * _PAGE
    )


def _card(inst: Installation, newsletter: Newsletter, article: Article) -> ArticleCard:
    return ArticleCard(article=article, url=inst.urls.article(newsletter.slug, article))


def _cards(
    inst: Installation, newsletter: Newsletter, found: list[Article] | tuple[Article, ...]
) -> tuple[ArticleCard, ...]:
    return tuple(_card(inst, newsletter, article) for article in found)


def _edition_card(
    inst: Installation, conn: Connection, newsletter: Newsletter, edition: Edition
) -> EditionCard:
    return EditionCard(
        id=edition.id,
        subject=edition.subject,
        opened_at=edition.opened_at,
        url=inst.urls.edition(newsletter.slug, edition.id),
        count=editions.count_articles(conn, edition.id),
    )
