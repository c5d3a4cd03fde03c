import asyncio
import gzip
from ipaddress import ip_network

import pytest

from syndicate.collect.discover import discover
from syndicate.collect.fetch import open_session
from syndicate.errors import CollectError, FetchError
from syndicate.model import SourceKind
from tests.collect_http_server import answer, http_server

LOOPBACK = [ip_network("127.0.0.0/8")]
RSS = '<rss version="2.0"><channel><title>The Feed</title><link>/</link></channel></rss>'
PAGE = "<!DOCTYPE html><html><head><title>Site</title>{}</head><body>Hello</body></html>"
JSON_FEED = '{"version": "https://jsonfeed.org/version/1.1", "title": "J", "items": []}'
RDF = """<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#" xmlns="http://purl.org/rss/1.0/">
<channel><title>R</title></channel></rdf:RDF>"""
SITEMAP = '<?xml version="1.0"?><urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">{}</urlset>'
INDEX = '<sitemapindex xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">{}</sitemapindex>'
FRONT = """<!DOCTYPE html><html><head><title>The Lantern</title></head><body><nav><a href="/x">X</a></nav>
<h2><a href="/2026/11/harbour-tides">Why the harbour empties twice a day</a></h2>
<h2><a href="/2026/11/night-ferry">The night ferry and its one passenger</a></h2>
<h2><a href="/2026/11/seaweed-soup">Seaweed soup</a></h2></body></html>"""


def look(answers, path="/", **options):
    async def run():
        async with http_server(answers) as server, open_session(user_agent="T", allow=LOOPBACK) as session:
            try:
                return await discover(server.url + path, session=session, **options), server
            except CollectError as error:
                return error, server

    return asyncio.run(run())


def look_at(location, **options):
    async def run():
        async with open_session(user_agent="T", allow=[]) as session:
            return await discover(location, session=session, **options)

    return asyncio.run(run())


def test_the_address_of_a_feed_is_a_feed_whatever_its_type_says():
    found, server = look({"/": answer(RSS, Content_Type="text/html")})
    assert (found.kind, found.location, found.title) == (SourceKind.FEED, f"{server.url}/", "The Feed")


def test_a_feed_that_moved_is_found_where_it_is_now():
    found, server = look({"/": answer(status=301, Location="/feed.xml"), "/feed.xml": answer(RSS)})
    assert found.location == f"{server.url}/feed.xml"


def test_a_feed_without_a_title_has_the_name_of_its_host():
    found, server = look({"/": answer(RSS.replace("The Feed", ""))})
    assert found.title == server.url.removeprefix("http://")


def test_a_page_leads_to_the_first_of_its_feeds_that_can_be_read():
    links = """<base href="/blog/"><link rel="stylesheet" href="x.css">
    <link rel="alternate" hreflang="de" href="/de">
    <link rel=alternate type="application/rss+xml" href="gone.xml">
    <link rel="ALTERNATE home" type="Application/Atom+XML; charset=utf-8" href="page.html">
    <link rel="alternate" type="application/feed+json" href="feed.json">
    <link rel="alternate" type="application/rss+xml" href="other.xml">"""
    feed = '{"version": "https://jsonfeed.org/version/1.1", "title": "J", "items": []}'
    found, server = look(
        {
            "/": answer(PAGE.format(links), Content_Type="text/html"),
            "/blog/page.html": answer(PAGE.format("")),
            "/blog/feed.json": answer(feed),
            "/blog/other.xml": answer(RSS),
        }
    )
    assert (found.location, found.title) == (f"{server.url}/blog/feed.json", "J")
    assert server.paths() == ["/", "/blog/gone.xml", "/blog/page.html", "/blog/feed.json"]


def test_a_page_never_leads_to_an_inner_address():
    link = '<link rel="alternate" type="application/rss+xml" href="http://10.0.0.1/feed">'
    error, _ = look({"/": answer(PAGE.format(link))})
    assert error.reason == "no_feed"


def test_a_page_with_a_thousand_feeds_costs_few_requests():
    links = "".join(f'<link rel="alternate" type="application/rss+xml" href="/{n}">' for n in range(1000))
    error, server = look({"/": answer(PAGE.format(links))})
    assert error.reason == "no_feed"
    assert len(server.requests) == 6


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (answer(PAGE.format(""), Content_Type="text/html"), "is a web page and names no feed"),
        (answer(b"", Content_Type="text/html"), "is an empty document"),
        (answer(b"%PDF-1.7", Content_Type="application/pdf"), "is a document of type application/pdf"),
    ],
)
def test_what_is_there_is_said_when_it_is_no_feed(raw, words):
    error, server = look({"/": raw})
    assert str(error).startswith(f"{server.url}/: {words}")
    assert "give the address of the feed itself" in str(error)


def test_a_server_that_fails_is_the_error_of_the_fetch():
    error, _ = look({})
    assert isinstance(error, FetchError)
    assert error.reason == "http_404"


def test_a_document_made_to_harm_is_named_so():
    error, _ = look({"/": answer('<rss version="2.0"><channel>' + "<a>" * 10_000)})
    assert error.reason == "xml_limit"


def test_a_folder_is_found_by_its_absolute_path(tmp_path, monkeypatch):
    (tmp_path / "articles").mkdir()
    monkeypatch.chdir(tmp_path)
    found = look_at("articles")
    assert (found.kind, found.location, found.title, found.words) == (
        SourceKind.FOLDER,
        str(tmp_path / "articles"),
        "articles",
        "a folder",
    )


def test_a_file_points_to_its_folder(tmp_path):
    (tmp_path / "a.md").write_text("x")
    with pytest.raises(CollectError, match=f"is a file; name its folder instead: {tmp_path}"):
        look_at(str(tmp_path / "a.md"))


def test_a_host_without_a_scheme_gets_a_hint():
    with pytest.raises(CollectError, match=r"did you mean https://blog\.example/feed\?"):
        look_at("blog.example/feed")


@pytest.mark.parametrize("location", ["ftp://example.org/x", "file:///etc", "/no/such/folder", "", "\x00"])
def test_what_is_nothing_is_refused_in_one_line(location):
    with pytest.raises(CollectError) as caught:
        look_at(location)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("document", "words"),
    [
        (RSS.replace("</channel>", "<item><guid>1</guid></item></channel>"), "a feed (RSS, 1 article)"),
        ('<feed xmlns="http://www.w3.org/2005/Atom"><title>A</title></feed>', "a feed (Atom, 0 articles)"),
        (JSON_FEED, "a feed (JSON Feed, 0 articles)"),
        (RDF, "a feed (RDF, 0 articles)"),
        (SITEMAP.format("<url><loc>/a</loc></url>"), "a sitemap (1 page)"),
    ],
)
def test_what_was_found_is_said_in_words(document, words):
    found, _ = look({"/": answer(document)})
    assert found.words == words


def test_a_feed_that_a_page_names_is_said_to_be_named():
    link = '<link rel="alternate" type="application/rss+xml" href="/feed.xml">'
    found, _ = look({"/": answer(PAGE.format(link)), "/feed.xml": answer(RSS)})
    assert found.words == "a feed (RSS, 0 articles), which the page names"


def test_a_feed_at_a_usual_place_is_found_beside_a_page_that_names_none():
    found, server = look({"/blog/": answer(PAGE.format("")), "/atom.xml": answer(RSS)}, path="/blog/")
    assert (found.location, found.words) == (
        f"{server.url}/atom.xml",
        "a feed (RSS, 0 articles), which the page does not name",
    )
    assert server.paths() == ["/blog/", "/feed", "/rss.xml", "/atom.xml"]


def test_what_is_no_page_costs_no_guesses():
    error, server = look({"/": answer(b"%PDF-1.7", Content_Type="application/pdf")})
    assert error.reason == "no_feed"
    assert server.paths() == ["/"]


def test_a_page_without_a_feed_is_found_by_the_links_that_look_like_articles():
    found, server = look({"/": answer(FRONT, Content_Type="text/html")})
    assert (found.kind, found.location, found.title) == (SourceKind.PAGE, f"{server.url}/", "The Lantern")
    assert found.words == "a page (3 links that look like articles), which names no feed"
    assert server.paths() == ["/", "/feed", "/rss.xml", "/atom.xml", "/feed.json"]


def test_a_page_is_taken_for_its_links_when_it_is_asked_for_although_it_names_a_feed():
    link = '<link rel="alternate" type="application/rss+xml" href="/feed.xml">'
    page = FRONT.replace("<title>", link + "<title>")
    found, server = look({"/": answer(page)}, kind=SourceKind.PAGE)
    assert found.words == "a page (3 links that look like articles)"
    assert server.paths() == ["/"]


def test_a_selector_picks_the_links_of_a_page():
    found, _ = look({"/": answer(FRONT)}, selector="h2:first-of-type a")
    assert (found.kind, found.words) == (SourceKind.PAGE, "a page (1 link that 'h2:first-of-type a' picks)")


@pytest.mark.parametrize(
    ("options", "reason", "words"),
    [
        ({"selector": ".nothing"}, "no_links", "has no links that the selector '.nothing' picks"),
        ({"selector": "h2 >"}, "bad_selector", "cannot be read with the selector 'h2 >'"),
        (
            {"kind": SourceKind.PAGE},
            "no_links",
            "no links on it look like articles; pick them with a selector",
        ),
        ({"kind": SourceKind.FEED}, "no_feed", "is a web page and names no feed"),
        ({"kind": SourceKind.SITEMAP}, "no_sitemap", "give the address of the sitemap itself"),
        ({"kind": SourceKind.FOLDER}, "bad_url", "is an http address, which a folder does not have"),
    ],
)
def test_a_kind_that_is_not_there_is_refused_in_one_line(options, reason, words):
    error, _ = look({"/": answer(PAGE.format(""))}, **options)
    assert error.reason == reason
    assert words in str(error)
    assert "\n" not in str(error)


def test_an_address_that_is_no_folder_and_no_url_is_refused_for_a_kind_that_needs_one(tmp_path):
    with pytest.raises(CollectError, match="is no http or https address, which a sitemap needs"):
        look_at(str(tmp_path), kind=SourceKind.SITEMAP)


def test_a_bad_selector_is_refused_before_anything_is_asked():
    error, server = look({}, selector="h2 >")
    assert error.reason == "bad_selector"
    assert server.requests == []


def test_the_pages_of_an_index_are_counted_in_its_sitemaps():
    index = INDEX.format("<sitemap><loc>/a.xml</loc></sitemap><sitemap><loc>/b.xml.gz</loc></sitemap>")
    pages = SITEMAP.format("".join(f"<url><loc>/{n}</loc></url>" for n in range(1_100)))
    found, server = look(
        {
            "/sitemap.xml": answer(index),
            "/a.xml": answer(pages),
            "/b.xml.gz": answer(gzip.compress(pages.encode())),
        },
        path="/sitemap.xml",
    )
    assert (found.kind, found.location) == (SourceKind.SITEMAP, f"{server.url}/sitemap.xml")
    assert found.words == "a sitemap (2,200 pages, index of 2)"


def test_a_large_index_costs_few_requests():
    index = INDEX.format("".join(f"<sitemap><loc>/{n}.xml</loc></sitemap>" for n in range(1_000)))
    child = SITEMAP.format("<url><loc>/a</loc></url>")
    found, server = look({"/": answer(index), "/0.xml": answer(child), "/2.xml": answer(child)})
    assert found.words == "a sitemap (index of 1,000, 2 pages in the 2 that were looked at)"
    assert len(server.requests) == 6


def test_a_sitemap_is_found_in_robots_txt_when_it_is_asked_for():
    robots = "User-agent: *\nDisallow: /x\nSitemap: /gone.xml\nSITEMAP: /maps/news.xml\n"
    found, server = look(
        {
            "/": answer(PAGE.format("")),
            "/robots.txt": answer(robots),
            "/maps/news.xml": answer(SITEMAP.format("")),
        },
        kind=SourceKind.SITEMAP,
    )
    assert found.location == f"{server.url}/maps/news.xml"
    assert server.paths() == ["/", "/robots.txt", "/gone.xml", "/maps/news.xml"]


def test_a_sitemap_is_found_at_its_usual_place_when_robots_txt_names_none():
    found, server = look(
        {"/blog": answer(FRONT), "/sitemap.xml": answer(SITEMAP.format(""))},
        path="/blog",
        kind=SourceKind.SITEMAP,
    )
    assert found.location == f"{server.url}/sitemap.xml"


def test_a_feed_that_quotes_a_sitemap_is_a_feed():
    quoting = RSS.replace("<link>", "<description><![CDATA[<urlset></urlset>]]></description><link>")
    found, _ = look({"/": answer(quoting)})
    assert found.kind is SourceKind.FEED


def test_a_sitemap_that_broke_off_is_named_so():
    error, _ = look({"/": answer("<urlset><url><loc>/a</loc>")})
    assert error.reason == "broke_off"
