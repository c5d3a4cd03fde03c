"""Feeds over HTTP: what readers' programs ask for, and what they get."""

from __future__ import annotations

from datetime import timedelta
from email.utils import format_datetime, parsedate_to_datetime

import feedparser
import pytest

from syndicate.service.feeds import refresh_feeds
from syndicate.storage.engine import writing
from syndicate.storage.newsletters import edit_newsletter
from tests.web_site import ARTICLES, SLUG, Website

TYPES = {
    "feed.xml": "application/rss+xml",
    "atom.xml": "application/atom+xml",
    "feed.json": "application/feed+json",
}
KINDS = list(TYPES)


@pytest.mark.parametrize("name", KINDS)
def test_a_feed_has_its_type_its_validators_and_is_open_to_every_page(website: Website, name: str) -> None:
    answer = website.client().get(f"/{SLUG}/{name}")
    assert answer.headers["content-type"].partition(";")[0] == TYPES[name]
    assert answer.headers["access-control-allow-origin"] == "*"
    assert answer.headers["etag"].startswith('"')
    assert parsedate_to_datetime(answer.headers["last-modified"]) <= website.clock()
    assert "max-age=300" in answer.headers["cache-control"]
    assert int(answer.headers["content-length"]) == len(answer.content)


@pytest.mark.parametrize("name", ["feed.xml", "atom.xml"])
def test_a_feed_reader_finds_every_article(website: Website, name: str) -> None:
    found = feedparser.parse(website.client().get(f"/{SLUG}/{name}").content)
    assert not found.bozo
    assert found.feed.title == "Tide & Timber"
    assert len(found.entries) == ARTICLES
    assert len({entry.id for entry in found.entries}) == ARTICLES
    assert all(e.link.startswith(("https://news.example.org/", "https://")) for e in found.entries)
    assert any("/tide-timber/articles/" in e.link for e in found.entries)


def test_the_json_feed_has_every_article(website: Website) -> None:
    found = website.client().get(f"/{SLUG}/feed.json").json()
    assert found["version"] == "https://jsonfeed.org/version/1.1"
    assert found["feed_url"] == "https://news.example.org/tide-timber/feed.json"
    assert len(found["items"]) == ARTICLES


@pytest.mark.parametrize("name", KINDS)
def test_who_has_it_already_gets_304_without_a_body(website: Website, name: str) -> None:
    web, path = website.client(), f"/{SLUG}/{name}"
    first = web.get(path)
    for given in (
        {"If-None-Match": first.headers["etag"]},
        {"If-None-Match": f'"other", W/{first.headers["etag"]}'},
        {"If-None-Match": "*"},
        {"If-Modified-Since": first.headers["last-modified"]},
    ):
        for method in ("GET", "HEAD"):
            again = web.request(method, path, headers=given)
            assert (again.status_code, again.content) == (304, b""), given
            for header in ("etag", "last-modified", "cache-control", "access-control-allow-origin"):
                assert again.headers[header] == first.headers[header]


@pytest.mark.parametrize("name", KINDS)
def test_who_has_something_else_gets_the_feed(website: Website, name: str) -> None:
    web, path = website.client(), f"/{SLUG}/{name}"
    first = web.get(path)
    earlier = parsedate_to_datetime(first.headers["last-modified"]) - timedelta(seconds=1)
    for given in (
        {"If-None-Match": '"other"'},
        {"If-None-Match": '"other"', "If-Modified-Since": first.headers["last-modified"]},
        {"If-Modified-Since": format_datetime(earlier, usegmt=True)},
        {"If-Modified-Since": "yesterday"},
    ):
        again = web.get(path, headers=given)
        assert (again.status_code, again.content) == (200, first.content), given


@pytest.mark.parametrize("name", KINDS)
def test_head_tells_what_get_would(website: Website, name: str) -> None:
    web, path = website.client(), f"/{SLUG}/{name}"
    assert dict(web.head(path).headers) == dict(web.get(path).headers)


@pytest.mark.parametrize("name", KINDS)
def test_a_topic_has_a_feed_of_its_own(website: Website, name: str) -> None:
    web = website.client()
    whole, topic = web.get(f"/{SLUG}/{name}"), web.get(f"/{SLUG}/topics/night-sky/{name}")
    assert topic.status_code == 200
    assert topic.headers["etag"] != whole.headers["etag"]
    if name == "feed.json":
        assert 0 < len(topic.json()["items"]) < ARTICLES
        assert topic.json()["title"] == "Tide & Timber: Night sky"
    else:
        found = feedparser.parse(topic.content)
        assert 0 < len(found.entries) < ARTICLES
        assert found.feed.title == "Tide & Timber: Night sky"


def test_a_change_that_the_feed_shows_gives_it_another_tag(website: Website) -> None:
    web, path = website.client(), f"/{SLUG}/feed.xml"
    before = web.get(path)
    with writing(website.inst.engine) as conn:
        edit_newsletter(conn, website.newsletter.id, now=website.clock(), title="Timber & Tide")
    after = web.get(path, headers={"If-None-Match": before.headers["etag"]})
    assert after.status_code == 200
    assert b"Timber &amp; Tide" in after.content
    assert after.headers["last-modified"] != before.headers["last-modified"]


def test_building_every_feed_anew_changes_no_byte(website: Website) -> None:
    web = website.client()
    before = {name: web.get(f"/{SLUG}/{name}") for name in KINDS}
    with website.inst.engine.begin() as conn:
        conn.exec_driver_sql("DELETE FROM feed_document")
    refresh_feeds(website.inst)
    for name, answer in before.items():
        again = web.get(f"/{SLUG}/{name}")
        assert again.content == answer.content
        assert again.headers["etag"] == answer.headers["etag"]
