import gzip
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syndicate.collect.pages import PageLink, choose_pages, page_guid
from syndicate.collect.parse_sitemap import MAX_ENTRIES, parse_sitemap
from syndicate.errors import ParseError

URL = "https://lantern.example/maps/sitemap.xml"
HEAD = '<?xml version="1.0" encoding="UTF-8"?><!-- made at night -->'
NEWS = """<urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9"
 xmlns:news="http://www.google.com/schemas/sitemap-news/0.9"
 xmlns:image="http://www.google.com/schemas/sitemap-image/1.1">
 <url><loc> https://lantern.example/a </loc>
  <image:image><image:loc>https://lantern.example/a.png</image:loc>
   <image:title>A picture</image:title></image:image>
  <news:news>
   <news:publication><news:name>The Lantern</news:name><news:language>en</news:language></news:publication>
   <news:publication_date>2026-11-02T10:00:00+01:00</news:publication_date>
   <news:title>Salt &amp; light</news:title></news:news>
  <lastmod>2026-11-03</lastmod></url>
</urlset>"""


def read(document, **options):
    body = document if isinstance(document, bytes) else document.encode()
    return parse_sitemap(body, url=URL, **options)


def reason(document, **options):
    with pytest.raises(ParseError) as caught:
        read(document, **options)
    assert str(caught.value).startswith(f"{URL}: ")
    assert "\n" not in str(caught.value)
    return caught.value.reason


def locs(*urls):
    return "<urlset>" + "".join(f"<url><loc>{url}</loc></url>" for url in urls) + "</urlset>"


def test_a_page_of_a_news_sitemap_comes_with_title_language_and_dates():
    assert read(HEAD + NEWS).pages == (
        PageLink(
            url="https://lantern.example/a",
            title="Salt & light",
            language="en",
            published_at=datetime(2026, 11, 2, 9, tzinfo=UTC),
            last_modified_at=datetime(2026, 11, 3, tzinfo=UTC),
        ),
    )


def test_a_picture_gives_a_page_neither_its_title_nor_its_address():
    without_news = NEWS[: NEWS.index("<news:news>")] + NEWS[NEWS.index("</news:news>") + 12 :]
    (page,) = read(without_news).pages
    assert (page.url, page.title) == ("https://lantern.example/a", "")


@pytest.mark.parametrize("prefix", ["", "s:"])
def test_a_sitemap_is_read_with_any_namespace_or_none(prefix):
    p = prefix
    document = f"<{p}urlset xmlns:s='x'><{p}url><{p}loc>/a</{p}loc></{p}url></{p}urlset>"
    assert [page.url for page in read(document).pages] == ["https://lantern.example/a"]


def test_an_index_gives_its_sitemaps_newest_first():
    document = """<sitemapindex><sitemap><loc>old.xml</loc><lastmod>2020-01-01</lastmod></sitemap>
    <sitemap><loc>undated.xml</loc></sitemap>
    <sitemap><loc>/new.xml.gz</loc><lastmod>2026-01-01T00:00:00Z</lastmod></sitemap></sitemapindex>"""
    found = read(document)
    assert found.children == tuple(
        f"https://lantern.example/{name}" for name in ("new.xml.gz", "maps/old.xml", "maps/undated.xml")
    )
    assert found.pages == ()


def test_each_page_counts_once_and_in_the_order_of_the_document():
    assert [p.url[-2:] for p in read(locs("/b", "/a", "/b")).pages] == ["/b", "/a"]


def test_an_address_with_bare_ampersands_stays_as_it_is():
    pages = read(locs("/s?a=1&b=2&amp;c=3&copy=4")).pages
    assert pages[0].url == "https://lantern.example/s?a=1&b=2&c=3&copy=4"


@pytest.mark.parametrize("place", ["", "mailto:desk@lantern.example", "http://", "javascript:alert(1)"])
def test_what_is_no_address_of_a_page_is_passed_over(place):
    assert read(locs(place, "/a")).pages == (PageLink(url="https://lantern.example/a"),)


def test_a_character_that_xml_forbids_costs_no_page():
    assert len(read(locs("/a", "/b\x0b", "/c")).pages) == 3


@pytest.mark.parametrize("document", ["<urlset/>", "<urlset></urlset>", "<sitemapindex/>"])
def test_an_empty_sitemap_is_one(document):
    assert (read(document).pages, read(document).children) == ((), ())


def test_a_packed_sitemap_is_unpacked_also_in_several_members():
    document = locs("/a", "/b").encode()
    packed = gzip.compress(document[:30]) + gzip.compress(document[30:])
    assert read(packed) == read(document)


def test_a_bomb_is_refused_before_it_is_unpacked():
    bomb = gzip.compress(b"<urlset>" + b" " * 5_000_000)
    assert reason(bomb, max_bytes=1_000_000) == "too_large"


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ("", "empty"),
        ("  \n", "empty"),
        ("<!DOCTYPE html><html><body><p>&lt;urlset></p></body></html>", "not_a_sitemap"),
        (
            "<rss><channel><description><![CDATA[<urlset></urlset>]]></description></channel></rss>",
            "not_a_sitemap",
        ),
        (b"%PDF-1.7", "not_a_sitemap"),
        (locs("/a", "/b")[:-12], "broke_off"),
        (gzip.compress(locs("/a").encode() * 50, mtime=0)[:-20], "broke_off"),
        (b"\x1f\x8bno gzip at all", "bad_encoding"),
        ("<urlset>" + "<a>" * 100_000 + "</urlset>", "xml_limit"),
        (locs("/" + "x" * 10_500_000), "xml_limit"),
    ],
)
def test_what_is_no_sitemap_is_refused_with_a_reason(document, expected):
    assert reason(document) == expected


def test_entities_mean_nothing_so_no_bomb_grows_and_no_file_is_read():
    head = '<!DOCTYPE urlset [<!ENTITY a "&b;&b;"><!ENTITY b SYSTEM "file:///etc/hostname">]>'
    assert [p.url for p in read(head + locs("/x?y=&a;&z")).pages] == ["https://lantern.example/x?y=&a;&z"]


def test_what_is_beyond_the_limit_of_the_protocol_is_left_out_and_said(monkeypatch):
    assert MAX_ENTRIES == 50_000
    monkeypatch.setattr("syndicate.collect.parse_sitemap.MAX_ENTRIES", 5)
    assert read(locs(*"abcde")).note == ""
    found = read(locs(*"abcdef"))
    assert len(found.pages) == 5
    assert found.note == "names more than 5 addresses; only the first ones are read"


def test_unknown_pages_are_chosen_newest_first_and_those_without_a_date_last():
    def link(name, day=None, news_day=None):
        return PageLink(
            url=f"https://lantern.example/{name}",
            last_modified_at=datetime(2026, 11, day, tzinfo=UTC) if day else None,
            published_at=datetime(2026, 11, news_day, tzinfo=UTC) if news_day else None,
        )

    links = [
        link("u1"),
        link("old", 1),
        link("known", 30),
        link("new", 20),
        link("news", None, 10),
        link("u2"),
    ]
    chosen = choose_pages(links, {page_guid("http://LANTERN.example/known?utm_source=x")}, limit=4)
    assert [c.url.rpartition("/")[2] for c in chosen] == ["new", "news", "old", "u1"]


def test_an_address_longer_than_any_guid_is_known_again():
    link = PageLink(url="https://lantern.example/" + "x" * 3_000)
    assert choose_pages([link], {page_guid(link.url)}) == ()


@given(st.lists(st.integers(0, 60)), st.sets(st.integers(0, 60)), st.integers(1, 25))
def test_round_after_round_every_page_is_chosen_once(numbers, seen, limit):
    links = [PageLink(url=f"https://lantern.example/{n}") for n in numbers]
    known = {page_guid(f"https://lantern.example/{n}") for n in seen}
    wanted = {page_guid(link.url) for link in links} - known
    got = []
    while chosen := choose_pages(links, known, limit=limit):
        assert len(chosen) <= limit
        got += [page_guid(link.url) for link in chosen]
        known |= set(got)
    assert sorted(got) == sorted(wanted)
