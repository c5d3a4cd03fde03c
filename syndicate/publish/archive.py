"""Every public HTML page as text. No SQL, no network, no clock; reads nothing but its templates.

The pages work without JavaScript and under a policy that allows no inline style (CSP ``style-src 'self'``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Final

from subscribers.model import Cadence
from syndicate.model import Article, Newsletter, slugify
from syndicate.publish.cards import (
    ArticleCard,
    ArticleSection,
    EditionCard,
    NewsletterCard,
    Pagination,
    PostboxCard,
    PostboxMessage,
    PreferencesForm,
    SiteInfo,
    SubscribeForm,
)
from syndicate.publish.head import (
    Head,
    article_topic_links,
    feed_links,
    private_head,
    public_head,
    topic_label,
    topic_links,
)
from syndicate.publish.urls import Urls
from syndicate.templating import Templates
from syndicate.typography import https_address, web_address

__all__ = ["CADENCE_WORDS", "PageRenderer"]

#: What readers see for each cadence: its name, and a sentence.
CADENCE_WORDS: Final[Mapping[Cadence, tuple[str, str]]] = MappingProxyType(
    {
        Cadence.IMMEDIATE: ("At once", "A mail for each new article, soon after it appears."),
        Cadence.DAILY: ("Daily", "One mail a day, on days with something new."),
        Cadence.WEEKLY: ("Weekly", "One mail a week with everything that is new."),
        Cadence.MONTHLY: ("Monthly", "One mail a month, to catch up at leisure."),
    }
)
_NO_PROBLEMS: Final[Mapping[str, str]] = MappingProxyType({})


class PageRenderer:
    """Renders pages for one site.

    ``template_folders`` each hold ``web/``; the first that has a template wins, so an operator's folder goes
    before the one that comes with the program. Every method returns a whole HTML document and raises
    TemplateError, which names template and line, for a mistake in a template.
    """

    def __init__(self, template_folders: Sequence[Path], site: SiteInfo) -> None:
        self._site = site
        self._urls = Urls(site.url)
        values = {"site": site, "urls": self._urls, "cadence_words": CADENCE_WORDS, "slugify": slugify}
        self._templates = Templates(template_folders, values=values)

    def home(self, newsletters: Sequence[NewsletterCard]) -> str:
        """The site's front page: its newsletters, in the given order."""
        feeds = tuple(feed for card in newsletters for feed in feed_links(self._urls, card.newsletter))
        head = Head(
            title=self._site.title,
            description=f"Newsletters and feeds from {self._site.title}",
            canonical_url=self._urls.absolute(self._urls.home()),
            feeds=feeds,
        )
        return self._render("home", head, cards=newsletters)

    def newsletter(
        self,
        newsletter: Newsletter,
        articles: Sequence[ArticleCard],
        editions: Sequence[EditionCard],
        topics: Mapping[str, int],
        page: Pagination | None = None,
    ) -> str:
        """A newsletter's front page: its newest articles and editions, how to subscribe, its feeds.

        ``topics`` counts the newsletter's articles by topic slug. Without ``page`` there are no other pages.
        """
        head = public_head(
            self._urls, newsletter, newsletter.title, self._urls.newsletter(newsletter.slug), page
        )
        return self._render(
            "newsletter",
            replace(head, description=newsletter.description),
            articles=articles,
            editions=editions,
            topics=topic_links(self._urls, newsletter, topics),
            form=SubscribeForm(),
            problems=_NO_PROBLEMS,
            page=page,
        )

    def topic(
        self,
        newsletter: Newsletter,
        topic: str,
        articles: Sequence[ArticleCard],
        page: Pagination | None = None,
    ) -> str:
        """What a newsletter has on one topic, which is given by its slug."""
        label = topic_label(newsletter, topic, [tag for card in articles for tag in card.article.tags])
        head = public_head(self._urls, newsletter, label, self._urls.topic(newsletter.slug, topic), page)
        head = replace(
            head,
            description=f"{newsletter.title}: {label}",
            topic_feeds=feed_links(self._urls, newsletter, topic, label),
        )
        return self._render("topic", head, topic=topic, label=label, articles=articles, page=page)

    def article(
        self,
        newsletter: Newsletter,
        article: Article,
        *,
        previous: ArticleCard | None = None,
        following: ArticleCard | None = None,
    ) -> str:
        """One whole article, with the one before and the one after it.

        Its ``content_html`` goes out as it is: it was sanitised when it was collected. The canonical
        address of an article that appeared elsewhere is the one over there (RFC 6596).
        """
        here = self._urls.article(newsletter.slug, article)
        original_url = web_address(article.url)
        head = replace(
            public_head(self._urls, newsletter, article.title, here),
            description=article.summary,
            canonical_url=original_url or self._urls.absolute(here),
            kind="article",
            image_url=https_address(article.image_url),
        )
        return self._render(
            "article",
            head,
            article=article,
            original_url=original_url,
            topics=article_topic_links(self._urls, newsletter, article),
            previous=previous,
            following=following,
            form=SubscribeForm(),
            problems=_NO_PROBLEMS,
        )

    def editions(
        self, newsletter: Newsletter, editions: Sequence[EditionCard], page: Pagination | None = None
    ) -> str:
        """The list of a newsletter's editions, in the given order."""
        head = public_head(self._urls, newsletter, "Editions", self._urls.editions(newsletter.slug), page)
        head = replace(head, description=f"Everything that {newsletter.title} has sent")
        return self._render("editions", head, editions=editions, page=page)

    def edition(
        self, newsletter: Newsletter, edition: EditionCard, sections: Sequence[ArticleSection]
    ) -> str:
        """One edition as a web page: what was mailed to readers of every topic, section by section."""
        head = public_head(self._urls, newsletter, edition.subject or newsletter.title, edition.url)
        leads = [card.article.title for section in sections for card in section.articles]
        head = replace(head, description=" · ".join(leads[:3]))
        return self._render("edition", head, edition=edition, sections=sections)

    def subscribe_received(self, newsletter: Newsletter) -> str:
        """The answer to the subscribe form; the same whether the address is known or not."""
        return self._render(
            "subscribe_received", private_head(self._urls, "Look into your inbox", newsletter)
        )

    def subscribe_problem(
        self, newsletter: Newsletter, form: SubscribeForm, problems: Mapping[str, str]
    ) -> str:
        """The subscribe form again, with what was sent and a sentence for each field that needs another look.

        The keys of ``problems`` are ``email``, ``name``, ``cadence``, ``topics``; any other stands above all.
        """
        head = private_head(self._urls, "Please look again", newsletter)
        return self._render("subscribe_problem", head, form=form, problems=problems)

    def confirm_ask(self, newsletter: Newsletter, *, action_url: str) -> str:
        """Asks for the press of the button that confirms: opening a link changes nothing."""
        head = private_head(self._urls, "Confirm your subscription", newsletter)
        return self._render("confirm_ask", head, action_url=action_url)

    def confirm_done(self, newsletter: Newsletter, *, preferences_url: str) -> str:
        """Welcomes a reader who has confirmed."""
        return self._render(
            "confirm_done",
            private_head(self._urls, "You are subscribed", newsletter),
            preferences_url=preferences_url,
        )

    def unsubscribe_ask(self, newsletter: Newsletter, *, action_url: str, preferences_url: str) -> str:
        """Asks for the press of the button that ends a subscription (RFC 8058 section 3.2)."""
        return self._render(
            "unsubscribe_ask",
            private_head(self._urls, "Unsubscribe", newsletter),
            action_url=action_url,
            preferences_url=preferences_url,
        )

    def unsubscribe_done(self, newsletter: Newsletter) -> str:
        """Says that a subscription has ended, and how to come back."""
        return self._render("unsubscribe_done", private_head(self._urls, "You are unsubscribed", newsletter))

    def preferences(
        self,
        newsletter: Newsletter,
        form: PreferencesForm,
        *,
        action_url: str,
        unsubscribe_url: str,
        problems: Mapping[str, str] = _NO_PROBLEMS,
    ) -> str:
        """The form on which a reader changes name, cadence and topics; ``problems`` as for the other form."""
        return self._render(
            "preferences",
            private_head(self._urls, "Your preferences", newsletter),
            form=form,
            problems=problems,
            action_url=action_url,
            unsubscribe_url=unsubscribe_url,
        )

    def preferences_saved(self, newsletter: Newsletter, *, preferences_url: str) -> str:
        """Says that the preferences are kept."""
        return self._render(
            "preferences_saved",
            private_head(self._urls, "Saved", newsletter),
            preferences_url=preferences_url,
        )

    def link_problem(self, *, is_expired: bool, newsletter: Newsletter | None = None) -> str:
        """Says that a link has expired, or is none of ours, and what to do."""
        title = "This link has expired" if is_expired else "This link does not work"
        return self._render(
            "link_problem", private_head(self._urls, title, newsletter), is_expired=is_expired
        )

    def error(self, status: int, title: str, text: str, *, newsletter: Newsletter | None = None) -> str:
        """The page of an HTTP error: a title and a sentence for people."""
        return self._render("error", private_head(self._urls, title, newsletter), status=status, text=text)

    def postbox(self, messages: Sequence[PostboxCard]) -> str:
        """The list of the embedded mailbox, in the given order."""
        return self._render("postbox", private_head(self._urls, "Postbox"), messages=messages)

    def postbox_message(self, message: PostboxMessage) -> str:
        """One mail. Its HTML is in a frame from its own address: allow it by CSP ``frame-src 'self'``."""
        head = private_head(self._urls, message.card.subject or "(no subject)")
        return self._render("postbox_message", head, message=message)

    def _render(self, name: str, head: Head, **values: object) -> str:
        return self._templates.render(
            f"web/{name}.html", {"head": head, "newsletter": head.newsletter, **values}
        )
