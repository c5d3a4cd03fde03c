import asyncio
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


def look(answers, path="/"):
    async def run():
        async with http_server(answers) as server, open_session(user_agent="T", allow=LOOPBACK) as session:
            try:
                return await discover(server.url + path, session=session), server
            except CollectError as error:
                return error, server

    return asyncio.run(run())


def look_at(location):
    async def run():
        async with open_session(user_agent="T", allow=[]) as session:
            return await discover(location, session=session)

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
    assert (found.kind, found.location, found.title) == (
        SourceKind.FOLDER,
        str(tmp_path / "articles"),
        "articles",
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
