"""Every public address of an installation, in one place. Pure; knows no route handler.

Each method gives a path from the root of the host, percent-encoded and with the site's own prefix, if it
has one; ``absolute`` makes it a whole URL, as mails and feeds need it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final
from urllib.parse import quote, urlsplit

from syndicate.model import Article

__all__ = ["RESERVED_SLUGS", "Urls"]

#: First parts of paths that are the site's own, so that no newsletter may have them as its slug.
RESERVED_SLUGS: Final = frozenset(
    {"static", "media", "confirm", "unsubscribe", "preferences", "postbox", "healthz", "websub"}
)


@dataclass(frozen=True, slots=True)
class Urls:
    """The addresses below a site, whose own address may have a path but neither query nor fragment."""

    site_url: str  #: http(s); a slash at its end makes no difference

    @property
    def host(self) -> str:
        """The name of the site's host, without a port."""
        return urlsplit(self.site_url).hostname or ""

    def absolute(self, path: str) -> str:
        """The whole URL of a path that another method of this class gave."""
        parts = urlsplit(self.site_url)
        return f"{parts.scheme}://{parts.netloc}{path}"

    def home(self) -> str:
        """The site's front page."""
        return self._path("")

    def newsletter(self, slug: str) -> str:
        """A newsletter's front page."""
        return self._path(slug, "")

    def article(self, slug: str, article: Article) -> str:
        """An article in a newsletter's archive; its number finds it, its words are for people."""
        return self._path(slug, "articles", f"{article.id}-{article.slug}")

    def topic(self, slug: str, topic: str) -> str:
        """What a newsletter has on one topic, by the topic's slug."""
        return self._path(slug, "topics", topic, "")

    def editions(self, slug: str) -> str:
        """The list of a newsletter's editions."""
        return self._path(slug, "editions", "")

    def edition(self, slug: str, edition_id: int) -> str:
        """One edition on the web."""
        return self._path(slug, "editions", str(edition_id))

    def feed(self, slug: str, suffix: str) -> str:
        """A newsletter's feed; ``suffix`` is a format's, such as ``feed.xml``."""
        return self._path(slug, suffix)

    def topic_feed(self, slug: str, topic: str, suffix: str) -> str:
        """The feed of one topic."""
        return self._path(slug, "topics", topic, suffix)

    def subscribe(self, slug: str) -> str:
        """Where the subscribe form posts to."""
        return self._path(slug, "subscribe")

    def confirm(self, token: str) -> str:
        """Where a reader confirms a subscription."""
        return self._path("confirm", token)

    def unsubscribe(self, token: str) -> str:
        """Where a reader ends a subscription."""
        return self._path("unsubscribe", token)

    def preferences(self, token: str) -> str:
        """Where a reader changes a subscription."""
        return self._path("preferences", token)

    def static(self, name: str) -> str:
        """A file that comes with the program."""
        return self._path("static", name)

    def media(self, name: str) -> str:
        """An image that is kept for a folder's articles."""
        return self._path("media", name)

    def websub(self, source_id: int, token: str) -> str:
        """Where a hub pushes what a source publishes."""
        return self._path("websub", str(source_id), token)

    def postbox(self) -> str:
        """The list of the mails that the embedded mailbox took."""
        return self._path("postbox", "")

    def postbox_message(self, key: str) -> str:
        """One of those mails."""
        return self._path("postbox", key)

    def postbox_part(self, key: str, part: str) -> str:
        """One of those mails by itself, as ``html``, ``text`` or ``source``."""
        return self._path("postbox", key, part)

    def page(self, path: str, number: int) -> str:
        """A further page of a list; the first one is the list's own address."""
        return path if number <= 1 else f"{path}page/{number}/"

    def _path(self, *segments: str) -> str:
        prefix = quote(urlsplit(self.site_url).path.rstrip("/"), safe="/%")
        return "/".join([prefix, *(quote(segment, safe="") for segment in segments)])
