"""The server of feeds for the figures of collecting, a process of its own on loopback, as cheap as can be.

    python -m scripts.bench_feed_server FEEDS ENTRIES ENTRY_BYTES

serves /feed/1.xml and so on, tells its port on a line, and ends when its input does. Documents are made
before the first request: what an answer costs is one write.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from email.utils import format_datetime
from pathlib import Path

from scripts.bench_feeds import NEWEST_AT, Texts, make_feed


@dataclass(frozen=True, slots=True)
class Document:
    """One feed as it is answered."""

    etag: bytes
    full: bytes
    unchanged: bytes


def make_document(number: int, body: bytes) -> Document:
    """Both answers, with their heads."""
    etag = f'"feed-{number}-1"'
    shared = f"ETag: {etag}\r\nLast-Modified: {format_datetime(NEWEST_AT, usegmt=True)}\r\n"
    kind = "Content-Type: application/rss+xml; charset=utf-8\r\n"
    full = f"HTTP/1.1 200 OK\r\n{kind}{shared}Content-Length: {len(body)}\r\n\r\n".encode() + body
    return Document(etag.encode(), full, f"HTTP/1.1 304 Not Modified\r\n{shared}\r\n".encode())


@dataclass(slots=True)
class Site:
    """What the connections share: the documents, the switch, and how often each answer was given."""

    documents: dict[bytes, Document]
    knows_validators: bool = True
    full: int = 0
    unchanged: int = 0
    unknown: int = 0

    def answer(self, head: bytes) -> bytes:
        """The bytes for a request with this head."""
        path = head.split(b" ", 2)[1]
        document = self.documents.get(path)
        if document is None:
            return self._control(path)
        if self.knows_validators and document.etag in head:
            self.unchanged += 1
            return document.unchanged
        self.full += 1
        return document.full

    def _control(self, path: bytes) -> bytes:
        """Sets the switch and tells the counts, which begin anew."""
        if path not in {b"/validators/on", b"/validators/off"}:
            self.unknown += 1
            return b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"
        self.knows_validators = path.endswith(b"on")
        counts = {"full": self.full, "unchanged": self.unchanged, "unknown": self.unknown}
        self.full = self.unchanged = self.unknown = 0
        body = json.dumps(counts).encode()
        return f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


class _Connection(asyncio.Protocol):
    def __init__(self, site: Site) -> None:
        self._site, self._waiting = site, b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - what a stream server gives
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        *heads, self._waiting = (self._waiting + data).split(b"\r\n\r\n")
        for head in heads:
            self._transport.write(self._site.answer(head))


async def _serve(feeds: int, entries: int, entry_bytes: int) -> None:
    loop, texts = asyncio.get_running_loop(), Texts()
    documents = {
        f"/feed/{n}.xml".encode(): make_document(
            n, make_feed(texts, n, entries=entries, entry_bytes=entry_bytes)
        )
        for n in range(1, feeds + 1)
    }
    site = Site(documents)
    server = await loop.create_server(lambda: _Connection(site), "127.0.0.1", 0, backlog=200)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)
    server.close()


@dataclass(frozen=True, slots=True)
class Feeds:
    """A server that runs."""

    port: int
    feeds: int
    entries: int

    def reset(self, *, knows_validators: bool) -> dict[str, int]:
        """Sets the switch; gives how often each answer was given since the last time."""
        switch = "on" if knows_validators else "off"
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/validators/{switch}") as answer:
            counts: dict[str, int] = json.load(answer)
        return counts


@contextmanager
def running_feeds(feeds: int, *, entries: int, entry_bytes: int) -> Iterator[Feeds]:
    """The server in a process of its own."""
    process = subprocess.Popen(  # noqa: S603 - this module, no shell
        [sys.executable, "-m", "scripts.bench_feed_server", str(feeds), str(entries), str(entry_bytes)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[1],
    )
    assert process.stdout is not None  # noqa: S101 - it is piped
    try:
        yield Feeds(int(process.stdout.readline()), feeds, entries)
    finally:
        process.communicate()


if __name__ == "__main__":
    asyncio.run(_serve(*map(int, sys.argv[1:])))
