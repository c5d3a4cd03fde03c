from __future__ import annotations

import re
from dataclasses import FrozenInstanceError, fields, replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from subscribers.model import Cadence
from syndicate import model
from syndicate.model import (
    ANY_CADENCE,
    SETTLED,
    Author,
    DateQuality,
    DeliveryState,
    Edition,
    EditionState,
    Enclosure,
    UncertainPolicy,
    slugify,
)
from tests.builders import make_parsed
from tests.digest_builders import make_article, make_newsletter

DAY = timedelta(days=1)


@pytest.mark.parametrize(
    ("text", "slug"),
    [
        ("Why the Tide Comes Twice", "why-the-tide-comes-twice"),
        ("  Night   Sky!  ", "night-sky"),
        ("It's the reader’s", "its-the-readers"),
        ("Straße & Küste", "strasse-küste"),
        ("مدّ البحر", "مد-البحر"),
        ("潮の満ち引き", "潮の満ち引き"),
        ("Ｆｕｌｌ　Ｗｉｄｔｈ ﬁne", "full-width-fine"),
        ("C++ / C#", "c-c"),
        ("_private_", "private"),
        ("../../etc/passwd", "etc-passwd"),
        ("", "untitled"),
        ("!?…", "untitled"),
        ("a" * 100, "a" * 60),
        (f"{'word ' * 20}", "word-word-word-word-word-word-word-word-word-word-word-word"),
    ],
)
def test_a_text_becomes_a_slug_of_lower_case_words(text: str, slug: str) -> None:
    assert slugify(text) == slug


@given(st.text(max_size=200), st.integers(1, 80))
def test_a_slug_is_never_empty_and_holds_nothing_that_an_address_would_have_to_escape(
    text: str, limit: int
) -> None:
    slug = slugify(text, limit)

    assert slug == "untitled" or 0 < len(slug) <= limit
    assert re.fullmatch(r"[\w-]+", slug)
    assert not slug.startswith("-")
    assert not slug.endswith("-")
    assert "--" not in slug


@given(st.text(max_size=59))
def test_a_slug_of_a_slug_is_the_same(text: str) -> None:
    once = slugify(text)

    assert slugify(once) == once


@given(st.text(st.characters(codec="ascii")))
def test_capitals_make_no_other_topic(text: str) -> None:
    assert slugify(text.upper()) == slugify(text.lower())


def test_the_hash_of_a_content_is_the_same_in_every_version_of_the_program() -> None:
    plain = make_parsed(1)
    full = make_parsed(
        1,
        authors=(Author(name="A", email="a@example.org", url="https://a.example"),),
        tags=("Küste",),
        image_url="https://img.example/1.png",
        enclosures=(Enclosure(url="https://example.org/1.mp3", type="audio/mpeg", length=7),),
    )

    assert plain.content_hash == "3997b1bbff00398bbb9e2a003d152bf9b6398856a6e28b1b2b6c153432f3cf45"
    assert full.content_hash == "6887d2beab439bababedec4da50ab881559ac1230b1bdaf41ee1a210a952d981"


@pytest.mark.parametrize(
    "change",
    [
        {"title": "Other"},
        {"content_html": "<p>Other</p>"},
        {"summary": "Other"},
        {"url": "https://example.org/other"},
        {"authors": (Author(name="A"),)},
        {"tags": ("b", "a")},
        {"image_url": "https://img.example/other.png"},
        {"enclosures": (Enclosure(url="https://example.org/1.mp3", length=8),)},
    ],
    ids=lambda change: next(iter(change)),
)
def test_what_a_reader_sees_changes_the_hash(change: dict[str, Any]) -> None:
    before = make_parsed(
        1, tags=("a", "b"), enclosures=(Enclosure(url="https://example.org/1.mp3", length=7),)
    )

    assert replace(before, **change).content_hash != before.content_hash


@pytest.mark.parametrize(
    "change",
    [
        {"guid": "other"},
        {"published_at": datetime(2026, 3, 14), "published_quality": DateQuality.DAY},  # noqa: DTZ001 - any date
        {"updated_at": datetime(2026, 3, 14)},  # noqa: DTZ001 - any date
        {"language": "de"},
        {"note": "repaired"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_what_a_reader_does_not_see_leaves_the_hash(change: dict[str, Any]) -> None:
    assert make_parsed(1, **change).content_hash == make_parsed(1).content_hash


def test_text_of_one_field_cannot_pass_for_that_of_another() -> None:
    assert (
        make_parsed(title="a", summary="b").content_hash != make_parsed(title="ab", summary="").content_hash
    )
    assert make_parsed(tags=("a", "b")).content_hash != make_parsed(tags=('a", "b',)).content_hash


def test_half_a_character_can_be_hashed() -> None:
    assert make_parsed(title="\ud83d").content_hash != make_parsed(title="\ude00").content_hash


def test_an_article_with_a_date_in_the_future_sorts_by_when_it_was_seen(now: datetime) -> None:
    assert make_article(published_at=now + DAY, first_seen_at=now).sorts_at == now
    assert make_article(published_at=now - DAY, first_seen_at=now).sorts_at == now - DAY


def test_tags_are_compared_as_slugs() -> None:
    assert make_article(tags=("Night Sky", "night-sky", "Küste")).topic_slugs == {"night-sky", "küste"}


def test_a_topic_on_offer_is_found_by_its_slug() -> None:
    newsletter = make_newsletter(topics=("Night Sky", "Coast"))

    assert newsletter.topic_label("night-sky") == "Night Sky"
    assert newsletter.topic_label("Night Sky") is None
    assert newsletter.topic_label("craft") is None


def test_an_edition_for_any_cadence_filters_by_none(now: datetime) -> None:
    edition = Edition(
        id=1,
        newsletter_id=1,
        cadence=Cadence.DAILY,
        slot="2026-03-14T09:00",
        state=EditionState.DRAFT,
        reason="",
        cutoff=0,
        policy=UncertainPolicy.RESEND,
        subject="",
        opened_at=now,
        finished_at=None,
    )

    assert edition.cadence_filter == "daily"
    assert replace(edition, cadence=ANY_CADENCE).cadence_filter is None


def test_what_is_open_is_not_settled() -> None:
    assert set(DeliveryState) - SETTLED == {
        DeliveryState.PENDING,
        DeliveryState.ATTEMPTING,
        DeliveryState.DEFERRED,
        DeliveryState.UNCERTAIN,
    }


def test_values_are_frozen_and_named() -> None:
    article = make_article()

    with pytest.raises(FrozenInstanceError):
        article.title = "Other"  # type: ignore[misc]  # that is what the test is about
    with pytest.raises(TypeError):
        Author("A")  # type: ignore[misc]  # the same
    assert not hasattr(article, "__dict__")
    assert all(field.kw_only for field in fields(article))


def test_the_list_of_public_names_is_exact() -> None:
    public = {
        name
        for name, value in vars(model).items()
        if not name.startswith("_") and getattr(value, "__module__", None) == model.__name__
    }

    assert set(model.__all__) == public | {"ANY_CADENCE", "SETTLED"}
    assert model.__all__ == sorted(model.__all__, key=lambda name: (not name.isupper(), name.islower(), name))
