from contextlib import suppress
from datetime import UTC, datetime

import pytest
from feedparser.mixin import _FeedParserMixin
from feedparser.sanitizer import _HTMLSanitizer
from hypothesis import HealthCheck, given, settings

from syndicate.collect.fast_feed import read_feed
from syndicate.collect.feed_elements import PLAIN_TAGS
from syndicate.collect.feed_names import PREFIX_OF, NotSure
from syndicate.collect.parse import differences, parse_document
from syndicate.collect.xml_guard import well_formed_tree
from syndicate.errors import ParseError
from tests.feed_documents import NAMESPACES, atom_documents, encoded, rss_documents

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
URL = "https://feeds.example/all.xml"
ATOM = 'xmlns="http://www.w3.org/2005/Atom"'


def rss(inside, version="2.0"):
    return f'<rss version="{version}" {NAMESPACES}><channel><title>T</title>{inside}</channel></rss>'


def atom(inside):
    return f"<feed {ATOM} {NAMESPACES}><title>T</title>{inside}</feed>"


def takes(document):
    """Whether the fast path is sure of a document."""
    data = document.encode()
    try:
        read_feed(well_formed_tree(data), data)
    except NotSure:
        return False
    return True


def compare(document, content_type=""):
    body = document if isinstance(document, bytes) else document.encode()
    return differences(body, url=URL, content_type=content_type, now=NOW)


@settings(max_examples=50, suppress_health_check=list(HealthCheck))
@given(encoded(rss_documents() | atom_documents()))
def test_both_ways_of_reading_a_feed_give_the_same_articles(document):
    with suppress(ParseError):  # some end up as no feed at all, in both ways
        assert compare(*document) == []


DIV = '<div xmlns="http://www.w3.org/1999/xhtml"><p>One<br/>two <a href="x">t</a></p></div>'
SURE = {
    "RSS 2.0": rss("<item><title>t</title><link>https://x.example/1</link><guid>1</guid></item>"),
    "RSS 0.92": rss("<item><title>t</title></item>", "0.92"),
    "a title with entities": rss("<item><title>Salt &amp;amp; slate &amp;#8217;s</title></item>"),
    "full text": rss(
        "<item><description>s</description><content:encoded>&lt;p&gt;c</content:encoded></item>"
    ),
    "two descriptions": rss(
        "<item><description>one</description><dc:description>two</dc:description></item>"
    ),
    "several authors": rss("<item><dc:creator>A</dc:creator><dc:creator>B</dc:creator></item>"),
    "an address of mail": rss("<item><author>a@b.example (A)</author></item>"),
    "dates in other forms": rss("<item><pubDate>8 Feb 2024</pubDate><dc:date>2024-02-08</dc:date></item>"),
    "a file": rss('<item><enclosure url="/a.mp3" length="9" type="audio/mpeg"/></item>'),
    "a podcast": rss(
        "<itunes:summary>s</itunes:summary><description>d</description><itunes:owner><itunes:name>n</itunes:name>"
        '</itunes:owner><itunes:category text="a"><itunes:category text="b"/></itunes:category>'
        '<item><itunes:image href="/i.png"/><itunes:keywords>a,b</itunes:keywords></item>'
    ),
    "a video": atom(
        "<entry><id>1</id><media:group><media:title>t</media:title><media:thumbnail url='/t.png'/>"
        "<media:content url='/v.mp4' type='video/mp4'/><media:description>d</media:description>"
        "<media:community><media:statistics views='1'/></media:community></media:group></entry>"
    ),
    "foreign elements": rss("<item><x:a b='c'>d</x:a><x:e><x:f/></x:e><title>t</title></item>"),
    "picture, hours, days": rss(
        "<image><url>/i.png</url><title>i</title><link>/</link></image><skipHours><hour>1</hour></skipHours>"
    ),
    "where it came from": rss('<item><source url="/s">S</source><title>t</title></item>'),
    "Atom": atom("<entry><title type='html'>&lt;b>t&lt;/b></title><link href='/1'/><id>1</id></entry>"),
    "XHTML": atom(f"<entry><title>t</title><content type='xhtml'>{DIV}</content></entry>"),
    "atom:source": atom("<entry><source><id>s</id><title>S</title></source><title>t</title></entry>"),
    "bases": atom(
        "<entry xml:base='https://b.example/d/'><link href='1'/><content type='html' xml:base='e/'>"
        "&lt;a href='2'>x&lt;/a></content></entry>"
    ),
    "languages": atom("<entry xml:lang='fr'><title>t</title><content xml:lang='de_CH'>x</content></entry>"),
    "people": atom("<entry><author><name>A</name><email>a@b.example</email><uri>/a</uri></author></entry>"),
    "labels": atom("<entry><category term='a' label='A'/><category scheme='s'>b</category></entry>"),
}


@pytest.mark.parametrize("name", SURE)
def test_what_feeds_are_usually_made_of_takes_the_fast_path_and_comes_out_the_same(name):
    assert takes(SURE[name])
    assert compare(SURE[name]) == []


NOT_SURE = {
    "a document type": "<!DOCTYPE rss>" + rss(""),
    "RDF": '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"/>',
    "another version": rss("", "3.0"),
    "base64": atom("<entry><content type='image/png'>AAAA</content></entry>"),
    "markup that is not escaped": rss("<item><description>a <b>c</b></description></item>"),
    "XHTML without its div": atom("<entry><content type='xhtml'>a</content></entry>"),
    "a relative base": rss("<item xml:base='x/'><title>t</title></item>"),
    "a known prefix of another namespace": rss('<item><dc:x xmlns:dc="https://x.example/"/></item>'),
    "two channels": '<rss version="2.0"><channel/><channel/></rss>',
    "an entry with an unknown child": rss("<item><title>t</title><whatever>x</whatever></item>"),
}


@pytest.mark.parametrize("name", NOT_SURE)
def test_what_it_does_not_know_exactly_is_left_to_feedparser(name):
    assert not takes(NOT_SURE[name])


def test_a_date_that_feedparser_knows_and_we_do_not_is_read_by_feedparser():
    document = rss("<item><title>t</title><pubDate>Thu Feb  8 10:00:00 2024</pubDate></item>").encode()
    (article,) = parse_document(document, url=URL, content_type="", now=NOW).articles
    assert article.published_at == datetime(2024, 2, 8, 10, tzinfo=UTC)


def test_the_one_wanted_difference_is_an_author_with_the_address_of_another():
    people = "<author><name>A</name><email>a@b.example</email></author><author><name>B</name></author>"
    document = atom(f"<entry><title>t</title>{people}</entry>")
    assert compare(document) == []
    (article,) = parse_document(document.encode(), url=URL, content_type="", now=NOW).articles
    assert [(a.name, a.email) for a in article.authors] == [("A", "a@b.example"), ("B", "")]


def test_a_difference_is_told_with_its_article_and_field(monkeypatch):
    document = rss("<item><title>one</title></item>")
    monkeypatch.setattr("syndicate.collect.feed_reader.mended", lambda text: text.upper())
    assert "article 1, title: 'ONE' / 'one'" in compare(document)


def test_namespaces_have_the_prefixes_that_feedparser_gives_them():
    assert {uri.lower(): prefix for uri, prefix in _FeedParserMixin.namespaces.items()} == PREFIX_OF


def test_every_element_that_marks_a_text_as_html_marks_it_for_feedparser_too():
    assert set(_HTMLSanitizer.acceptable_elements) >= PLAIN_TAGS
