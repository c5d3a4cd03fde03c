"""WebSub against a hub on loopback: it confirms, pushes, repeats itself, lies, denies, and falls silent."""

from __future__ import annotations

import hmac
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
import trustme
from sqlalchemy import Connection, Engine, update

from syndicate.collect.websub import Callbacks
from syndicate.model import Article, Source, SourceState
from syndicate.service import hub_pushes
from syndicate.service.collecting import collect_due
from syndicate.service.hub_pushes import Receipt, receive, verify
from syndicate.service.installation import Installation
from syndicate.service.websub import is_pushed, note_hubs, request_due
from syndicate.storage import articles, sources, tables
from syndicate.storage.engine import open_engine, reading, writing
from syndicate.storage.websub import HubState, HubSubscription, find_subscription, put_subscription
from syndicate.web import websub as web
from syndicate.web.app import create_app
from syndicate.web.security import CONTENT_SECURITY_POLICY
from tests.builders import add_newsletter, add_source
from tests.installation_builders import FakeClock, make_installation
from tests.web_site import serving

SITE = "https://news.example.org"
TOPIC = "https://elsewhere.example.org/feed.xml"
FEED = """<?xml version="1.0"?><rss version="2.0"><channel><title>Elsewhere</title>
<link>https://elsewhere.example.org/</link><description>News</description>{items}</channel></rss>"""
ITEM = """<item><title>{title}</title><link>https://elsewhere.example.org/{n}</link><guid>urn:item:{n}</guid>
<pubDate>Tue, 10 Mar 2026 0{n}:00:00 GMT</pubDate>
<description>&lt;p&gt;About {title}, at length.&lt;/p&gt;</description></item>"""


def feed(**titles: str) -> bytes:
    """A document with an article for each keyword, such as ``n3="Third"``."""
    items = "".join(ITEM.format(n=name[1:], title=title) for name, title in titles.items())
    return FEED.format(items=items).encode()


class Hub:
    """A hub that keeps what it was asked, answers as it is told, and calls back when the test says so.

    It knows the site's public address as a port of this machine, and serves ``document``, which names it.
    """

    document = b""

    def __init__(self, site_port: int, tls: ssl.SSLContext | None = None) -> None:
        self.site_url = f"http://127.0.0.1:{site_port}"
        self.forms: list[dict[str, str]] = []
        self.answers: list[tuple[int, dict[str, str], str]] = []
        hub = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"])).decode()
                assert self.headers["Content-Type"] == "application/x-www-form-urlencoded"
                hub.forms.append({name: value for name, [value] in parse_qs(body).items()})
                status, headers, text = hub.answers.pop(0) if hub.answers else (202, {}, "")
                self.send_response(status)
                for name, value in {"Content-Length": str(len(text))}.items() | headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(text.encode())

            def do_GET(self) -> None:
                self.send_response(200)
                for rel, url in (("hub", hub.url), ("self", hub.topic)):
                    self.send_header("Link", f'<{url}>; rel="{rel}"')
                self.send_header("Content-Length", str(len(hub.document)))
                self.end_headers()
                self.wfile.write(hub.document)

            def log_message(self, *_args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        if tls is not None:
            self.server.socket = tls.wrap_socket(self.server.socket, server_side=True)
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.server.server_port}/hub"

    def next_answer(self, status: int, text: str = "", **headers: str) -> None:
        self.answers.append((status, {name.replace("_", "-"): v for name, v in headers.items()}, text))

    @property
    def topic(self) -> str:
        """Where its own document is."""
        return self.url.replace("/hub", "/feed.xml")

    @property
    def callback(self) -> str:
        assert self.forms[-1]["hub.callback"].startswith(f"{SITE}/websub/")
        return self.forms[-1]["hub.callback"].replace(SITE, self.site_url)

    def say(self, mode: str, callback: str = "", **params: str) -> tuple[int, str]:
        """What a GET to the callback brings: status and text."""
        given = {"topic": TOPIC, "challenge": "c-h-a-l", "lease_seconds": "864000"} | params
        query = urlencode({"hub.mode": mode} | {f"hub.{name}": value for name, value in given.items()})
        status, body, _ = call("GET", f"{callback or self.callback}?{query}")
        return status, body.decode()

    def confirm(self, **params: str) -> None:
        assert self.say("subscribe", **params) == (200, params.get("challenge", "c-h-a-l"))

    def push(
        self, body: bytes, callback: str = "", *, signature: str | None = None, method: str = "sha256"
    ) -> int:
        """The status with which a push is answered; signed as it has to be unless a signature is given."""
        headers = {"Content-Type": "application/rss+xml", "Link": f'<{TOPIC}>; rel="self"'}
        if signature is None and "hub.secret" in self.forms[-1]:
            code = hmac.new(self.forms[-1]["hub.secret"].encode(), body, method).hexdigest()
            signature = f"{method}={code}"
        if signature is not None:
            headers["X-Hub-Signature"] = signature
        return call("POST", callback or self.callback, body, headers)[0]


def call(
    method: str, url: str, body: bytes | None = None, headers: dict[str, str] | None = None
) -> tuple[int, bytes, dict[str, str]]:
    """One request over a connection of its own: status, body, headers by their small names."""
    parts = urlsplit(url)
    connection = HTTPConnection(parts.hostname or "", parts.port, timeout=30)
    try:
        connection.request(
            method, parts.path + (f"?{parts.query}" if parts.query else ""), body, headers or {}
        )
        answer = connection.getresponse()
        return answer.status, answer.read(), {name.lower(): value for name, value in answer.getheaders()}
    finally:
        connection.close()


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def listening() -> Iterator[socket.socket]:
    """Where the site is."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening


@pytest.fixture
def serve(listening: socket.socket) -> Iterator[Callable[..., Hub]]:
    """Starts hubs, which run until the test has ended."""
    running: list[tuple[Hub, threading.Thread]] = []

    def start(tls: ssl.SSLContext | None = None) -> Hub:
        hub = Hub(listening.getsockname()[1], tls)
        thread = threading.Thread(target=hub.server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        running.append((hub, thread))
        return hub

    yield start
    for hub, thread in running:
        hub.server.shutdown()
        thread.join()
        hub.server.server_close()


@pytest.fixture
def hub(serve: Callable[..., Hub], authority: trustme.CA, monkeypatch: pytest.MonkeyPatch) -> Hub:
    """A hub that speaks https, so that it gets a secret; its authority counts as one of the system's."""
    tls, trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
    authority.issue_cert("127.0.0.1").configure_cert(tls)
    authority.configure_trust(trusting)
    monkeypatch.setattr("aiohttp.connector._SSL_CONTEXT_VERIFIED", trusting)
    return serve(tls)


@pytest.fixture
def plain_hub(serve: Callable[..., Hub]) -> Hub:
    return serve()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def inst(
    sqlite_url: str, tmp_path: Path, clock: FakeClock, listening: socket.socket
) -> Iterator[Installation]:
    """An installation that is served, and does not wait between two requests to one host."""
    engine = open_engine(sqlite_url)
    inst = with_fetch(make_installation(engine, tmp_path, clock=clock), host_gap_s=0.0)
    assert inst.settings.site.url == SITE
    with serving(create_app(inst), listening):
        yield inst
    engine.dispose()


def with_fetch(inst: Installation, **changes: object) -> Installation:
    """The same with other settings in [fetch]."""
    fetch = inst.settings.fetch.model_copy(update=changes)
    return replace(inst, settings=inst.settings.model_copy(update={"fetch": fetch}))


@pytest.fixture
def stored(monkeypatch: pytest.MonkeyPatch) -> threading.Semaphore:
    """Is released each time that a pushed document has been dealt with, which is after the answer."""
    done = threading.Semaphore(0)
    original = web.store_push

    def store_push(*args: object) -> None:
        original(*args)  # type: ignore[arg-type]  # passed on as they came
        done.release()

    monkeypatch.setattr(web, "store_push", store_push)
    return done


@pytest.fixture
def source(inst: Installation) -> Source:
    """A feed with a baseline, of a newsletter, that is due in a day. Its hub may be on this machine."""
    now = inst.clock()
    with writing(inst.engine) as conn:
        added = add_source(conn, now, location=TOPIC, is_intranet=True)
        add_newsletter(conn, now, draws_from=[added.id])
        poll_tomorrow(conn, added.id, now)
        return sources.get_source(conn, added.id)


def poll_tomorrow(conn: Connection, source_id: int, now: datetime) -> None:
    conn.execute(
        update(tables.source)
        .where(tables.source.c.id == source_id)
        .values(
            baseline_at=now - timedelta(days=30), last_success_at=now, next_due_at=now + timedelta(days=1)
        )
    )


def read_links(
    inst: Installation, source: Source, *hubs: str, self_url: str = TOPIC, is_news: bool = False
) -> HubSubscription | None:
    """What a look at the source notes that found links to these hubs; gives the subscription."""
    with writing(inst.engine) as conn:
        locked = sources.get_source(conn, source.id, lock=True)
        note_hubs(inst, conn, locked, hubs=hubs, self_url=self_url, is_news=is_news, now=inst.clock())
    return subscription_of(inst, source)


def subscribed(inst: Installation, source: Source, hub: Hub, **params: str) -> None:
    read_links(inst, source, hub.url)
    assert request_due(inst) == 1
    hub.confirm(**params)


def subscription_of(inst: Installation, source: Source) -> HubSubscription | None:
    with reading(inst.engine) as conn:
        return find_subscription(conn, source.id)


def standing(inst: Installation, source: Source) -> HubSubscription:
    found = subscription_of(inst, source)
    assert found is not None
    return found


def is_due(inst: Installation, source: Source) -> bool:
    with reading(inst.engine) as conn:
        return sources.get_source(conn, source.id).next_due_at <= inst.clock()


def is_relied_on(inst: Installation, source: Source) -> bool:
    with reading(inst.engine) as conn:
        return is_pushed(conn, [source.id], now=inst.clock()) == {source.id}


def titles(inst: Installation) -> list[str]:
    with reading(inst.engine) as conn:
        found: list[Article] = articles.list_newsletter_articles(conn, 1)
    return sorted(article.title for article in found)


# Subscribing


def test_a_source_that_names_a_hub_is_subscribed_to_when_the_hub_confirms(
    inst: Installation, source: Source, hub: Hub, clock: FakeClock
) -> None:
    begun = read_links(inst, source, hub.url)
    assert begun is not None
    assert (begun.state, begun.renew_at) == (HubState.PENDING, clock.at)
    assert request_due(inst) == 1

    [form] = hub.forms
    assert (form["hub.mode"], form["hub.topic"], form["hub.lease_seconds"]) == ("subscribe", TOPIC, "864000")
    assert form["hub.callback"].startswith(f"{SITE}/websub/{source.id}/")
    assert len(form["hub.secret"]) == 43
    assert standing(inst, source).state is HubState.PENDING, "the hub has accepted, and not confirmed yet"
    assert request_due(inst) == 0

    hub.confirm(lease_seconds="1000")
    active = standing(inst, source)
    assert (active.state, active.failures, active.last_error) == (HubState.ACTIVE, 0, "")
    assert active.lease_expires_at == clock.at + timedelta(seconds=1000)
    assert active.renew_at == clock.at + timedelta(seconds=800)


def test_reading_the_same_links_again_changes_nothing(inst: Installation, source: Source, hub: Hub) -> None:
    subscribed(inst, source, hub)
    before = standing(inst, source)

    assert read_links(inst, source, "https://other.example.org/", hub.url, is_news=True) == before
    assert request_due(inst) == 0


def test_the_answer_to_a_hub_is_plain_text_that_nobody_keeps(
    inst: Installation, source: Source, hub: Hub
) -> None:
    read_links(inst, source, hub.url)
    request_due(inst)
    script = "<script>alert(1)</script>"
    query = urlencode({"hub.mode": "subscribe", "hub.topic": TOPIC, "hub.challenge": script})

    status, body, headers = call("GET", f"{hub.callback}?{query}")

    assert (status, body) == (200, script.encode())
    assert headers["content-type"].startswith("text/plain")
    assert (headers["cache-control"], headers["x-robots-tag"]) == ("no-store", "noindex")
    assert headers["content-security-policy"] == CONTENT_SECURITY_POLICY
    assert headers["x-content-type-options"] == "nosniff"
    assert "set-cookie" not in headers


def test_a_callback_takes_what_hubs_send_and_no_other_method(
    inst: Installation, source: Source, hub: Hub
) -> None:
    read_links(inst, source, hub.url)
    request_due(inst)

    for method in ("PUT", "DELETE", "PATCH"):
        status, _, headers = call(method, hub.callback)
        assert (status, headers["allow"]) == (405, "GET, HEAD, POST")


def test_a_hub_is_told_nothing_unless_it_asks_for_what_we_want(
    inst: Installation, source: Source, hub: Hub
) -> None:
    read_links(inst, source, hub.url)
    request_due(inst)
    before, callback = standing(inst, source), hub.callback

    head, _, token = callback.rpartition("/")
    other = "0" if token[-1] != "0" else "1"
    elsewhere = callback.replace(f"/websub/{source.id}/", f"/websub/{source.id + 1}/")
    for address in (f"{head}/{token[:-1]}{other}", f"{head}/x", elsewhere, f"{head}/{token[33:]}"):
        assert hub.say("subscribe", address)[0] == 404
        assert hub.push(feed(n1="First"), address) == 404
    for mode, params in (
        ("subscribe", {"topic": TOPIC + "?"}),
        ("subscribe", {"topic": TOPIC.upper()}),
        ("subscribe", {"challenge": ""}),
        ("denied", {"topic": "https://example.org/"}),
        ("unsubscribe", {}),
        ("publish", {}),
    ):
        assert hub.say(mode, **params)[0] == 404
    assert hub.push(feed(n1="First")) == 404, "it has not confirmed"

    assert standing(inst, source) == before
    assert not is_due(inst, source)


def test_a_lease_is_renewed_in_time_under_the_same_callback_without_a_gap(
    inst: Installation, source: Source, hub: Hub, clock: FakeClock
) -> None:
    subscribed(inst, source, hub, lease_seconds="300")
    hub.push(b"")
    callback = hub.callback
    for _ in range(3):
        clock.move(seconds=239)
        assert request_due(inst) == 0
        clock.move(seconds=1)
        assert request_due(inst) == 1
        assert standing(inst, source).state is HubState.ACTIVE
        assert is_relied_on(inst, source), "it goes on while it is renewed"
        hub.confirm(lease_seconds="300")
        assert standing(inst, source).lease_expires_at == clock.at + timedelta(seconds=300)

    assert len(hub.forms) == 4
    assert hub.callback == callback


def test_a_lease_that_ends_unrenewed_is_noticed_and_its_source_looked_at(
    inst: Installation, source: Source, hub: Hub, clock: FakeClock
) -> None:
    subscribed(inst, source, hub, lease_seconds="1000")
    hub.push(b"")
    for _ in range(3):
        hub.next_answer(503)
    clock.move(seconds=800)
    request_due(inst)
    with writing(inst.engine) as conn:
        poll_tomorrow(conn, source.id, clock.at)
    assert not is_due(inst, source)

    clock.move(seconds=200)
    assert request_due(inst) == 1

    over = standing(inst, source)
    assert (over.state, over.lease_expires_at, over.failures) == (HubState.PENDING, None, 2)
    assert is_due(inst, source)
    assert not is_relied_on(inst, source)
    clock.move(days=1)
    request_due(inst)
    clock.move(days=1)
    request_due(inst)
    hub.confirm()
    assert standing(inst, source).state is HubState.ACTIVE


def test_a_hub_that_refuses_is_asked_ever_later_and_its_words_are_kept(
    inst: Installation, source: Source, hub: Hub, clock: FakeClock
) -> None:
    read_links(inst, source, hub.url)
    hub.next_answer(400, "hub.callback is on\n a port that we do not call")
    hub.next_answer(500, "<html><title>Oh no</title></html>")
    waits = []
    for _ in range(4):
        assert request_due(inst) == 1
        renew_at = standing(inst, source).renew_at
        assert renew_at is not None
        waits.append((renew_at - clock.at) / timedelta(minutes=1))
        if len(hub.forms) == 1:
            assert standing(inst, source).last_error == (
                f"{hub.url}: answered 400: hub.callback is on a port that we do not call"
            )
        if len(hub.forms) == 2:
            assert standing(inst, source).last_error == f"{hub.url}: answered 500"
        clock.at = renew_at - timedelta(seconds=1)
        assert request_due(inst) == 0
        clock.at = renew_at

    for wait, plan in zip(waits, (10, 20, 40, 80), strict=True):
        assert plan * 0.75 <= wait <= plan * 1.25


def test_a_hub_that_asks_for_time_gets_it(
    inst: Installation, source: Source, hub: Hub, clock: FakeClock
) -> None:
    read_links(inst, source, hub.url)
    hub.next_answer(429, Retry_After="7200")

    request_due(inst)

    assert standing(inst, source).renew_at == clock.at + timedelta(hours=2)


def test_a_hub_may_send_a_request_on_and_gets_it_whole_elsewhere(
    inst: Installation, source: Source, hub: Hub
) -> None:
    read_links(inst, source, hub.url)
    hub.next_answer(307, Location="/elsewhere")
    hub.next_answer(308, Location=hub.url + "/again")

    request_due(inst)

    assert len(hub.forms) == 3
    assert hub.forms[0] == hub.forms[2]
    hub.confirm()


def test_a_request_is_not_sent_on_for_ever_nor_to_where_anybody_could_read_it(
    inst: Installation, source: Source, hub: Hub, plain_hub: Hub, clock: FakeClock
) -> None:
    read_links(inst, source, hub.url)
    for _ in range(9):
        hub.next_answer(307, Location=hub.url)
    request_due(inst)
    assert len(hub.forms) == 4
    assert standing(inst, source).last_error == f"{hub.url}: answered 307"

    hub.answers.clear()
    for status, target in ((302, hub.url), (308, plain_hub.url), (307, "")):
        hub.next_answer(status, Location=target)
        clock.move(days=2)
        request_due(inst)
    assert len(hub.forms) == 7
    assert plain_hub.forms == []


def test_a_hub_in_a_private_network_is_dialled_only_for_a_source_that_may_be_there(
    inst: Installation, source: Source, plain_hub: Hub, clock: FakeClock
) -> None:
    read_links(inst, source, plain_hub.url)

    with writing(inst.engine) as conn:
        conn.execute(update(tables.source).values(is_intranet=False))
    request_due(inst)
    assert plain_hub.forms == []
    assert "private address" in standing(inst, source).last_error

    with writing(inst.engine) as conn:
        conn.execute(update(tables.source).values(is_intranet=True))
    clock.move(days=1)
    request_due(inst)
    assert len(plain_hub.forms) == 1


def test_a_hub_that_is_down_keeps_no_other_waiting(inst: Installation, source: Source, hub: Hub) -> None:
    with writing(inst.engine) as conn:
        other = add_source(conn, inst.clock(), location="https://other.example.org/feed", is_intranet=True)
    with socket.socket() as unheard:
        unheard.bind(("127.0.0.1", 0))
        read_links(inst, other, f"https://127.0.0.1:{unheard.getsockname()[1]}/")
        read_links(inst, source, hub.url)

        assert request_due(inst) == 2

    hub.confirm()
    assert standing(inst, source).state is HubState.ACTIVE
    assert "connection refused" in standing(inst, other).last_error


# Pushes


def test_a_signed_push_is_stored_after_the_answer_and_makes_its_source_due(
    inst: Installation,
    source: Source,
    hub: Hub,
    stored: threading.Semaphore,
    clock: FakeClock,
) -> None:
    subscribed(inst, source, hub)
    for number, method in enumerate(("sha1", "sha256", "sha384", "sha512"), start=1):
        assert hub.push(feed(**{f"n{number}": f"By {method}"}), method=method) == 202
        assert stored.acquire(timeout=30)

    assert titles(inst) == ["By sha1", "By sha256", "By sha384", "By sha512"]
    assert is_due(inst, source)
    assert standing(inst, source).delivered_at == clock.at
    assert is_relied_on(inst, source)


def test_a_push_may_be_a_document_of_megabytes(
    inst: Installation, source: Source, hub: Hub, stored: threading.Semaphore
) -> None:
    subscribed(inst, source, hub)
    padding = b"<!--" + b"x" * (9 * 2**20) + b"--></rss>"

    assert hub.push(feed(n1="First").replace(b"</rss>", padding)) == 202
    assert stored.acquire(timeout=60)

    assert titles(inst) == ["First"]


def test_pushes_twice_and_out_of_order_end_in_the_same_articles(
    inst: Installation, source: Source, hub: Hub, stored: threading.Semaphore
) -> None:
    subscribed(inst, source, hub)
    first, second = feed(n1="First"), feed(n2="Second", n1="First")
    for body in (second, first, first, second, feed(n3="Third"), first):
        assert hub.push(body) == 202
        assert stored.acquire(timeout=30)

    assert titles(inst) == ["First", "Second", "Third"], "a push that leaves something out takes nothing away"


def test_what_is_not_signed_by_the_hub_is_ignored_and_answered_alike(
    inst: Installation, source: Source, hub: Hub
) -> None:
    subscribed(inst, source, hub)
    body = feed(n1="Forged")
    code = hmac.new(hub.forms[-1]["hub.secret"].encode(), body, "sha256").hexdigest()
    for signature in ("", "sha256=", f"sha256={code[:-1]}", f"sha1={code}", f"sha256={'0' * 64}", code):
        assert hub.push(body, signature=signature) == 202
    assert hub.push(body + b" ", signature=f"sha256={code}") == 202
    assert hub.push(b"", signature="") == 202

    assert not is_due(inst, source)
    assert standing(inst, source).delivered_at is None


def test_an_empty_push_says_only_that_there_is_something_to_read(
    inst: Installation, source: Source, hub: Hub
) -> None:
    subscribed(inst, source, hub)

    for body in (b"", b"\r\n"):
        assert hub.push(body) == 202

    assert is_due(inst, source)
    assert is_relied_on(inst, source)


def test_what_comes_from_a_hub_without_a_secret_is_not_believed_and_read_at_the_source(
    inst: Installation, source: Source, plain_hub: Hub
) -> None:
    read_links(inst, source, plain_hub.url)
    request_due(inst)
    plain_hub.confirm()
    assert "hub.secret" not in plain_hub.forms[0]

    assert plain_hub.push(feed(n1="By anybody")) == 202

    assert is_due(inst, source)


def test_a_push_of_another_document_than_the_sources_own_is_read_at_the_source(
    inst: Installation, source: Source, hub: Hub
) -> None:
    everything = "https://elsewhere.example.org/all.xml"
    read_links(inst, source, hub.url, self_url=everything)
    request_due(inst)
    hub.confirm(topic=everything)

    assert hub.push(feed(n1="Of another section")) == 202

    assert is_due(inst, source)
    assert is_relied_on(inst, source)


def test_before_the_baseline_a_push_only_makes_its_source_due(
    inst: Installation, source: Source, hub: Hub
) -> None:
    subscribed(inst, source, hub)
    with writing(inst.engine) as conn:
        conn.execute(update(tables.source).values(baseline_at=None))

    assert hub.push(feed(n1="First")) == 202

    assert is_due(inst, source)


@pytest.mark.parametrize("body", [b"<html>Sorry</html>", b"\x00\xff", b"{", b"<rss" * 9])
def test_a_push_that_is_no_document_stores_nothing_and_makes_its_source_due(
    inst: Installation, source: Source, hub: Hub, stored: threading.Semaphore, body: bytes
) -> None:
    subscribed(inst, source, hub)

    assert hub.push(body) == 202
    assert stored.acquire(timeout=30)

    assert titles(inst) == []
    assert is_due(inst, source)


def test_a_document_that_is_too_large_is_refused_whatever_it_claims(
    inst: Installation, source: Source, hub: Hub
) -> None:
    subscribed(inst, source, hub)
    parts = urlsplit(hub.callback)
    with socket.create_connection((parts.hostname, parts.port), timeout=30) as honest:
        honest.sendall(f"POST {parts.path} HTTP/1.1\r\nHost: x\r\nContent-Length: 10485761\r\n\r\n".encode())
        assert honest.recv(12) == b"HTTP/1.1 413", "not one byte of it is waited for"

    with socket.create_connection((parts.hostname, parts.port), timeout=30) as endless:
        endless.sendall(
            f"POST {parts.path} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
        )
        chunk = b"100000\r\n" + b"x" * 2**20 + b"\r\n"
        for _ in range(11):
            endless.sendall(chunk)
        assert endless.recv(12) == b"HTTP/1.1 413"

    assert not is_due(inst, source)


def test_a_document_that_does_not_come_is_not_waited_for(
    inst: Installation, source: Source, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    subscribed(inst, source, hub)
    monkeypatch.setattr(web, "_READ_S", 0.01)
    parts = urlsplit(hub.callback)
    with socket.create_connection((parts.hostname, parts.port), timeout=30) as slow:
        slow.sendall(f"POST {parts.path} HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n<rss".encode())
        assert slow.recv(12) == b"HTTP/1.1 408"

    assert not is_due(inst, source)


def test_what_comes_while_enough_is_being_stored_is_read_at_the_source(
    inst: Installation,
    source: Source,
    hub: Hub,
    stored: threading.Semaphore,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    subscribed(inst, source, hub)
    begun, may_end = threading.Semaphore(0), threading.Event()
    original = hub_pushes.store_document

    def store_slowly(*args: object, **values: object) -> object:
        begun.release()
        assert may_end.wait(60)
        return original(*args, **values)  # type: ignore[arg-type]  # passed on as they came

    monkeypatch.setattr(hub_pushes, "store_document", store_slowly)
    for number in (1, 2, 3, 4):
        assert hub.push(feed(**{f"n{number}": f"Number {number}"})) == 202
        assert begun.acquire(timeout=30)

    assert hub.push(feed(n5="Number 5")) == 202
    assert stored.acquire(timeout=30), "it is left at once"
    may_end.set()
    for _ in range(4):
        assert stored.acquire(timeout=60)

    assert titles(inst) == ["Number 1", "Number 2", "Number 3", "Number 4"]
    assert is_due(inst, source)
    assert hub.push(feed(n6="Number 6")) == 202
    assert stored.acquire(timeout=30)
    assert "Number 6" in titles(inst), "the places are free again"


def test_documents_are_read_a_few_at_once_and_the_others_are_asked_to_come_again(
    inst: Installation, source: Source, hub: Hub
) -> None:
    subscribed(inst, source, hub)
    parts = urlsplit(hub.callback)
    head = f"POST {parts.path} HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n"
    slow = []
    for _ in range(8):
        slow.append(socket.create_connection((parts.hostname, parts.port), timeout=30))
        slow[-1].sendall(head.encode())
        assert slow[-1].recv(99).startswith(b"HTTP/1.1 100"), "its document is being read"

    status, _, headers = call("POST", hub.callback, b"<rss>")
    assert (status, headers["retry-after"]) == (503, "60")

    for connection in slow:
        connection.sendall(b"<rss>")
        assert connection.recv(12) == b"HTTP/1.1 202"
        connection.close()
    assert hub.push(b"") == 202


# Ending


def test_a_denial_ends_a_subscription_at_any_time_and_its_source_is_looked_at(
    inst: Installation, source: Source, hub: Hub, clock: FakeClock
) -> None:
    subscribed(inst, source, hub)
    hub.push(b"")
    with writing(inst.engine) as conn:
        poll_tomorrow(conn, source.id, clock.at)

    assert hub.say("denied", reason="we\n moved") == (200, "")

    denied = standing(inst, source)
    assert (denied.state, denied.renew_at) == (HubState.DENIED, None)
    assert denied.last_error == f"{hub.url}: denied: we moved"
    assert is_due(inst, source)
    assert not is_relied_on(inst, source)
    assert hub.push(feed(n1="Late")) == 410
    assert hub.say("subscribe")[0] == 404
    assert hub.say("unsubscribe")[0] == 200
    clock.move(days=60)
    assert read_links(inst, source, hub.url) == denied, "it is not asked again"
    assert request_due(inst) == 0


def test_another_hub_or_topic_is_another_subscription_under_another_callback(
    inst: Installation, source: Source, hub: Hub, plain_hub: Hub
) -> None:
    subscribed(inst, source, hub)
    old = hub.callback

    for topic in (TOPIC, "https://elsewhere.example.org/new.xml"):
        read_links(inst, source, plain_hub.url, self_url=topic)
        request_due(inst)
        assert plain_hub.forms[-1]["hub.topic"] == topic
        assert plain_hub.callback != old
        plain_hub.confirm(topic=topic)
    assert plain_hub.callback != plain_hub.forms[0]["hub.callback"]

    assert hub.push(feed(n1="Old")) == 410
    assert hub.say("subscribe")[0] == 404
    assert hub.say("denied")[0] == 404
    assert hub.say("unsubscribe") == (200, "c-h-a-l")
    assert standing(inst, source).state is HubState.ACTIVE


@pytest.mark.parametrize("cause", ["no link", "switched off", "paused"])
def test_a_subscription_that_is_not_wanted_any_more_is_ended_at_its_hub(
    inst: Installation, source: Source, hub: Hub, cause: str
) -> None:
    subscribed(inst, source, hub)
    match cause:
        case "paused":
            with writing(inst.engine) as conn:
                sources.set_source_state(conn, source.id, SourceState.PAUSED)
        case "no link":
            read_links(inst, source)
        case "switched off":
            read_links(with_fetch(inst, websub=False), source, hub.url)

    assert request_due(inst) == 1

    assert hub.forms[-1]["hub.mode"] == "unsubscribe"
    assert hub.forms[-1]["hub.callback"] == hub.forms[0]["hub.callback"]
    assert "hub.secret" not in hub.forms[-1]
    assert subscription_of(inst, source) is None
    assert hub.say("unsubscribe") == (200, "c-h-a-l")
    assert hub.say("subscribe")[0] == 404
    assert hub.push(feed(n1="Late"), signature="") == 410
    assert request_due(inst) == 0


def test_a_hub_that_hears_no_farewell_is_left_to_itself_after_three(
    inst: Installation, source: Source, hub: Hub, clock: FakeClock
) -> None:
    subscribed(inst, source, hub)
    read_links(inst, source)
    for _ in range(5):
        hub.next_answer(500)

    rounds = []
    for _ in range(5):
        rounds.append(request_due(inst))
        clock.move(days=2)

    assert rounds == [1, 1, 1, 0, 0]
    assert subscription_of(inst, source) is None


def test_a_source_that_was_removed_is_over_for_its_hub(inst: Installation, source: Source, hub: Hub) -> None:
    subscribed(inst, source, hub)
    with writing(inst.engine) as conn:
        sources.remove_source(conn, source.id)

    assert hub.push(feed(n1="Late")) == 410
    assert hub.say("subscribe")[0] == 404
    assert hub.say("unsubscribe") == (200, "c-h-a-l")


def test_a_push_for_a_paused_source_changes_nothing(inst: Installation, source: Source, hub: Hub) -> None:
    subscribed(inst, source, hub)
    with writing(inst.engine) as conn:
        sources.set_source_state(conn, source.id, SourceState.PAUSED)

    assert hub.push(feed(n1="First")) == 202

    assert not is_due(inst, source)


def test_a_source_that_is_taken_up_again_is_subscribed_to_anew(
    inst: Installation, source: Source, hub: Hub
) -> None:
    subscribed(inst, source, hub)
    hub.next_answer(500)
    with writing(inst.engine) as conn:
        sources.set_source_state(conn, source.id, SourceState.PAUSED)
    request_due(inst)
    assert standing(inst, source).state is HubState.ENDED
    with writing(inst.engine) as conn:
        sources.set_source_state(conn, source.id, SourceState.ACTIVE)

    subscribed(inst, source, hub)

    assert standing(inst, source).state is HubState.ACTIVE
    assert hub.callback != hub.forms[0]["hub.callback"]


# Reliance


def test_a_hub_that_was_silent_about_news_is_not_relied_on_until_it_pushes_again(
    inst: Installation, source: Source, hub: Hub, clock: FakeClock
) -> None:
    subscribed(inst, source, hub)
    assert not is_relied_on(inst, source), "it has not shown that it pushes"
    hub.push(b"")
    clock.move(minutes=5)
    read_links(inst, source, hub.url, is_news=True)
    assert is_relied_on(inst, source), "the news is what it announced"

    clock.move(hours=20)
    with writing(inst.engine) as conn:
        poll_tomorrow(conn, source.id, clock.at)
    read_links(inst, source, hub.url, is_news=False)
    assert is_relied_on(inst, source)
    assert not is_due(inst, source)
    read_links(inst, source, hub.url, is_news=True)
    assert not is_relied_on(inst, source)
    assert is_due(inst, source), "what else it was silent about is not waited for"
    assert standing(inst, source).state is HubState.ACTIVE

    hub.push(b"")
    assert is_relied_on(inst, source)


def test_a_hub_that_confirms_and_then_fails_has_confirmed(
    inst: Installation, source: Source, hub: Hub, clock: FakeClock
) -> None:
    read_links(inst, source, hub.url)
    request_due(inst)
    hub.confirm()
    confirmed = standing(inst, source)
    clock.at = confirmed.renew_at or clock.at

    class Confirming(list[tuple[int, dict[str, str], str]]):
        def pop(self, *_args: object) -> tuple[int, dict[str, str], str]:  # type: ignore[override]
            hub.confirm()
            return 500, {}, "too late"

        def __bool__(self) -> bool:
            return True

    hub.answers = Confirming()
    request_due(inst)

    after = standing(inst, source)
    assert (after.state, after.failures, after.last_error) == (HubState.ACTIVE, 0, "")
    assert after.renew_at == clock.at + timedelta(days=8)


def test_a_source_is_read_subscribed_to_pushed_and_from_then_on_looked_at_once_a_day(
    inst: Installation, hub: Hub, stored: threading.Semaphore, clock: FakeClock
) -> None:
    with writing(inst.engine) as conn:
        source = add_source(conn, clock.at, location=hub.topic, is_intranet=True)
        add_newsletter(conn, clock.at, draws_from=[source.id])
    hub.document = feed(n1="First")
    assert [report.baseline for report in collect_due(inst)] == [1]
    assert request_due(inst) == 1
    hub.confirm(topic=hub.topic)

    clock.move(minutes=1)
    hub.document = feed(n2="Second", n1="First")
    assert hub.push(hub.document) == 202
    assert stored.acquire(timeout=30)
    assert titles(inst) == ["First", "Second"]

    [report] = collect_due(inst)
    assert (report.new, report.same) == (0, 2)
    with reading(inst.engine) as conn:
        wait = sources.get_source(conn, source.id).next_due_at - clock.at
    assert timedelta(hours=21) < wait < timedelta(hours=27)


def test_a_site_that_hubs_cannot_reach_subscribes_to_nothing(inst: Installation, source: Source) -> None:
    site = inst.settings.site.model_copy(update={"url": "http://127.0.0.1:8000"})
    hidden = replace(inst, settings=inst.settings.model_copy(update={"site": site}))

    assert read_links(hidden, source, "https://hub.example.org/") is None
    assert read_links(inst, source, "https://hub.example.org/") is not None


def receipt_of(
    inst: Installation, *, is_signed: bool = True, body: bytes = b"<rss/>", **changes: object
) -> Receipt:
    """What becomes of a push for a source with a baseline; the changes are of its subscription."""
    made, nonce = Callbacks(inst.settings.secret), "ab" * 16
    with writing(inst.engine) as conn:
        source = sources.find_source(conn, TOPIC) or add_source(conn, inst.clock(), location=TOPIC)
        values = {
            "hub_url": "https://hub.example.org/",
            "topic_url": TOPIC,
            "state": HubState.ACTIVE,
        } | changes
        put_subscription(
            conn,
            HubSubscription(source_id=source.id, nonce=nonce, renew_at=None, **values),  # type: ignore[arg-type]  # as named
        )
    code = hmac.new(made.secret(source.id, nonce).encode(), body, "sha256").hexdigest()
    signature = f"sha256={code}" if is_signed else ""
    return receive(inst, source.id, made.token(source.id, nonce), signature=signature, body=body)


def test_only_what_is_signed_by_its_hub_and_the_sources_own_is_content(
    inst: Installation, source: Source
) -> None:
    assert receipt_of(inst) is Receipt.CONTENT
    assert receipt_of(inst, is_signed=False) is Receipt.IGNORED
    assert receipt_of(inst, body=b" \n") is Receipt.NOTED
    assert receipt_of(inst, hub_url="http://hub.example.org/") is Receipt.NOTED
    assert receipt_of(inst, hub_url="http://hub.example.org/", is_signed=False) is Receipt.NOTED
    assert receipt_of(inst, topic_url="https://elsewhere.example.org/all.xml") is Receipt.NOTED
    assert receipt_of(inst, state=HubState.PENDING) is Receipt.UNKNOWN
    assert receipt_of(inst, state=HubState.DENIED) is Receipt.OVER
    assert receipt_of(inst, state=HubState.ENDED) is Receipt.OVER

    with writing(inst.engine) as conn:
        sources.set_source_state(conn, source.id, SourceState.LOST)
    assert receipt_of(inst) is Receipt.CONTENT
    with writing(inst.engine) as conn:
        conn.execute(update(tables.source).values(baseline_at=None))
    assert receipt_of(inst) is Receipt.NOTED
    with writing(inst.engine) as conn:
        sources.set_source_state(conn, source.id, SourceState.GONE)
    assert receipt_of(inst) is Receipt.IGNORED


def test_a_hub_confirms_and_pushes_on_either_database(engine: Engine, tmp_path: Path) -> None:
    inst = make_installation(engine, tmp_path)
    made, nonce = Callbacks(inst.settings.secret), "ab" * 16
    with writing(engine) as conn:
        source = add_source(conn, inst.clock())
        pending = HubSubscription(
            source_id=source.id,
            hub_url="https://hub.example.org/",
            topic_url=TOPIC,
            nonce=nonce,
            state=HubState.PENDING,
            renew_at=inst.clock(),
        )
        put_subscription(conn, pending)
    token = made.token(source.id, nonce)
    intent = {"hub.mode": "subscribe", "hub.topic": TOPIC, "hub.challenge": "c"}
    code = hmac.new(made.secret(source.id, nonce).encode(), b"<rss/>", "sha256").hexdigest()

    assert verify(inst, source.id, token, intent) == "c"
    assert receive(inst, source.id, token, signature=f"sha256={code}", body=b"<rss/>") is Receipt.NOTED
    assert is_relied_on(inst, source)
