"""What others take for collecting: one peer in a process of its own, as JSON on a line.

    python scripts/bench_collect_peers.py reader DATABASE PORT FEEDS ENTRIES WORKERS
    python scripts/bench_collect_peers.py aiohttp PORT FEEDS
    python scripts/bench_collect_peers.py feedparser FILE TIMES
    python scripts/bench_collect_peers.py feedparser-nh3 FILE TIMES

A database of reader's that is not there is made, and its first update is the cold one. Knows nothing of
Syndicate: it runs in an environment that holds the peers and nothing else.
"""

from __future__ import annotations

import asyncio
import io
import json
import re
import sys
import time
from collections.abc import Callable, Iterable
from html import unescape
from pathlib import Path
from typing import Any
from zlib import crc32

CONNECTIONS = 50
_TAG = re.compile("<[^>]*>")
_TYPE = {"content-type": "application/xml; charset=utf-8"}


def fingerprint(articles: Iterable[str]) -> int:
    """Of the words of HTML articles in any order: equal for those who kept the same."""
    texts = ("".join(unescape(_TAG.sub("", html)).split()) for html in articles)
    return sum(crc32(text.encode()) for text in texts)


def use_reader(database: str, port: str, feeds: str, entries: str, workers: str) -> dict[str, float]:
    """lemon24/reader: an update of all its feeds."""
    from reader import make_reader  # noqa: PLC0415 - not there for the other peers

    is_cold, count = not Path(database).exists(), int(feeds)
    with make_reader(database) as reader:
        if is_cold:
            for n in range(1, count + 1):
                reader.add_feed(f"http://127.0.0.1:{port}/feed/{n}.xml")
        began_s, used_s = time.perf_counter(), time.process_time()
        results = list(reader.update_feeds_iter(scheduled=False, workers=int(workers)))
        used_s, seconds = time.process_time() - used_s, time.perf_counter() - began_s
        stored = [entry.content[0].value for entry in reader.get_entries()]
    fresh = sum(result.updated_feed.new for result in results if result.updated_feed is not None)
    if any(result.error for result in results) or len(results) != count:
        sys.exit(f"reader could not read every feed: {[r.error for r in results if r.error][:1]}")
    expected = count * int(entries)
    if len(stored) != expected or fresh != (expected if is_cold else 0):
        sys.exit(f"reader has {len(stored)} entries, {fresh} of them new, instead of {expected}")
    return {
        "cpu_ms": used_s / count * 1e3,
        "feeds_s": count / seconds,
        "fingerprint": fingerprint(stored),
    }


def use_aiohttp(port: str, feeds: str) -> dict[str, float]:
    """The library aiohttp, which asks for feeds by their validators and reads the answers, and no more."""
    import aiohttp  # noqa: PLC0415 - not there for the other peers

    numbers = iter(range(1, int(feeds) + 1))

    async def ask(session: aiohttp.ClientSession) -> None:
        for n in numbers:  # which all of them share
            validators = {"If-None-Match": f'"feed-{n}-1"'}
            async with session.get(f"http://127.0.0.1:{port}/feed/{n}.xml", headers=validators) as answer:
                await answer.read()

    async def ask_all() -> None:
        async with aiohttp.ClientSession() as session:
            await asyncio.gather(*(ask(session) for _ in range(CONNECTIONS)))

    began_s, used_s = time.perf_counter(), time.process_time()
    asyncio.run(ask_all())
    used_s, seconds = time.process_time() - used_s, time.perf_counter() - began_s
    return {"cpu_ms": used_s / int(feeds) * 1e3, "feeds_s": int(feeds) / seconds}


def use_feedparser(file: str, times: str) -> dict[str, float]:
    """The library feedparser as it comes: it sanitises and resolves URLs by itself."""
    import feedparser  # noqa: PLC0415 - not there for the other peers

    return parsing(
        lambda body: _contents(feedparser.parse(io.BytesIO(body), response_headers=_TYPE)), file, times
    )


def use_feedparser_nh3(file: str, times: str) -> dict[str, float]:
    """The same without both, and nh3 in their place."""
    import feedparser  # noqa: PLC0415 - not there for the other peers
    import nh3  # noqa: PLC0415 - not there for the other peers

    def parse(body: bytes) -> list[str]:
        raw = feedparser.parse(
            io.BytesIO(body), sanitize_html=False, resolve_relative_uris=False, response_headers=_TYPE
        )
        return [nh3.clean(html) for html in _contents(raw)]

    return parsing(parse, file, times)


def _contents(result: Any) -> list[str]:
    return [entry.content[0].value for entry in result.entries]


def parsing(parse: Callable[[bytes], list[str]], file: str, times: str) -> dict[str, float]:
    """What it takes to make the articles of a document, the first time left out."""
    body = Path(file).read_bytes()
    found = parse(body)
    used_s = time.process_time()
    for _ in range(int(times)):
        parse(body)
    used_s = time.process_time() - used_s
    return {
        "cpu_ms": used_s / int(times) * 1e3,
        "articles": len(found),
        "fingerprint": fingerprint(found),
    }


PEERS: dict[str, Callable[..., dict[str, float]]] = {
    "reader": use_reader,
    "aiohttp": use_aiohttp,
    "feedparser": use_feedparser,
    "feedparser-nh3": use_feedparser_nh3,
}

if __name__ == "__main__":
    print(json.dumps(PEERS[sys.argv[1]](*sys.argv[2:])))
