"""The archive over HTTP: addresses, lists of many pages, topics in every script."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from urllib.parse import quote, unquote

import pytest
from lxml import html

from syndicate.model import Author
from syndicate.service.newsletters import NewsletterChanges, add_newsletter
from syndicate.settings import SiteSettings
from syndicate.storage import articles
from syndicate.storage.engine import reading, writing
from syndicate.storage.newsletters import join_source
from tests.builders import add_article, add_source
from tests.web_site import SLUG, Website

HOSTILE = """"'></title></textarea><script>alert(1)</script><img src=x onerror=alert(2)> {{ 7 * 7 }}"""


@pytest.fixture
def long_list(website: Website) -> Website:
    """The site with a second newsletter that has 45 articles, the last one hostile."""
    newsletter = add_newsletter(
        website.inst,
        "2-0",
        NewsletterChanges(title="Long", topics=("بحر & Sea", "a/b")),
    )
    now = website.clock()
    with writing(website.inst.engine) as conn:
        source = add_source(conn, now, location="https://example.org/long.xml")
        join_source(conn, newsletter.id, source.id, from_sequence=0, now=now)
        for number in range(1, 45):
            tags = ("بحر & Sea",) if number % 2 else ("a/b", "C++ & <b>")
            add_article(conn, source.id, now, url="", title=f"Number {number}", tags=tags)
        add_article(
            conn, source.id, now, title=HOSTILE, authors=(Author(name=HOSTILE),), tags=(HOSTILE,), url=""
        )
    return website


def titles(text: str) -> list[str]:
    return [
        h.text_content() for h in html.document_fromstring(text).xpath("//li[@class]//h2 | //li[@class]//h3")
    ]


def test_every_page_of_a_long_list_is_linked_and_no_article_is_missing_or_twice(long_list: Website) -> None:
    web, path, found = long_list.client(), "/2-0/", list[str]()
    visited = []
    while path:
        answer = web.get(path)
        assert answer.status_code == 200
        visited.append(path)
        found += titles(answer.text)
        following = html.document_fromstring(answer.text).xpath("//main//a[@rel='next']/@href")
        path = following[0] if following else ""
    assert visited == ["/2-0/", "/2-0/page/2/", "/2-0/page/3/"]
    assert found == [HOSTILE, *(f"Number {n}" for n in range(44, 0, -1))]
    assert web.get("/2-0/page/4/").status_code == 404


def test_the_first_page_of_a_list_has_one_address_that_search_engines_are_told(long_list: Website) -> None:
    answer = long_list.client().get("/2-0/page/1/")
    canonical = html.document_fromstring(answer.text).xpath("//link[@rel='canonical']/@href")
    assert canonical == ["https://news.example.org/2-0/"]


def test_every_topic_is_reached_by_its_link_whatever_is_in_its_name(long_list: Website) -> None:
    web = long_list.client()
    with reading(long_list.inst.engine) as conn:
        used = articles.list_used_topics(conn, 2)
    assert {"بحر-sea", "a-b", "c-b"} <= set(used)
    for topic, count in used.items():
        path = long_list.inst.urls.topic("2-0", topic)
        assert path.isascii()
        answer = web.get(path)
        assert answer.status_code == 200
        assert len(titles(answer.text)) == min(count, 20)
        feeds = html.document_fromstring(answer.text).xpath("//link[@rel='alternate']/@href")
        assert any(quote(topic) in feed for feed in feeds)
        for feed in feeds:
            assert web.get(feed).status_code == 200, feed
    assert "/2-0/topics/a-b/page/2/" in web.get("/2-0/topics/a-b/").text
    assert web.get("/2-0/topics/a-b/page/2/").status_code == 200


def test_every_article_has_its_page_at_the_address_that_lists_give(website: Website) -> None:
    web = website.client()
    front = html.document_fromstring(web.get(f"/{SLUG}/").text)
    links = front.xpath("//main//li[contains(@class, 'entry')]//h3/a/@href")
    assert len(links) == 14
    for link in links:
        assert web.get(link).status_code == 200, link


@pytest.mark.parametrize("words", ["x", "Why-The-Tide", "بحر", "%3Cscript%3E", "%20", "%25"])
def test_an_old_wording_of_an_address_leads_to_the_new_one_for_good(website: Website, words: str) -> None:
    web = website.client()
    answer = web.get(f"/{SLUG}/articles/1-{quote(words, safe='%')}")
    assert answer.status_code == 301
    assert answer.headers["location"].startswith(f"/{SLUG}/articles/1-")
    again = web.get(answer.headers["location"])
    assert again.status_code == 200


def test_an_article_whose_words_are_not_ascii_is_no_endless_circle(long_list: Website) -> None:
    web, now = long_list.client(), long_list.clock()
    with writing(long_list.inst.engine) as conn:
        article_id = add_article(conn, 2, now, title="البحر في الليل", url="")
    answer = web.get(f"/2-0/articles/{article_id}-x")
    assert answer.status_code == 301
    location = answer.headers["location"]
    assert unquote(location) == f"/2-0/articles/{article_id}-البحر-في-الليل"
    assert web.get(location).status_code == 200


def test_an_article_of_another_newsletter_is_not_found_here(long_list: Website) -> None:
    web = long_list.client()
    assert web.get("/2-0/articles/1-x").status_code == 404
    assert web.get("/2-0/editions/1").status_code == 404


def test_a_hostile_title_name_or_tag_is_shown_as_text(long_list: Website) -> None:
    web = long_list.client()
    front = web.get("/2-0/").text
    article = next(
        a.get("href") for a in html.document_fromstring(front).xpath("//h3/a") if a.text_content() == HOSTILE
    )
    for text in (front, web.get(article).text, web.get("/").text):
        tree = html.document_fromstring(text)
        assert not tree.xpath("//script | //*[@onerror]")
        assert HOSTILE in tree.text_content()
        assert "49" not in tree.xpath("string(//title)")


def test_a_draft_or_cancelled_edition_is_not_public(website: Website) -> None:
    web = website.client()
    assert "/tide-timber/editions/1" in web.get(f"/{SLUG}/editions/").text
    for state in ("draft", "approved", "held", "cancelled"):
        with website.inst.engine.begin() as conn:
            conn.exec_driver_sql("UPDATE edition SET state = ?", (state,))
        assert web.get(f"/{SLUG}/editions/1").status_code == 404
        assert "/tide-timber/editions/1" not in web.get(f"/{SLUG}/editions/").text


def test_an_operators_stylesheet_goes_before_the_shipped_one(website: Website, tmp_path: Path) -> None:
    own = tmp_path / "own" / "web" / "static"
    own.mkdir(parents=True)
    (own / "site.css").write_text("body { color: teal }", encoding="utf-8")
    site = SiteSettings(title="Harbour News", url="https://news.example.org", templates=Path("own"))
    settings = website.inst.settings.model_copy(update={"site": site})
    web = replace(website, inst=replace(website.inst, settings=settings)).client()
    css = web.get("/static/site.css")
    assert (css.headers["content-type"], css.text) == ("text/css; charset=utf-8", "body { color: teal }")
    icon = web.get("/static/favicon.svg")
    assert (icon.status_code, icon.headers["content-type"]) == (200, "image/svg+xml")
