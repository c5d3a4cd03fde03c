"""A site on loopback as a collector meets it: feeds and pages with validators, and what was asked of it."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

__all__ = ["FeedSite", "feed_site"]

FEED = """<?xml version="1.0"?><rss version="2.0"><channel><title>Elsewhere</title>
<link>https://elsewhere.example.org/</link><description>News</description>{items}</channel></rss>"""
ITEM = """<item><title>{title}</title><link>{home}/{n}</link><guid>urn:item:{n}</guid>
<pubDate>Tue, 10 Mar 2026 {hour:02}:{minute:02}:00 GMT</pubDate>
<description>&lt;p&gt;About {title}, at length.&lt;/p&gt;</description></item>"""


class FeedSite:
    """By path what it says, with validators; what it was asked, and what it answered."""

    def __init__(self, address: str = "127.0.0.1") -> None:
        self.pages: dict[str, str | bytes] = {}
        self.status: dict[str, int] = {}
        self.headers: dict[str, Mapping[str, str]] = {}  #: more of them, by path
        self.answers: list[int] = []
        self.paths: list[str] = []
        self.server = ThreadingHTTPServer((address, 0), self._handler())

    def url(self, path: str) -> str:
        return f"http://{self.server.server_address[0]!s}:{self.server.server_port}{path}"

    def publish(
        self, path: str, titles: Mapping[int, str], *, home: str = "https://elsewhere.example.org"
    ) -> None:
        """A feed with articles by number, the newest first."""
        items = "".join(
            ITEM.format(n=n, title=title, home=home, hour=n // 60, minute=n % 60)
            for n, title in sorted(titles.items(), reverse=True)
        )
        self.pages[path] = FEED.format(items=items)

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        site = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                page = site.pages.get(self.path, "")
                etag = f'"{hash(page)}"'
                status = site.status.get(self.path, 200 if page else 404)
                if status == 200 and self.headers["If-None-Match"] == etag:
                    status = 304
                site.answers.append(status)
                site.paths.append(self.path)
                body = page.encode() if isinstance(page, str) else page
                body = body if status == 200 else b""
                self.send_response(status)
                given = {"Content-Type": "application/rss+xml"} | dict(site.headers.get(self.path, {}))
                for name, value in (given | {"ETag": etag, "Content-Length": str(len(body))}).items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_args: object) -> None:
                pass

        return Handler


@contextmanager
def feed_site(address: str = "127.0.0.1") -> Iterator[FeedSite]:
    """The site, listening while the block runs."""
    site = FeedSite(address)
    thread = threading.Thread(target=site.server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield site
    finally:
        site.server.shutdown()
        thread.join()
        site.server.server_close()
