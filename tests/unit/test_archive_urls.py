from __future__ import annotations

from urllib.parse import unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syndicate.publish.urls import RESERVED_SLUGS, Urls

ROOT = Urls("https://news.example.org")
BELOW = Urls("https://news.example.org:8443/read/")


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (ROOT.home(), "/"),
        (BELOW.home(), "/read/"),
        (ROOT.newsletter("tide"), "/tide/"),
        (BELOW.newsletter("tide"), "/read/tide/"),
        (
            ROOT.topic("tide", "سماء-الليل"),
            "/tide/topics/%D8%B3%D9%85%D8%A7%D8%A1-%D8%A7%D9%84%D9%84%D9%8A%D9%84/",
        ),
        (ROOT.editions("tide"), "/tide/editions/"),
        (ROOT.edition("tide", 12), "/tide/editions/12"),
        (ROOT.feed("tide", "feed.xml"), "/tide/feed.xml"),
        (ROOT.topic_feed("tide", "coast", "feed.json"), "/tide/topics/coast/feed.json"),
        (ROOT.subscribe("tide"), "/tide/subscribe"),
        (BELOW.confirm("a.b-c"), "/read/confirm/a.b-c"),
        (ROOT.page("/tide/", 1), "/tide/"),
        (ROOT.page("/tide/", 2), "/tide/page/2/"),
        (BELOW.absolute(BELOW.newsletter("tide")), "https://news.example.org:8443/read/tide/"),
        (BELOW.host, "news.example.org"),
    ],
)
def test_an_address_is_where_it_has_always_been(path: str, expected: str) -> None:
    assert path == expected


@given(st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=30))
def test_whatever_is_in_a_name_stays_within_its_part_of_the_path(name: str) -> None:
    for path in (ROOT.unsubscribe(name), ROOT.preferences(name), ROOT.postbox_part(name, "text")):
        parts = urlsplit(ROOT.absolute(path))
        assert path.isascii()
        assert (parts.netloc, parts.query, parts.fragment) == ("news.example.org", "", "")
        assert unquote(parts.path.split("/")[2]) == name


def test_no_newsletter_can_take_the_place_of_the_sites_own_pages() -> None:
    own = (
        ROOT.static("site.css"),
        ROOT.confirm("t"),
        ROOT.unsubscribe("t"),
        ROOT.preferences("t"),
        ROOT.postbox(),
        ROOT.postbox_message("k"),
    )
    assert {path.split("/")[1] for path in own} <= RESERVED_SLUGS
