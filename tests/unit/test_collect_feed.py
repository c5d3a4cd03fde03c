import dataclasses
import json
import re
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from syndicate.collect.parse import parse_document
from syndicate.errors import ParseError
from syndicate.model import DateQuality
from tests.malformed_feeds import BOMBS

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
GOLDEN = Path(__file__).parent.parent / "golden" / "collect"
URL = "https://feeds.example/all.xml"


def parse(document, *, content_type="", url=URL):
    body = document if isinstance(document, bytes) else document.encode()
    return parse_document(body, url=url, content_type=content_type, now=NOW)


def rss(inside, head=""):
    return f'{head}<rss version="2.0"><channel><title>T</title>{inside}</channel></rss>'


def as_golden(source):
    def plain(value):
        return sorted(value) if isinstance(value, frozenset) else str(value)

    return json.dumps(dataclasses.asdict(source), indent=1, ensure_ascii=False, default=plain) + "\n"


@pytest.mark.parametrize("name", ["rss.xml", "atom.xml", "rdf.xml", "jsonfeed.json"])
def test_a_document_gives_exactly_the_articles_on_record(name):
    found = as_golden(parse((GOLDEN / name).read_bytes()))
    assert found == (GOLDEN / f"{name}.articles.json").read_text(encoding="utf-8")


def test_where_a_feed_lives_changes_no_guid():
    document = (GOLDEN / "rss.xml").read_bytes()
    here, there = (parse(document, url=url).articles for url in (URL, "https://elsewhere.example/x/y"))
    assert [a.guid for a in here] == [a.guid for a in there]


def test_an_exact_repetition_counts_once_and_keeps_its_guid():
    item = "<item><guid>a</guid><title>A</title></item>"
    assert [a.guid for a in parse(rss(item * 3)).articles] == ["a"]


def test_one_guid_for_all_loses_no_article():
    items = "".join(f"<item><guid>a</guid><title>{n}</title></item>" for n in range(5))
    guids = [a.guid for a in parse(rss(items)).articles]
    assert len(set(guids)) == 5
    assert all(guid.startswith("a|") for guid in guids)


def test_guids_do_not_depend_on_the_order_of_a_document():
    items = [f"<item><guid>a</guid><title>{n}</title></item>" for n in range(4)]
    forwards, backwards = (parse(rss("".join(order))).articles for order in (items, items[::-1]))
    assert {a.guid for a in forwards} == {a.guid for a in backwards}


def test_an_endless_guid_stands_as_its_hash():
    (article,) = parse(rss(f"<item><guid>{'x' * 5000}</guid><title>t</title></item>")).articles
    assert len(article.guid) < 100


@pytest.mark.parametrize(
    ("document", "content_type"),
    [
        (rss("<item><title>café</title></item>").encode(), "text/xml; charset=iso-8859-1"),
        (rss("<item><title>café</title></item>").encode("cp1252"), "text/xml; charset=utf-8"),
        (rss("<item><title>café</title></item>", '<?xml version="1.0" encoding="utf-16"?>').encode(), ""),
        (
            rss("<item><title>café</title></item>", '<?xml version="1.0" encoding="utf-16"?>').encode(
                "utf-16"
            ),
            "",
        ),
        (b"\xef\xbb\xbf \n" + rss("<item><title>café</title></item>").encode(), "text/html"),
        (rss("<item><title>caf&eacute;</title></item>").encode(), ""),
        (
            rss(
                "<item><title>caf&eacute;</title></item>", '<!DOCTYPE rss [<!ENTITY eacute "&#233;">]>'
            ).encode(),
            "application/octet-stream",
        ),
        (b"<br /><b>Warning</b>: x in <b>y.php</b>" + rss("<item><title>café</title></item>").encode(), ""),
        (rss("<item><title>ca\x08fé</title></item>").encode(), ""),
        ((rss("<item><title>café</title></item>") + "<script>counter()</script>").encode(), ""),
    ],
)
def test_wrong_labels_and_common_faults_do_no_harm(document, content_type):
    assert [a.title for a in parse(document, content_type=content_type).articles] == ["café"]


def test_a_document_that_breaks_off_gives_what_is_whole_and_says_so():
    whole = rss("<item><guid>1</guid><title>a</title></item><item><guid>2</guid><title>brok")[
        : -len("</channel></rss>")
    ]
    source = parse(whole)
    assert [a.title for a in source.articles] == ["a"]
    assert "broke off" in source.note
    between = rss("<item><guid>1</guid><title>a</title></item>")[: -len("</channel></rss>")]
    assert [a.title for a in parse(between).articles] == ["a"]


@pytest.mark.parametrize(
    "date", ["0000-00-00", "2024-02-30", "1707382800", "Thu, 01 Jan 1970 00:00:00 GMT", "2031-01-01", "soon"]
)
def test_a_date_that_cannot_be_right_counts_as_none(date):
    (article,) = parse(rss(f"<item><guid>a</guid><title>t</title><pubDate>{date}</pubDate></item>")).articles
    assert (article.published_at, article.published_quality) == (None, DateQuality.FIRST_SEEN)


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        ("", "empty"),
        (" \n ", "empty"),
        (
            "<!DOCTYPE html><html><head><title>Not found</title></head><body><p>404</body></html>",
            "not_a_feed",
        ),
        ("hello", "not_a_feed"),
        ("/etc/passwd", "not_a_feed"),
        ("<opml version='2.0'><body/></opml>", "not_a_feed"),
        ('{"version": "https://example.org/", "items": []}', "not_a_feed"),
        ('{"title": "x"', "not_a_feed"),
        ("{}", "not_a_feed"),
        (b"\x00\xff" * 50, "not_a_feed"),
        (b"\x1f\x8b\x08\x00" + b"\x00" * 50, "not_a_feed"),
    ],
)
def test_what_is_no_feed_is_refused_in_one_line_that_names_it(document, reason):
    with pytest.raises(ParseError) as caught:
        parse(document)
    assert caught.value.reason == reason
    assert str(caught.value).startswith(URL)
    assert "\n" not in str(caught.value)


def test_a_feed_without_entries_is_a_feed():
    assert parse(rss("")).articles == ()


@pytest.mark.parametrize("name", BOMBS)
def test_a_document_made_to_harm_the_parser_is_refused(name):
    with pytest.raises(ParseError) as caught:
        parse(BOMBS[name])
    assert caught.value.reason == "xml_limit"


@pytest.mark.parametrize(
    "head",
    [
        '<!DOCTYPE rss [<!ENTITY a SYSTEM "{}">]>',
        '<!DOCTYPE rss [<!ENTITY % p SYSTEM "{}"> %p;]>',
        '<!DOCTYPE rss SYSTEM "{}">',
        '<!DOCTYPE rss PUBLIC "-//x//y" "{}" [<!ENTITY a PUBLIC "q" "{}">]>',
    ],
)
@pytest.mark.parametrize("broken", ["", "<b>"])
def test_no_file_is_ever_read_for_a_document(head, broken, tmp_path):
    secret = tmp_path / "secret.txt"
    secret.write_text("the-canary-sings")
    for place in (str(secret), secret.as_uri()):
        document = rss(f"<item><guid>1</guid><title>t &a;</title>{broken}</item>", head.replace("{}", place))
        try:
            found = repr(parse(document))
        except ParseError as error:
            found = str(error)
        assert "the-canary-sings" not in found


def test_a_body_that_is_the_name_of_a_file_does_not_open_it():
    with pytest.raises(ParseError):
        parse(str(GOLDEN / "rss.xml"))


def test_millions_of_items_are_not_all_taken():
    items = ",".join(f'{{"id":{n}}}' for n in range(6_000))
    assert len(parse(f'{{"version":"https://jsonfeed.org/version/1","items":[{items}]}}').articles) == 5_000


FRAGMENTS = st.sampled_from(
    re.findall(
        r"<[^>]*>|\S+",
        """<item> </item> <title> </title> <guid> </guid> <link>
        /x <![CDATA[ ]]> &amp;lt;b> <pubDate>
        2024-02-08 <entry> <content type='xhtml'> <enclosure url='http://['/> <category/> <author>
        a@b.c( é \x00 <!DOCTYPE <?x &#xD800; <media:content/>""",
    )
)
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["id", "url", "title", "content_html", "authors", "tags", "attachments", "size_in_bytes"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=10,
)


@settings(max_examples=60)
@given(st.lists(FRAGMENTS, max_size=15).map("".join))
def test_no_document_makes_it_fail_in_another_way(inside):
    try:
        source = parse(rss(inside).encode("utf-8", "replace"))
    except ParseError:
        return
    assert all(a.title and a.guid for a in source.articles)
    assert len({a.guid for a in source.articles}) == len(source.articles)


@settings(max_examples=60)
@given(st.lists(JSON_VALUES, max_size=4))
def test_no_json_makes_it_fail_in_another_way(items):
    source = parse(json.dumps({"version": "https://jsonfeed.org/version/1.1", "items": items}))
    assert all(a.title and a.guid for a in source.articles)
