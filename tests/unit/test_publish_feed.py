from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from syndicate.errors import UsageError
from syndicate.model import Article, Author, DateQuality, Enclosure, Origin
from syndicate.publish.feed import Entry, EntrySource, Feed, mint_atom_id

MORNING = datetime(2026, 3, 2, 6, 30, tzinfo=UTC)
HOSTILE = st.text(st.characters() | st.sampled_from("\x00\x0b\x85\ufffe\ud800\r\n<&"))


def an_entry(link: str = "https://letters.example/1", **changes: Any) -> Entry:
    fields: dict[str, Any] = {
        "id": 1,
        "sequence": 1,
        "source_id": 1,
        "guid": "1",
        "atom_id": "tag:letters.example,2026-03-02:1",
        "slug": "one",
        "url": "",
        "title": "One",
        "content_html": "<p>One</p>",
        "summary": "One",
        "authors": (),
        "tags": (),
        "language": "",
        "image_url": "",
        "enclosures": (),
        "published_at": MORNING,
        "published_quality": DateQuality.GIVEN,
        "updated_at": MORNING,
        "first_seen_at": MORNING,
        "content_hash": "",
        "revision": 1,
        "origin": Origin.NEW,
    }
    return Entry(article=Article(**(fields | changes)), link=link, source=None)


def a_feed(*entries: Entry, **changes: Any) -> Feed:
    fields: dict[str, Any] = {
        "title": "Letters",
        "description": "Of all kinds.",
        "language": "en",
        "home_url": "https://letters.example/",
        "self_url": "https://letters.example/feed.xml",
        "atom_id": "tag:letters.example,2026-03-02:letters",
        "generated_from_at": MORNING,
        "author_name": "Letters",
        "entries": entries,
    }
    return Feed(**(fields | changes))


def test_a_feed_changed_when_any_of_its_entries_last_changed() -> None:
    later = MORNING + timedelta(days=1)
    assert a_feed(an_entry(), an_entry(updated_at=later), an_entry()).updated_at == later


def test_a_feed_without_entries_changed_when_its_newsletter_was_made() -> None:
    assert a_feed().updated_at == MORNING


def test_the_title_stands_in_for_what_a_feed_does_not_say() -> None:
    feed = a_feed(title=" Letters\n from here ", description=" ", author_name="")
    assert (feed.title, feed.description, feed.author_name) == ("Letters from here",) * 3


def test_a_feed_without_title_is_called_by_its_address() -> None:
    assert a_feed(title="\x00 ").title == "https://letters.example/"


def test_what_an_article_lacks_is_made_of_what_it_has() -> None:
    entry = an_entry(title="", summary=" ", content_html="", link="https://letters.example/1?a=b&c=d")
    assert entry.title == entry.summary == "https://letters.example/1?a=b&c=d"
    assert entry.content_html == "<p>https://letters.example/1?a=b&amp;c=d</p>"


def test_a_date_in_the_future_counts_from_the_day_it_was_seen() -> None:
    assert an_entry(published_at=MORNING + timedelta(days=400)).published_at == MORNING


@pytest.mark.parametrize(
    ("given_url", "expected"),
    [
        ("https://letters.example/a%20b?c=d&e=f#g", "https://letters.example/a%20b?c=d&e=f#g"),
        ("https://letters.example/المد", "https://letters.example/%D8%A7%D9%84%D9%85%D8%AF"),
        (" HTTP://letters.example/two words.png ", "HTTP://letters.example/two%20words.png"),
        ("https://letters.example/?a[]=100%&b=%41", "https://letters.example/?a%5B%5D=100%25&b=%41"),
        ("http://[2001:db8::1]:8000/[1]", "http://[2001:db8::1]:8000/%5B1%5D"),
        ("https://bücher.example/", "https://b%C3%BCcher.example/"),
        ("/relative.png", ""),
        ("//letters.example/1.png", ""),
        ("https:///1.png", ""),
        ("javascript:alert(1)", ""),
        ("data:image/png;base64,AAAA", ""),
        ("", ""),
    ],
)
def test_only_an_absolute_web_address_is_shown_and_it_is_percent_encoded(
    given_url: str, expected: str
) -> None:
    entry = an_entry(
        image_url=given_url,
        enclosures=(Enclosure(url=given_url),),
        authors=(Author(name="The Desk", url=given_url),),
    )
    assert entry.image_url == expected
    assert [enclosure.url for enclosure in entry.enclosures] == ([expected] if expected else [])
    assert entry.authors[0].url == expected


def test_links_keep_what_is_encoded_already() -> None:
    twice = an_entry(link=an_entry(link="https://letters.example/é%20ü").link)
    assert twice.link == "https://letters.example/%C3%A9%20%C3%BC"
    assert (
        a_feed(self_url="https://letters.example/topic/é").self_url == "https://letters.example/topic/%C3%A9"
    )


@pytest.mark.parametrize(
    ("given_type", "expected"),
    [
        ("audio/mpeg", "audio/mpeg"),
        (" Video/MP4 ; codecs=avc1 ", "video/mp4"),
        ("image/svg+xml", "image/svg+xml"),
        ("mp3", "application/octet-stream"),
        ("", "application/octet-stream"),
        ("audio/<b>", "application/octet-stream"),
    ],
)
def test_every_enclosure_has_a_media_type(given_type: str, expected: str) -> None:
    (enclosure,) = an_entry(
        enclosures=(Enclosure(url="https://letters.example/1", type=given_type),)
    ).enclosures
    assert enclosure.type == expected


@pytest.mark.parametrize(("given_length", "expected"), [(None, None), (0, None), (-1, None), (7, 7)])
def test_an_impossible_length_is_an_unknown_one(given_length: int | None, expected: int | None) -> None:
    (enclosure,) = an_entry(
        enclosures=(Enclosure(url="https://letters.example/1", length=given_length),)
    ).enclosures
    assert enclosure.length == expected


def test_authors_without_a_name_are_left_out_and_a_mail_address_must_be_one() -> None:
    entry = an_entry(
        authors=(
            Author(name=" \x0b", email="ghost@letters.example"),
            Author(name="The\nDesk", email="desk@letters.example"),
            Author(name="Night", email="night at letters"),
        )
    )
    assert [(author.name, author.email) for author in entry.authors] == [
        ("The Desk", "desk@letters.example"),
        ("Night", ""),
    ]


def test_a_tag_is_said_once() -> None:
    assert an_entry(tags=("Tides", " ", "Ebb/flow", "Tides", " Tides\n")).tags == ("Tides", "Ebb/flow")


def test_an_origin_without_title_is_called_by_its_address() -> None:
    source = EntrySource(
        atom_id="urn:x-feed:1", title="", url="", feed_url="https://other.example/f", updated_at=MORNING
    )
    assert source.title == "https://other.example/f"


def test_enums_of_an_article_survive_the_cleaning() -> None:
    assert type(an_entry().article.published_quality) is DateQuality


@given(HOSTILE)
def test_whatever_reaches_a_feed_is_fit_for_xml(text: str) -> None:
    entry = an_entry(content_html=f"a{text}", tags=(f"a{text}",), authors=(Author(name=f"a{text}"),))
    feed = a_feed(entry, description=f"a{text}", atom_id=text)
    for said in (entry.content_html, *entry.tags, entry.authors[0].name, feed.description, feed.atom_id):
        etree.Element("x").text = said  # lxml raises ValueError for what XML forbids
        said.encode()
        assert not re.search(r"[\x80-\x9f]", said)


@given(st.text(st.characters(min_codepoint=0xA0, max_codepoint=0xD7FF) | st.sampled_from("\t\n <📯؟")))
def test_nothing_that_xml_allows_is_lost(text: str) -> None:
    assert an_entry(content_html=f"<{text}>").content_html == f"<{text}>"


# Ids


def test_an_id_names_authority_day_and_article() -> None:
    minted = mint_atom_id("letters.example", date(2026, 3, 2), "article/17")
    assert minted == "tag:letters.example,2026-03-02:article/17"


@pytest.mark.parametrize(
    ("authority", "expected"),
    [
        ("Letters.Example", "letters.example"),
        ("bücher.example", "xn--bcher-kva.example"),
        ("desk@letters.example", "desk@letters.example"),
        ("localhost", "localhost"),
        ("127.0.0.1", "127.0.0.1"),
    ],
)
def test_an_authority_is_a_domain_or_a_mail_address_in_lower_case_ascii(
    authority: str, expected: str
) -> None:
    assert mint_atom_id(authority, date(2026, 3, 2), "1") == f"tag:{expected},2026-03-02:1"


@pytest.mark.parametrize(
    "authority", ["", "::1", "letters.example:8000", "a..b", "-a.example", "a b", "a,b", "é@b"]
)
def test_an_authority_that_is_neither_is_refused_by_name(authority: str) -> None:
    with pytest.raises(UsageError, match=re.escape(f"'{authority}'")):
        mint_atom_id(authority, date(2026, 3, 2), "1")


TAG_URI = re.compile(r"tag:letters\.example,2026-03-02:([A-Za-z0-9._~!$&'()*+,;=:@/?-]|%[0-9A-F]{2})*")


@given(st.text(), st.text())
def test_ids_are_well_formed_and_differ_where_the_articles_do(one: str, two: str) -> None:
    first, second = (mint_atom_id("letters.example", date(2026, 3, 2), specific) for specific in (one, two))
    assert TAG_URI.fullmatch(first)
    assert (first == second) == (one == two)
