from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from subscribers.errors import InvalidPreferences
from subscribers.model import Cadence
from subscribers.preferences import (
    Offer,
    Preferences,
    clean_name,
    parse_language,
    parse_preferences,
    parse_time_zone,
)

OFFER = Offer(cadences=(Cadence.WEEKLY, Cadence.DAILY), topics={"coast": "Coast", "night-sky": "Night sky"})


def test_nothing_chosen_is_the_first_cadence_and_every_topic() -> None:
    expected = Preferences(cadence=Cadence.WEEKLY, topics=())
    assert parse_preferences({}, offer=OFFER) == expected
    assert parse_preferences({"cadence": [" "], "topics": ["", " "], "other": ["x"]}, offer=OFFER) == expected


def test_topics_are_taken_by_slug_or_label_and_sorted_without_repeats() -> None:
    chosen = {"cadence": ["Daily"], "topics": ["night-sky", " COAST ", "Night sky"]}
    assert parse_preferences(chosen, offer=OFFER) == Preferences(
        cadence=Cadence.DAILY, topics=("coast", "night-sky")
    )


def test_every_mistake_is_told_in_one_go() -> None:
    with pytest.raises(InvalidPreferences) as caught:
        parse_preferences({"cadence": ["dayly"], "topics": ["Sea", "coast"]}, offer=OFFER)
    assert caught.value.problems == (
        "unknown cadence 'dayly'; one of weekly, daily",
        "unknown topic 'Sea'; one of Coast, Night sky",
    )


def test_a_cadence_that_exists_but_is_not_on_offer_is_refused() -> None:
    with pytest.raises(InvalidPreferences, match="unknown cadence 'monthly'"):
        parse_preferences({"cadence": ["monthly"]}, offer=OFFER)


def test_two_cadences_are_refused() -> None:
    with pytest.raises(InvalidPreferences, match="choose one"):
        parse_preferences({"cadence": ["daily", "weekly"]}, offer=OFFER)


def test_a_topic_where_none_is_on_offer_is_refused() -> None:
    with pytest.raises(InvalidPreferences, match="none is on offer"):
        parse_preferences({"topics": ["coast"]}, offer=Offer(cadences=(Cadence.DAILY,), topics={}))


def test_time_zones_are_iana_names() -> None:
    assert parse_time_zone(" Europe/Berlin ") == "Europe/Berlin"
    assert parse_time_zone("") == ""
    for name in ("Berlin", "../../etc/passwd", "Europe", "europe/nowhere", "a\nb"):
        with pytest.raises(InvalidPreferences, match="unknown time zone"):
            parse_time_zone(name)


def test_languages_are_tags() -> None:
    assert [parse_language(tag) for tag in ("de", "pt-BR", " zh-Hant-TW ", "")] == [
        "de",
        "pt-BR",
        "zh-Hant-TW",
        "",
    ]
    for tag in ("german!", "d", "en_US", "en-" + "x-" * 20 + "x", '"><b>'):
        with pytest.raises(InvalidPreferences, match="is not a language"):
            parse_language(tag)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("  Reader   One ", "Reader One"),
        ("Reader\r\nBcc: x@example.com", "Reader Bcc: x@example.com"),
        ("a\x00b\x85c\u2028d", "ab c d"),
        ("=?utf-8?q?a=0ABcc?=", "= ?utf-8?q?a=0ABcc?="),
        ("Zoe\u0308", "Zoë"),
        ("a\u202eb", "ab"),
        ("ni\u200cm", "ni\u200cm"),
        ("x" * 300, "x" * 200),
        ("\udc80", ""),
    ],
)
def test_a_name_is_one_clean_line(text: str, name: str) -> None:
    assert clean_name(text) == name


@given(st.text())
def test_a_clean_name_stays_as_it_is_and_can_be_stored(text: str) -> None:
    name = clean_name(text)
    assert clean_name(name) == name
    assert len(name) <= 200
    assert "=?" not in name
    assert "\n" not in name.encode().decode()
    assert "\0" not in name
