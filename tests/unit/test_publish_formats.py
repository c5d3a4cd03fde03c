from __future__ import annotations

import calendar
import dataclasses
import io
import json
import locale
import os
import pickle
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from html import escape, unescape
from pathlib import Path
from typing import Any

import feedparser
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import etree

from syndicate.model import Article, Author, DateQuality, Enclosure, Origin
from syndicate.publish.feed import Entry, EntrySource, Feed
from syndicate.publish.formats import FORMATS
from syndicate.publish.jsonfeed import build_json
from syndicate.publish.rss_atom import build_atom, build_rss

GOLDEN = Path(__file__).parent.parent / "golden" / "publish"
MORNING = datetime(2026, 3, 2, 6, 30, tzinfo=UTC)
NAMES = {
    "a": "http://www.w3.org/2005/Atom",
    "content": "http://purl.org/rss/1.0/modules/content/",
    "dc": "http://purl.org/dc/elements/1.1/",
    "media": "http://search.yahoo.com/mrss/",
}


def an_entry(number: int = 1, *, link: str = "", source: EntrySource | None = None, **changes: Any) -> Entry:
    at = MORNING + timedelta(days=number)
    article = Article(
        id=number,
        sequence=number,
        source_id=1,
        guid=f"{number}",
        atom_id=f"tag:letters.example,2026-03-01:article/{number}",
        slug=f"article-{number}",
        url="",
        title=f"Article {number}",
        content_html=f"<p>The whole of article {number}.</p>",
        summary=f"The gist of article {number}.",
        authors=(Author(name="The Harbour Desk"),),
        tags=("Tides",),
        language="",
        image_url="",
        enclosures=(),
        published_at=at,
        published_quality=DateQuality.GIVEN,
        updated_at=at,
        first_seen_at=at,
        content_hash="",
        revision=1,
        origin=Origin.NEW,
    )
    link = link or f"https://letters.example/harbour/article-{number}"
    return Entry(article=dataclasses.replace(article, **changes), link=link, source=source)


def a_feed(*entries: Entry, **changes: Any) -> Feed:
    feed = Feed(
        title="Harbour Letters",
        description="What the tide brought in.",
        language="en",
        home_url="https://letters.example/harbour",
        self_url="https://letters.example/harbour/feed",
        atom_id="tag:letters.example,2026-03-01:harbour",
        generated_from_at=MORNING,
        author_name="Harbour Letters",
        entries=entries,
    )
    return dataclasses.replace(feed, **changes)


def everything() -> Feed:
    """One feed with all that a newsletter can put into one, and much that it should not."""
    return a_feed(
        an_entry(
            5,
            title="A recording of the fog horn 📯",
            summary="Two takes, & one <photograph>.",
            content_html='<p>Two takes &amp; a <a href="https://letters.example/?a=1&amp;b=2">map</a>.</p>',
            authors=(
                Author(
                    name="The Harbour Desk", email="desk@letters.example", url="https://letters.example/desk"
                ),
                Author(name="The Night Desk", email="not an address", url="javascript:alert(1)"),
            ),
            tags=("Sound/Horns", 'The "old" pier', "A & B", "Tides", "Tides", " "),
            image_url="https://letters.example/media/horn.jpg",
            enclosures=(
                Enclosure(url="https://letters.example/media/one.mp3", type="audio/mpeg", length=4_800_123),
                Enclosure(url="https://letters.example/media/two words.ogg", type="Audio/Ogg; codecs=opus"),
                Enclosure(url="ftp://letters.example/three.mp3", type="audio/mpeg", length=1),
            ),
            updated_at=MORNING + timedelta(days=9),
        ),
        an_entry(
            4,
            link="https://letters.example/harbour/لماذا-يأتي-المد",
            title="لماذا يأتي المدّ مرتين؟",
            content_html="<p>سؤال قديم.</p>",
            summary="سؤال قديم.",
            authors=(),
            language="ar",
            published_at=MORNING + timedelta(days=4000),
        ),
        an_entry(
            3,
            title="What ]]> means\x0b, and \ud800what AT&T\x00 does not",
            content_html="<pre>]]&gt; ]]> \ufffe\x1b[0m</pre>",
            summary="The end ]]> of a section.",
            tags=(),
        ),
        an_entry(
            2,
            atom_id="https://other.example/posts/2",
            link="https://other.example/posts/2",
            source=EntrySource(
                atom_id="https://other.example/",
                title="The Other Shore",
                url="https://other.example/",
                feed_url="https://other.example/feed.xml",
                updated_at=MORNING,
            ),
        ),
        an_entry(1, title=" \n ", summary="", content_html="", authors=(Author(name=" "),)),
    )


def parsed(body: bytes) -> Any:
    result = feedparser.parse(io.BytesIO(body), sanitize_html=False, resolve_relative_uris=False)
    assert not result.bozo, result.bozo_exception
    return result


def rss(*entries: Entry, **changes: Any) -> etree._Element:
    return etree.fromstring(build_rss(a_feed(*entries, **changes)))[0]


def atom(*entries: Entry, **changes: Any) -> etree._Element:
    return etree.fromstring(build_atom(a_feed(*entries, **changes)))


def attributes(element: etree._Element) -> dict[str, str]:
    return {str(name): str(value) for name, value in element.attrib.items()}


def texts(element: etree._Element, path: str) -> list[str]:
    return [found.text or "" for found in element.iterfind(path, NAMES)]


# Every format


@pytest.mark.parametrize("key", FORMATS)
@pytest.mark.parametrize(("name", "feed"), [("everything", everything()), ("empty", a_feed())])
def test_each_format_gives_the_golden_bytes(key: str, name: str, feed: Feed, tmp_path: Path) -> None:
    file = f"{name}.{FORMATS[key].path_suffix}"
    actual = FORMATS[key].build(feed)
    (tmp_path / file).write_bytes(actual)
    assert actual == (GOLDEN / file).read_bytes(), (
        f"read {tmp_path / file}; if it is right, copy it to {GOLDEN}"
    )


@pytest.mark.parametrize("key", FORMATS)
def test_equal_feeds_give_equal_bytes_in_processes_with_different_hash_seeds(key: str) -> None:
    code = (
        "import pickle, sys; from syndicate.publish.formats import FORMATS;"
        "sys.stdout.buffer.write(FORMATS[sys.argv[1]].build(pickle.load(sys.stdin.buffer)))"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code, key],
        input=pickle.dumps(everything()),
        env={**os.environ, "PYTHONHASHSEED": "4711", "TZ": "Asia/Tokyo"},
        capture_output=True,
        check=True,
    )
    assert answer.stdout == FORMATS[key].build(everything())


def test_formats_can_be_told_apart_by_address_and_media_type() -> None:
    assert {key: (f.path_suffix, f.media_type) for key, f in FORMATS.items()} == {
        "rss": ("feed.xml", "application/rss+xml; charset=utf-8"),
        "atom": ("atom.xml", "application/atom+xml; charset=utf-8"),
        "json": ("feed.json", "application/feed+json; charset=utf-8"),
    }


any_text = st.text(st.characters() | st.sampled_from("<>&\"']\x00\x0b\x85\r\n\ufffe\ud800؟📯"), max_size=40)
any_entry = st.builds(
    an_entry,
    st.integers(1, 900),
    title=any_text,
    summary=any_text,
    content_html=any_text,
    authors=st.lists(st.builds(Author, name=any_text, email=any_text, url=any_text), max_size=3).map(tuple),
    tags=st.lists(any_text, max_size=3).map(tuple),
    language=st.sampled_from(["", "ar", "en-GB"]),
    image_url=any_text | any_text.map("https://letters.example/{}".format),
    enclosures=st.lists(
        st.builds(
            Enclosure,
            url=any_text.map("https://letters.example/{}".format) | any_text,
            type=any_text | st.just("audio/mpeg"),
            length=st.none() | st.integers(-1, 2**40),
        ),
        max_size=3,
    ).map(tuple),
    source=st.none()
    | st.builds(
        EntrySource,
        atom_id=st.just("tag:other.example,2026:feed"),
        title=any_text,
        url=any_text,
        feed_url=st.just("https://other.example/feed.xml") | any_text,
        updated_at=st.just(MORNING),
    ),
)
any_feed = st.lists(any_entry, max_size=3).flatmap(
    lambda entries: st.builds(
        lambda t, d, a: a_feed(*entries, title=t, description=d, author_name=a), any_text, any_text, any_text
    )
)


@settings(max_examples=40, deadline=None)
@given(any_feed)
def test_whatever_an_article_holds_each_format_says_it_word_for_word(feed: Feed) -> None:
    channel = etree.fromstring(build_rss(feed))[0]
    root = etree.fromstring(build_atom(feed))
    items = json.loads(build_json(feed))["items"]
    titles = [entry.title for entry in feed.entries]
    contents = [entry.content_html for entry in feed.entries]
    assert (
        texts(channel, "item/title")
        == texts(root, "a:entry/a:title")
        == [i["title"] for i in items]
        == titles
    )
    assert texts(channel, "item/content:encoded") == texts(root, "a:entry/a:content") == contents
    assert [i["content_html"] for i in items] == contents
    for entry, item, element, data in zip(
        feed.entries, channel.iterfind("item"), root.iterfind("a:entry", NAMES), items, strict=True
    ):
        authors = [author.name for author in entry.authors]
        assert (
            texts(
                item,
                "dc:creator",
            )
            == texts(element, "a:author/a:name")
            == authors
        )
        assert [author["name"] for author in data.get("authors", [])] == authors
        assert texts(item, "category") == data.get("tags", []) == list(entry.tags)
        assert [c.get("term") for c in element.iterfind("a:category", NAMES)] == list(entry.tags)
        assert unescape(texts(item, "description")[0]) == unescape(escape(entry.summary, quote=False))


@settings(max_examples=25, deadline=None)
@given(any_feed)
def test_equal_feeds_give_equal_bytes_in_each_format(feed: Feed) -> None:
    twin = pickle.loads(pickle.dumps(feed))
    assert [f.build(twin) for f in FORMATS.values()] == [f.build(feed) for f in FORMATS.values()]


@pytest.mark.parametrize("key", FORMATS)
def test_an_article_of_200_kilobytes_is_whole(key: str) -> None:
    long = "<p>" + "The tide comes twice a day, 📯 and ]]> so on. " * 4500 + "</p>"
    feed = a_feed(an_entry(content_html=long))
    body = FORMATS[key].build(feed)
    assert len(body) > 200_000
    if key == "json":
        assert json.loads(body)["items"][0]["content_html"] == long
    else:
        assert parsed(body).entries[0].content[0].value == long


@pytest.mark.parametrize("build", [build_rss, build_atom])
def test_a_feed_reader_gets_back_what_was_put_in(build: Any) -> None:
    feed = everything()
    result = parsed(build(feed))
    assert result.feed.title == feed.title
    assert result.feed.link == feed.home_url
    assert result.feed.subtitle == feed.description
    assert [entry.title for entry in result.entries] == [entry.title for entry in feed.entries]
    assert [entry.link for entry in result.entries] == [entry.link for entry in feed.entries]
    assert [entry.id for entry in result.entries] == [entry.atom_id for entry in feed.entries]
    assert [entry.content[0].value for entry in result.entries] == [
        entry.content_html for entry in feed.entries
    ]
    published = [
        datetime.fromtimestamp(calendar.timegm(entry.published_parsed), UTC) for entry in result.entries
    ]
    assert published == [entry.published_at for entry in feed.entries]
    tags = [[tag.term for tag in entry.get("tags", [])] for entry in result.entries]
    assert tags == [list(entry.tags) for entry in feed.entries]
    authors = [[author.name for author in entry.get("authors", []) if author] for entry in result.entries]
    assert authors == [[author.name for author in entry.authors] for entry in feed.entries]


# feedgen's faults


def test_an_atom_entry_has_one_alternate_link_and_its_enclosures_with_type_and_length() -> None:
    one = Enclosure(url="https://letters.example/1.mp3", type="audio/mpeg", length=10)
    two = Enclosure(url="https://letters.example/2.ogg", type="audio/ogg")
    links = [
        attributes(link) for link in atom(an_entry(enclosures=(one, two))).iterfind("a:entry/a:link", NAMES)
    ]
    assert links == [
        {"href": "https://letters.example/harbour/article-1", "rel": "alternate", "type": "text/html"},
        {"href": one.url, "rel": "enclosure", "type": "audio/mpeg", "length": "10"},
        {"href": two.url, "rel": "enclosure", "type": "audio/ogg"},
    ]


def test_the_link_of_an_rss_channel_is_the_home_page_and_not_the_feed_itself() -> None:
    assert texts(rss(an_entry()), "link") == ["https://letters.example/harbour"]


def test_an_rss_channel_names_its_own_address_with_its_type() -> None:
    (link,) = rss().iterfind("a:link", NAMES)
    assert attributes(link) == {
        "href": "https://letters.example/harbour/feed",
        "rel": "self",
        "type": "application/rss+xml",
    }


def test_an_atom_feed_links_to_its_page_and_to_itself() -> None:
    assert [(link.get("rel"), link.get("href")) for link in atom().iterfind("a:link", NAMES)] == [
        ("alternate", "https://letters.example/harbour"),
        ("self", "https://letters.example/harbour/feed"),
    ]


def test_every_date_comes_from_the_articles_and_none_from_the_clock() -> None:
    changed = an_entry(1, updated_at=MORNING + timedelta(days=30))
    assert texts(rss(an_entry(2), changed), "lastBuildDate") == ["Wed, 01 Apr 2026 06:30:00 +0000"]
    assert texts(atom(an_entry(2), changed), "a:updated") == ["2026-04-01T06:30:00+00:00"]
    assert texts(atom(an_entry(2), changed), "a:entry/a:updated")[1] == "2026-04-01T06:30:00+00:00"
    assert texts(rss(), "lastBuildDate") == ["Mon, 02 Mar 2026 06:30:00 +0000"]
    assert texts(atom(), "a:updated") == ["2026-03-02T06:30:00+00:00"]


def test_entries_keep_the_order_in_which_they_were_given() -> None:
    entries = an_entry(3), an_entry(1), an_entry(2)
    order = ["Article 3", "Article 1", "Article 2"]
    assert texts(rss(*entries), "item/title") == texts(atom(*entries), "a:entry/a:title") == order


def test_an_author_without_mail_address_is_named_in_rss_and_every_author_is() -> None:
    entry = an_entry(
        authors=(Author(name="The Harbour Desk"), Author(name="The Night Desk", email="n@letters.example"))
    )
    assert texts(rss(entry), "item/dc:creator") == ["The Harbour Desk", "The Night Desk"]
    assert texts(rss(entry), "item/author") == []


def test_an_atom_entry_without_author_relies_on_the_author_of_the_feed() -> None:
    root = atom(an_entry(authors=()), author_name="The Harbour Desk")
    assert texts(root, "a:entry/a:author/a:name") == []
    assert texts(root, "a:author/a:name") == ["The Harbour Desk"]


def test_atom_content_is_marked_as_html_and_its_summary_is_plain_text() -> None:
    root = atom(an_entry(summary="Ebb & <flow>"))
    (content,) = root.iterfind("a:entry/a:content", NAMES)
    (summary,) = root.iterfind("a:entry/a:summary", NAMES)
    assert content.get("type") == "html"
    assert (summary.get("type"), summary.text) == (None, "Ebb & <flow>")


def test_an_rss_description_is_the_summary_as_html_and_the_whole_article_stands_beside_it() -> None:
    channel = rss(an_entry(summary="Ebb & <flow>", content_html="<p>Whole</p>"))
    assert texts(channel, "item/description") == ["Ebb &amp; &lt;flow&gt;"]
    assert texts(channel, "item/content:encoded") == ["<p>Whole</p>"]


def test_an_article_without_summary_does_not_spill_its_html_into_the_description() -> None:
    channel = rss(an_entry(summary="", content_html="<p>Whole</p>"))
    assert texts(channel, "item/description") == ["Article 1"]
    assert texts(channel, "item/content:encoded") == ["<p>Whole</p>"]


@pytest.mark.parametrize("build", [build_rss, build_atom])
def test_a_control_character_or_a_missing_title_does_not_cost_the_feed(build: Any) -> None:
    body = build(a_feed(an_entry(1, title="\x00\x0b"), an_entry(2, content_html="<p>a\x1fb\ufffe</p>")))
    first, second = parsed(body).entries
    assert first.title == "https://letters.example/harbour/article-1"
    assert second.content[0].value == "<p>ab</p>"


def test_rss_has_the_first_enclosure_and_all_of_them_as_media() -> None:
    one = Enclosure(url="https://letters.example/1.mp3", type="audio/mpeg", length=10)
    two = Enclosure(url="https://letters.example/2.bin")
    channel = rss(an_entry(enclosures=(one, two)))
    (enclosure,) = channel.iterfind("item/enclosure")
    assert attributes(enclosure) == {"url": one.url, "length": "10", "type": "audio/mpeg"}
    assert [attributes(media) for media in channel.iterfind("item/media:content", NAMES)] == [
        {"url": one.url, "type": "audio/mpeg", "fileSize": "10"},
        {"url": two.url, "type": "application/octet-stream"},
    ]


def test_an_rss_enclosure_of_unknown_length_says_nought() -> None:
    (enclosure,) = rss(an_entry(enclosures=(Enclosure(url="https://letters.example/1.mp3"),))).iterfind(
        "item/enclosure"
    )
    assert enclosure.get("length") == "0"


@pytest.mark.parametrize("channel", [rss, atom])
def test_a_picture_is_media_content_and_thumbnail(channel: Any) -> None:
    url = "https://letters.example/horn.jpg"
    (content,) = channel(an_entry(image_url=url)).iterfind(".//media:content", NAMES)
    (thumbnail,) = channel(an_entry(image_url=url)).iterfind(".//media:thumbnail", NAMES)
    assert (attributes(content), attributes(thumbnail)) == ({"url": url, "medium": "image"}, {"url": url})


def test_a_guid_is_a_permalink_only_if_it_is_the_link() -> None:
    minted = an_entry(1)
    inherited = an_entry(2, atom_id="https://other.example/2", link="https://other.example/2")
    guids = [(g.text, g.get("isPermaLink")) for g in rss(minted, inherited).iterfind("item/guid")]
    assert guids == [
        ("tag:letters.example,2026-03-01:article/1", "false"),
        ("https://other.example/2", "true"),
    ]


SOURCE = EntrySource(
    atom_id="tag:other.example,2026:feed",
    title="The Other Shore",
    url="https://other.example/",
    feed_url="https://other.example/feed.xml",
    updated_at=MORNING,
)


def test_a_collected_article_says_in_atom_where_it_came_from_with_id_and_date() -> None:
    (source,) = atom(an_entry(source=SOURCE)).iterfind("a:entry/a:source", NAMES)
    assert texts(source, "a:id") == [SOURCE.atom_id]
    assert texts(source, "a:title") == ["The Other Shore"]
    assert texts(source, "a:updated") == ["2026-03-02T06:30:00+00:00"]
    assert [(link.get("rel"), link.get("href")) for link in source.iterfind("a:link", NAMES)] == [
        ("alternate", SOURCE.url),
        ("self", SOURCE.feed_url),
    ]


def test_a_collected_article_says_in_rss_where_it_came_from() -> None:
    (source,) = rss(an_entry(source=SOURCE)).iterfind("item/source")
    assert (source.get("url"), source.text) == (SOURCE.feed_url, "The Other Shore")


def test_rss_leaves_the_source_out_when_its_feed_has_no_address() -> None:
    nameless = dataclasses.replace(SOURCE, feed_url="")
    assert list(rss(an_entry(source=nameless)).iterfind("item/source")) == []


@pytest.mark.parametrize("build", [build_rss, build_atom])
def test_namespaces_are_the_same_whatever_the_entries_hold(build: Any) -> None:
    assert etree.fromstring(build(a_feed())).nsmap == etree.fromstring(build(everything())).nsmap
    assert b"ns0:" not in build(everything())


@pytest.mark.parametrize("build", [build_rss, build_atom])
def test_building_leaves_the_locale_of_the_process_alone(build: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[object] = []
    monkeypatch.setattr(locale, "setlocale", lambda *given: calls.append(given))
    build(everything())
    assert calls == []


def test_a_language_of_its_own_is_said_for_an_entry() -> None:
    entry = an_entry(language="ar")
    assert texts(rss(entry), "item/dc:language") == ["ar"]
    (element,) = atom(entry).iterfind("a:entry", NAMES)
    assert element.get("{http://www.w3.org/XML/1998/namespace}lang") == "ar"
    assert texts(rss(entry), "language") == ["en"]


# JSON Feed


def test_a_json_feed_has_what_version_1_1_requires_even_when_empty() -> None:
    assert json.loads(build_json(a_feed())) == {
        "version": "https://jsonfeed.org/version/1.1",
        "title": "Harbour Letters",
        "home_page_url": "https://letters.example/harbour",
        "feed_url": "https://letters.example/harbour/feed",
        "description": "What the tide brought in.",
        "authors": [{"name": "Harbour Letters"}],
        "language": "en",
        "items": [],
    }


def test_a_json_item_carries_authors_picture_and_attachments_and_leaves_out_what_is_unknown() -> None:
    entry = an_entry(
        authors=(
            Author(name="The Harbour Desk", url="https://letters.example/desk"),
            Author(name="The Night Desk"),
        ),
        image_url="https://letters.example/horn.jpg",
        enclosures=(
            Enclosure(url="https://letters.example/1.mp3", type="audio/mpeg", length=10),
            Enclosure(url="https://letters.example/2.bin"),
        ),
        source=SOURCE,
    )
    assert json.loads(build_json(a_feed(entry)))["items"] == [
        {
            "id": "tag:letters.example,2026-03-01:article/1",
            "url": "https://letters.example/harbour/article-1",
            "title": "Article 1",
            "content_html": "<p>The whole of article 1.</p>",
            "summary": "The gist of article 1.",
            "image": "https://letters.example/horn.jpg",
            "date_published": "2026-03-03T06:30:00+00:00",
            "date_modified": "2026-03-03T06:30:00+00:00",
            "authors": [
                {"name": "The Harbour Desk", "url": "https://letters.example/desk"},
                {"name": "The Night Desk"},
            ],
            "tags": ["Tides"],
            "attachments": [
                {"url": "https://letters.example/1.mp3", "mime_type": "audio/mpeg", "size_in_bytes": 10},
                {"url": "https://letters.example/2.bin", "mime_type": "application/octet-stream"},
            ],
            "_source": {
                "id": "tag:other.example,2026:feed",
                "title": "The Other Shore",
                "home_page_url": "https://other.example/",
                "feed_url": "https://other.example/feed.xml",
            },
        }
    ]
