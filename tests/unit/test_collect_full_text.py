import dataclasses
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from syndicate.collect.full_text import as_summary, extract_article, take_full_text
from syndicate.collect.pages import PageLink, page_guid
from syndicate.collect.sanitise import plain_text, sanitise
from syndicate.errors import ParseError
from syndicate.model import Author, DateQuality, ParsedArticle

PAGES = Path(__file__).parent.parent / "golden" / "pages"
NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
HARBOUR = "https://lantern.example/2026/11/harbour-tides"
ADDRESSES = {
    "tides": HARBOUR + "?utm_source=letter",
    "ofen": "https://niederau.example/blatt/ofen.html",
    "bustan": "https://nakhla.example/2026/11/roof",
}
PROSE = (
    "<p>The ferry leaves the quay at nine and is back before the bells have rung for supper.</p>"
    "<p>Nobody has ever seen its captain, although everybody can tell you what he looks like.</p>"
)


def take(body, *, url=HARBOUR, found_at="", content_type="text/html; charset=utf-8", **named):
    return extract_article(
        body if isinstance(body, bytes) else body.encode(),
        link=PageLink(url=url, **named),
        url=found_at or url,
        content_type=content_type,
        now=NOW,
    )


def page(inside, head="", attributes=""):
    body = f"<body><article>{inside}</article></body>"
    return f"<!DOCTYPE html><html {attributes}><head>{head}</head>{body}</html>"


def entry(**fields):
    given = {
        "guid": "42",
        "url": HARBOUR,
        "title": "Why the harbour empties",
        "content_html": "",
        "summary": "",
    }
    return ParsedArticle(**{**given, **fields})


def complete(article, body, *, content_type="text/html"):
    data = body if isinstance(body, bytes) else body.encode()
    return take_full_text(article, data, url=article.url, content_type=content_type, now=NOW)


@pytest.mark.parametrize("name", sorted(ADDRESSES))
def test_a_page_gives_exactly_the_article_on_record(name):
    found = take((PAGES / f"{name}.html").read_bytes(), url=ADDRESSES[name], content_type="text/html")
    golden = json.dumps(dataclasses.asdict(found), indent=1, ensure_ascii=False, default=str) + "\n"
    assert golden == (PAGES / f"{name}.html.article.json").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("name", "foreign"),
    [
        (
            "tides",
            ["cookies", "boots", "You may also like", "Brilliant piece", "Subscribe", "Imprint", "min read"],
        ),
        ("ofen", ["Startseite", "Reifen", "ohne Gewähr"]),
        ("bustan", ["الرئيسية", "مقالات ذات صلة", "شكرًا", "جميع الحقوق"]),
    ],
)
def test_nothing_around_an_article_gets_into_it(name, foreign):
    text = plain_text(take((PAGES / f"{name}.html").read_bytes(), url=ADDRESSES[name]).content_html)
    assert [words for words in foreign if words in text] == []


def test_the_structure_of_a_text_stays():
    inside = f"""<h1>Any</h1>{PROSE}<h2>Steps</h2><ol><li>One<ul><li>Nested</li></ul></li><li>Two</li></ol>
    <dl><dt>Ebb</dt><dd>Water that goes</dd></dl><pre>a
  b</pre><p>Run <code>x = 1</code>, H<sub>2</sub>O, <em>very</em> <strong>bold</strong>, <q>said she</q></p>
    <blockquote><p>Quoted words of the captain</p></blockquote>
    <table><caption>Times</caption><tr><th>Day</th></tr><tr><td><a href="/mon">Monday</a></td></tr></table>
    {PROSE}"""
    content = take(page(inside)).content_html
    for part in (
        "<h2>Steps</h2>",
        "<ol><li>One<ul><li>Nested</li></ul></li><li>Two</li></ol>",
        "<dl><dt>Ebb</dt><dd>Water that goes</dd></dl>",
        "<pre><code>a\n  b</code></pre>",
        "Run <code>x = 1</code>, H<sub>2</sub>O, <em>very</em> <strong>bold</strong>, <q>said she</q>",
        "<blockquote><p>Quoted words of the captain</p></blockquote>",
        "<p>Times</p><table>",
        '<td><a href="https://lantern.example/mon" rel="noopener noreferrer">Monday</a></td>',
    ):
        assert part in content


def test_a_link_is_relative_to_the_page_and_not_to_its_host():
    article = take(
        page(f'<h1>Any</h1>{PROSE}<p>More <a href="quay.html">about the quay</a> here.</p>{PROSE}')
    )
    assert 'href="https://lantern.example/2026/11/quay.html"' in article.content_html


@pytest.mark.parametrize(
    ("markup", "source"),
    [
        ('<img src="/a.jpg" alt="A">', "/a.jpg"),
        ('<img src="data:image/gif;base64,R0" data-src="/late.jpg">', "/late.jpg"),
        ('<img src="/grey.gif" data-lazy-src="/late.jpg">', "/late.jpg"),
        ('<img srcset="/s.jpg 400w, /m.jpg 1200w, /xl.jpg 4000w">', "/m.jpg"),
        ('<picture><source srcset="/a.webp 800w, /b.webp 1600w"><img alt="A"></picture>', "/b.webp"),
        (
            '<a href="/big.jpg"><picture><source srcset="/a.webp"><img srcset="/c.jpg 2x"></picture></a>',
            "/c.jpg",
        ),
    ],
)
def test_a_picture_is_found_where_it_really_is(markup, source):
    content = take(
        page(f"<h1>Any</h1>{PROSE}<figure>{markup}<figcaption>At noon</figcaption></figure>{PROSE}")
    )
    assert f'src="https://lantern.example{source}"' in content.content_html
    assert "<p>At noon</p>" in content.content_html


@pytest.mark.parametrize(
    "frame", ["<p>Look: {} there</p>", "<figure>{}</figure>", "<div class='embed'>{}</div>"]
)
def test_a_film_stays_as_a_link_and_another_frame_goes(frame):
    players = '<iframe src="https://www.youtube.com/embed/abc123"></iframe><iframe src="https://ads.example/"></iframe>'
    content = take(page(f"<h1>Any</h1>{PROSE}{frame.format(players)}{PROSE}")).content_html
    assert '<a href="https://www.youtube.com/watch?v=abc123"' in content
    assert "ads.example" not in content


def test_a_page_without_any_container_keeps_its_headings_and_lists():
    inside = f"<h1>The ferry</h1>{PROSE}<h2>Captain</h2><ul><li>One</li><li>Two</li></ul>{PROSE}"
    content = take(f"<html><body>{inside}</body></html>").content_html
    assert "<h2>Captain</h2><ul><li>One</li><li>Two</li></ul>" in content


def test_the_address_under_which_a_page_is_named_is_its_identity():
    other = '<link rel="canonical" href="https://lantern.example/the-real-one">'
    article = take(page(PROSE, other), url="http://www.lantern.example/a?utm_medium=x#top")
    assert article.guid == page_guid("http://www.lantern.example/a") == "https://www.lantern.example/a"
    assert article.url == "https://lantern.example/the-real-one"


@pytest.mark.parametrize("link", ["https://lantern.example/", "https://thief.example/a", "javascript:1", "/"])
def test_a_page_that_calls_itself_the_front_page_or_another_site_is_not_believed(link):
    assert take(page(PROSE, f'<link rel="canonical" href="{link}">'), url=HARBOUR + "#x").url == HARBOUR


def test_what_a_list_or_a_sitemap_says_stands_in_for_what_the_page_does_not():
    at = datetime(2026, 11, 1, 8, tzinfo=UTC)
    article = take(page(PROSE), title="From the map", language="en", published_at=at, last_modified_at=NOW)
    assert (article.title, article.language, article.published_at) == ("From the map", "en", at)
    assert article.updated_at is None
    changed = take(page(PROSE), url="https://lantern.example/a", last_modified_at=at)
    assert (changed.published_at, changed.published_quality) == (at, DateQuality.UPDATED)


def test_a_page_says_better_than_a_list_what_it_is():
    head = """<title>Old title - Site</title><meta property="og:site_name" content="Site">
    <meta property="og:title" content="Ferry – Site"><meta property="og:image" content="/f.jpg">
    <meta property="article:published_time" content="2026-11-05T10:00:00+02:00">"""
    article = take(page(PROSE, head, 'lang="en-IE"'), title="Map", language="de", published_at=NOW)
    assert (article.title, article.language) == ("Ferry", "en-IE")
    assert article.published_at == datetime(2026, 11, 5, 8, tzinfo=UTC)
    assert article.image_url == "https://lantern.example/f.jpg"


@pytest.mark.parametrize("date", ["3026-01-01T00:00:00Z", "1970-01-01T00:00:00Z", "0000-00-00", "soon"])
def test_a_date_that_cannot_be_right_is_none(date):
    head = f'<meta property="article:published_time" content="{date}">'
    assert take(page(PROSE, head), url="https://lantern.example/a").published_at is None


@pytest.mark.parametrize(
    ("inside", "url", "expected", "quality"),
    [
        ("<time datetime='2026-11-06T09:30:00+01:00'>6 Nov</time>", HARBOUR, "2026-11-06T08:30", "given"),
        ("<time datetime='2026-11-06'>6 Nov</time>", HARBOUR, "2026-11-06T00:00", "day"),
        ("", "https://lantern.example/2026/11/05/ferry", "2026-11-05T00:00", "day"),
        ("<p class='date'>5 November 2026</p>", HARBOUR, "2026-11-05T00:00", "day"),
    ],
)
def test_a_date_is_found_on_a_page_whose_head_gives_none(inside, url, expected, quality):
    article = take(page(f"<h1>Ferry</h1>{inside}{PROSE}"), url=url)
    assert article.published_at is not None
    assert article.published_at.isoformat().startswith(expected)
    assert article.published_quality == quality


def test_a_day_of_which_the_story_tells_is_not_its_date():
    told = "<p>On 2014-03-05 the ferry burnt down to the water, and it was built anew.</p>"
    assert take(page(PROSE + told)).published_at is None
    assert take(page(f"<p>2026-11-05</p>{PROSE}")).published_at == datetime(2026, 11, 5, tzinfo=UTC)


def test_the_year_of_a_copyright_is_no_date():
    body = page(PROSE).replace("</body>", "<footer>© 2019-2026 The Lantern</footer></body>")
    assert take(body).published_at is None


@pytest.mark.parametrize(
    "described",
    [
        '{"@type": "BlogPosting", "headline": "H", "author": {"name": "Ada Marsh"}}',
        '[{"@type": "Thing"}, {"@type": ["A", "NewsArticle"], "headline": "H", "author": ["Ada Marsh"]}]',
        '{"@graph": [{"mainEntity": {"@type": "Article", "headline": "H", "author": "Ada Marsh"}}]}',
    ],
)
def test_json_ld_tells_title_and_author_in_each_of_its_forms(described):
    article = take(page(PROSE, f'<script type="application/ld+json">{described}</script>'))
    assert (article.title, article.authors) == ("H", (Author(name="Ada Marsh"),))


@pytest.mark.parametrize(
    "described", ["{", "[" * 50_000, '{"@type": 5, "headline": []}', '"Article"', "null"]
)
def test_broken_json_ld_costs_no_article(described):
    article = take(page(PROSE, f'<title>T</title><script type="application/ld+json">{described}</script>'))
    assert "captain" in article.content_html


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"", "empty"),
        (b"%PDF-1.7 \xe2\xe3\xcf", "not_html"),
        (b"\x89PNG\r\n\x1a\n\x00\x00", "not_html"),
        (b'{"error": "no such page"}', "not_html"),
        (b"<html><body><div id=root></div><script>start()</script></body></html>", "no_article"),
        (b"<html><body><p>Please enable JavaScript to read this page.</p></body></html>", "no_article"),
        (b"<html><body><nav><a href=/a>News</a> <a href=/b>Sea</a></nav></body></html>", "no_article"),
    ],
)
def test_what_holds_no_article_is_refused_with_a_reason(body, expected):
    with pytest.raises(ParseError) as caught:
        take(body)
    assert caught.value.reason == expected
    assert str(caught.value).startswith(HARBOUR)
    assert "\n" not in str(caught.value)


def test_a_page_that_leads_to_the_front_page_is_gone_and_no_article():
    with pytest.raises(ParseError, match="leads to the front page of its site"):
        take((PAGES / "front.html").read_bytes(), found_at="https://lantern.example/")


def test_the_full_text_comes_into_an_entry_that_keeps_what_its_source_says():
    at = datetime(2026, 11, 20, tzinfo=UTC)
    given = entry(content_html="<p>The harbour at Westhaven falls dry.</p>", summary="Dry.", published_at=at)
    article = complete(given, (PAGES / "tides.html").read_bytes())
    assert "The rule of twelfths" in article.content_html
    assert (article.guid, article.title, article.summary, article.published_at) == (
        "42",
        "Why the harbour empties",
        "Dry.",
        at,
    )
    assert article.authors == (Author(name="Mara Quill"), Author(name="Tom Reed"))
    assert (article.language, article.image_url) == (
        "en-GB",
        "https://lantern.example/media/harbour-wide.jpg",
    )
    assert article.note == ""


def test_what_the_source_says_about_an_entry_is_not_replaced():
    given = entry(authors=(Author(name="Desk"),), language="fr", image_url="https://i.example/x.png")
    article = complete(given, (PAGES / "tides.html").read_bytes())
    assert (article.authors, article.language, article.image_url) == (
        given.authors,
        given.language,
        given.image_url,
    )


@pytest.mark.parametrize(
    ("given", "body", "note"),
    [
        (f"<p>Harbour {'and more harbour ' * 200}</p>", (PAGES / "tides.html").read_bytes(), "no more text"),
        ("<p>Short</p>", page("<p>Please log in to read on.</p>"), "no more text"),
        ("<p>About the council's budget for roads, bridges, lamps.</p>", page(PROSE * 3), "something else"),
        ("<p>Short</p>", b"%PDF-1.7", "its page is no web page"),
        ("<p>Short</p>", b"", "its page is empty"),
    ],
)
def test_a_page_that_gives_less_leaves_the_text_of_the_source_and_says_so(given, body, note):
    article = complete(entry(title="Council budget", content_html=given), body)
    assert article.content_html == given
    assert note in article.note


def test_an_entry_in_a_script_without_spaces_gets_its_text():
    text = (
        "夜のフェリーは九時に岸壁を離れ、礼拝堂の鐘が鳴る前に戻ってくる。船長の姿を見た者は誰もいない。" * 8
    )
    article = complete(
        entry(title="最後の客", content_html="<p>短い紹介文がここにあります。</p>"),
        page(f"<p>{text}</p>" * 2),
    )
    assert "船長" in article.content_html


def test_a_summary_is_the_first_words_as_text():
    article = as_summary(entry(content_html="<p>One &amp; <b>two</b></p>" * 100))
    assert article.content_html.startswith("<p>One &amp; two One &amp; two")
    assert article.content_html.endswith("…</p>")
    assert article.summary == plain_text(article.content_html)
    assert as_summary(article) == article
    assert as_summary(entry()).content_html == ""


ATTACKS = [
    '<img src="x" onerror="alert(1)">',
    "<script>alert(1)</script>",
    '<a href="javascript:alert(1)">x</a>',
    "<svg onload=alert(1)>",
    '<iframe src="https://evil.example/"></iframe>',
    '<p style="position:fixed">p</p>',
    '<form action="/steal"><input name=q></form>',
    "<div>" * 600,
    "<table>" * 40,
    "<ul><li>" * 300,
    "\x00\x0b\ud800",
    '<img srcset="' + "a " * 2_000 + '">',
    "<!--",
    "<p>" + "word " * 50,
]


@settings(max_examples=25, deadline=None)
@given(st.lists(st.sampled_from(ATTACKS), min_size=1, max_size=4))
def test_whatever_a_page_holds_its_text_is_clean_and_no_error_escapes(parts):
    body = page(PROSE + "".join(parts) + PROSE).encode("utf-8", "replace")
    content = complete(entry(title="The ferry"), body).content_html
    assert sanitise(content, base_url=HARBOUR) == content
    assert not [word for word in ("alert(", "onerror", "evil.example", "<form") if word in content]


def test_no_page_makes_a_library_fetch(monkeypatch):
    def refuse(*_args, **_options):
        raise AssertionError("something was dialled")

    monkeypatch.setattr("socket.socket.connect", refuse)
    monkeypatch.setattr("socket.getaddrinfo", refuse)
    head = '<link rel="canonical" href="https://lantern.example/a"><meta property="og:url" content="http://x.example/">'
    assert "captain" in take(page(PROSE, head)).content_html
    assert take(page(PROSE), published_at=NOW - timedelta(days=1)).published_at is not None
