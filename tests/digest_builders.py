"""Builders for the digest's tests: each makes something valid, a test names only what it is about."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from subscribers.model import Cadence
from syndicate.digest.compile import EditionInput
from syndicate.digest.compiled import CompiledEdition
from syndicate.digest.compose import ReaderValues, compose_message
from syndicate.model import Article, Author, DateQuality, Newsletter, Origin, UncertainPolicy, slugify

__all__ = [
    "OPENED_AT",
    "SECRET",
    "TEMPLATES",
    "make_article",
    "make_articles",
    "make_edition",
    "make_message",
    "make_newsletter",
    "make_reader",
]

TEMPLATES = Path(__file__).resolve().parent.parent / "templates"
OPENED_AT = datetime(2026, 3, 14, 9, 26, tzinfo=UTC)
SECRET = b"a secret for tests, 32 bytes long"
SITE = "https://letters.example.org"


def make_article(number: int = 1, **changes: Any) -> Article:
    """Article ``number``; the lower the number, the newer."""
    at = OPENED_AT - timedelta(days=number)
    title = changes.pop("title", f"Article number {number}")
    values: dict[str, Any] = {
        "id": number,
        "sequence": number,
        "source_id": 1,
        "guid": f"guid-{number}",
        "atom_id": f"tag:example.org,2026:{number}",
        "slug": slugify(title),
        "url": f"https://example.org/{number}",
        "title": title,
        "content_html": f"<p>{'word ' * 460}</p>",
        "summary": f"What article {number} is about, in one plain sentence.",
        "authors": (Author(name="A Writer"),),
        "tags": (),
        "language": "",
        "image_url": "",
        "enclosures": (),
        "published_at": at,
        "published_quality": DateQuality.GIVEN,
        "updated_at": at,
        "first_seen_at": at,
        "content_hash": "0" * 64,
        "revision": 1,
        "origin": Origin.NEW,
    }
    return Article(**values | changes)


def make_articles() -> list[Article]:
    """A small edition: two topics, an article without one, a picture, another script."""
    return [
        make_article(1, title="Why the Tide Comes Twice", tags=("Coast", "Night sky")),
        make_article(
            2, title="“One on Two”: Walls & Weather", tags=("Craft",), image_url="https://img.example/w.jpg"
        ),
        make_article(3, title="لماذا يأتي المدّ مرّتين", tags=("coast",), language="ar"),
        make_article(4, title="Keeping a Rain Gauge", summary=""),
        make_article(5, title=".dots, -dashes and From lines =E2", tags=("Craft", "Coast")),
    ]


def make_newsletter(**changes: Any) -> Newsletter:
    values: dict[str, Any] = {
        "id": 1,
        "slug": "tide",
        "title": "Tide & Timber",
        "description": "Notes from the shore and the workbench",
        "language": "en",
        "from_name": "Tide & Timber",
        "from_email": "letters@example.org",
        "reply_to": "",
        "postal_address": "Tide & Timber\n1 Harbour Row",
        "subject_template": "{{ title }}: {{ lead }}{% if count > 1 %} and {{ count - 1 }} more{% endif %}",
        "topics": ("Coast", "Craft"),
        "time_zone": "Europe/London",
        "uncertain_policy": UncertainPolicy.RESEND,
        "content_version": 1,
        "cadences": (Cadence.WEEKLY,),
        "created_at": OPENED_AT,
        "changed_at": OPENED_AT,
    }
    return Newsletter(**values | changes)


def make_edition(articles: Sequence[Article] | None = None, **changes: Any) -> EditionInput:
    chosen = make_articles() if articles is None else articles
    values: dict[str, Any] = {
        "edition_id": 7,
        "newsletter": make_newsletter(),
        "articles": chosen,
        "article_urls": {a.id: f"{SITE}/tide/articles/{a.id}" for a in chosen},
        "opened_at": OPENED_AT,
        "home_url": f"{SITE}/tide/",
        "archive_url": f"{SITE}/tide/editions/7",
        "template_folders": (TEMPLATES,),
        "secret": SECRET,
    }
    return EditionInput(**values | changes)


def make_reader(**changes: Any) -> ReaderValues:
    values: dict[str, Any] = {
        "subscriber_id": 42,
        "address": "ada@example.com",
        "name": "Ada",
        "unsubscribe_url": f"{SITE}/unsubscribe/abcdefghijklmnopqrstuvwxyz234567",
        "preferences_url": f"{SITE}/preferences/abcdefghijklmnopqrstuvwxyz234567",
    }
    return ReaderValues(**values | changes)


def make_message(edition: CompiledEdition, article_ids: Sequence[int], **reader: Any) -> bytes:
    """A whole message, for the reader of ``make_reader``."""
    return compose_message(edition, article_ids, make_reader(**reader)).to_bytes()
