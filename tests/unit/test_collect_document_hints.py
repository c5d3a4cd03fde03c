import json
from datetime import UTC, datetime

import pytest

from syndicate.collect.parse import parse_document

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
URL = "https://feeds.example/all.xml"
SPACES = 'xmlns:sy="http://purl.org/rss/1.0/modules/syndication/" xmlns:a="http://www.w3.org/2005/Atom"'


def parse(document):
    return parse_document(document.encode(), url=URL, content_type="", now=NOW)


def rss(inside):
    return parse(
        f'<rss version="2.0" {SPACES}><channel>{inside}<item><title>t</title></item></channel></rss>'
    )


@pytest.mark.parametrize(
    ("inside", "seconds"),
    [
        ("", None),
        ("<ttl>60</ttl>", 3_600),
        ("<ttl> 60 </ttl>", 3_600),
        ("<ttl>0</ttl>", None),
        ("<ttl>-5</ttl>", None),
        ("<ttl>soon</ttl>", None),
        ("<ttl>9999999999</ttl>", None),
        ("<sy:updatePeriod>hourly</sy:updatePeriod>", 3_600),
        ("<sy:updatePeriod>Daily</sy:updatePeriod><sy:updateFrequency>4</sy:updateFrequency>", 21_600),
        ("<sy:updateFrequency>2</sy:updateFrequency>", 43_200),
        ("<sy:updatePeriod>weekly</sy:updatePeriod><sy:updateFrequency>0</sy:updateFrequency>", 604_800),
        ("<sy:updatePeriod>whenever</sy:updatePeriod>", None),
        ("<ttl>10</ttl><sy:updatePeriod>hourly</sy:updatePeriod>", 3_600),
        ("<item><ttl>60</ttl></item>", None),
    ],
)
def test_how_long_a_document_asks_to_be_left_alone(inside, seconds):
    assert rss(inside).min_interval_s == seconds


@pytest.mark.parametrize(
    ("inside", "hours", "days"),
    [
        ("<skipHours><hour>0</hour><hour>23</hour></skipHours>", {0, 23}, set()),
        ("<skipHours><hour>24</hour><hour>25</hour><hour>x</hour></skipHours>", {0}, set()),
        ("<skipDays><day>Saturday</day><day>sunday</day><day>Funday</day></skipDays>", set(), {5, 6}),
        ("<skipHours>" + "".join(f"<hour>{n}</hour>" for n in range(24)) + "</skipHours>", set(), set()),
        ("<skipHours/><skipDays><!-- none --></skipDays>", set(), set()),
    ],
)
def test_when_a_document_asks_not_to_be_fetched(inside, hours, days):
    source = rss(inside)
    assert (source.skip_hours, source.skip_days) == (hours, days)


def test_hubs_and_the_own_address_are_found_in_rss_and_atom_even_where_feedparser_reads():
    links = '<{0}link rel="hub" href="/hub"/><{0}link rel="hub" href="/hub"/><{0}link rel="self" href="/me"/>'
    atom = f'<feed xmlns="http://www.w3.org/2005/Atom">{links.format("")}</feed>'
    for source in (
        rss(links.format("a:")),
        rss(links.format("a:") + "<unheard-of/>"),
        parse(atom),
        parse(f"<!DOCTYPE feed>{atom}"),
        parse(atom.removesuffix("</feed>")),
    ):
        assert source.hubs == ("https://feeds.example/hub",)
        assert source.self_url == "https://feeds.example/me"


@pytest.mark.parametrize(
    ("links", "page"),
    [
        ('<a:link rel="next" href="/2"/>', "https://feeds.example/2"),
        (
            '<a:link rel="next" href="/2"/><a:link rel="prev-archive" href="/old"/>',
            "https://feeds.example/old",
        ),
        (f'<a:link rel="next" href="{URL}"/>', ""),
        ('<a:link rel="self" href="/2"/><a:link rel="next" href="/2"/>', ""),
        ('<a:link rel="next"/>', ""),
        ('<a:link rel="next" href="javascript:alert(1)"/>', ""),
    ],
)
def test_where_older_articles_are(links, page):
    assert rss(links).next_page_url == page


def json_feed(**fields):
    return parse(json.dumps({"version": "https://jsonfeed.org/version/1.1", "items": [], **fields}))


def test_a_json_feed_says_these_things_in_its_own_words():
    hubs = [{"type": "WebSub", "url": "/hub"}, {"type": "rssCloud", "url": "/cloud"}, {"type": "WebSub"}]
    source = json_feed(expired=True, feed_url="/me", next_url="/2", hubs=hubs)
    assert source.is_expired
    assert source.hubs == ("https://feeds.example/hub",)
    assert source.self_url == "https://feeds.example/me"
    assert source.next_page_url == "https://feeds.example/2"


def test_a_json_feed_that_says_nothing_certain_says_nothing():
    assert not json_feed(expired="true").is_expired
    assert json_feed(next_url=URL).next_page_url == ""
    assert json_feed(feed_url="/me", next_url="/me").next_page_url == ""
    assert json_feed(hubs="x").hubs == ()
