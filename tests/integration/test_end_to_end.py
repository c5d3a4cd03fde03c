"""The main job as one story: sources, feeds, a digest by SMTP, confirming, leaving, the next edition."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email import message_from_bytes, policy
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_network
from pathlib import Path
from urllib.parse import urlsplit

import feedparser
import pytest
from sqlalchemy import Engine
from starlette.testclient import TestClient

from syndicate.deliver.postbox import Postbox, get_message, list_messages
from syndicate.model import ANY_CADENCE, DeliveryState, EditionState
from syndicate.service.collecting import collect_due, collect_source
from syndicate.service.editions import open_edition, plan_edition
from syndicate.service.installation import Installation
from syndicate.service.letters import send_letters
from syndicate.service.newsletters import NewsletterChanges, add_newsletter
from syndicate.service.people import add_subscriber
from syndicate.service.sending import send_edition
from syndicate.service.sources import add_source
from syndicate.settings import DeliverySettings, FetchSettings, Settings, SiteSettings, SmtpSettings
from syndicate.web.app import create_app
from tests.eml_checklist import check_eml

FEED = """<?xml version="1.0" encoding="utf-8"?>
<rss version="2.0"><channel><title>Elsewhere</title><link>https://elsewhere.example.org/</link>
<description>A feed from elsewhere</description>{items}</channel></rss>"""
ITEM = """<item><title>{title}</title><link>https://elsewhere.example.org/{n}</link>
<guid>urn:elsewhere:{n}</guid><category>Coast</category>
<pubDate>Tue, 10 Mar 2026 0{n}:00:00 GMT</pubDate>
<description>&lt;p&gt;About {title}, at length, so that there is something to read.&lt;/p&gt;</description>
</item>"""


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self, at: datetime) -> None:
        self.at = at

    def __call__(self) -> datetime:
        return self.at


class Site:
    """A web server on loopback whose feed the test writes."""

    def __init__(self) -> None:
        self.items: list[str] = []
        site = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = FEED.format(items="".join(site.items)).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/rss+xml")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/feed"


@pytest.fixture
def site() -> Iterator[Site]:
    site = Site()
    thread = threading.Thread(target=site.server.serve_forever)
    thread.start()
    yield site
    site.server.shutdown()
    thread.join()
    site.server.server_close()


@pytest.fixture
def postbox(tmp_path: Path) -> Iterator[Postbox]:
    with Postbox(tmp_path / "mails") as postbox:
        yield postbox


def write(folder: Path, name: str, title: str, day: int, tags: str) -> None:
    folder.mkdir(exist_ok=True)
    head = f"---\ntitle: {title}\ndate: 2026-03-{day:02}\ntags: [{tags}]\n---\n"
    text = f"{head}What there is to say about {title}.\n"
    (folder / name).write_text(text, "utf-8")


def mails_to(folder: Path, address: str) -> list[EmailMessage]:
    """What an address has got, the oldest first."""
    found = [m for m in reversed(list_messages(folder)) if m.to == address]
    parsed = (message_from_bytes(get_message(folder, m.key), policy=policy.default) for m in found)
    return [message for message in parsed if isinstance(message, EmailMessage)]


def text_of(message: EmailMessage) -> str:
    part = message.get_body(("plain",))
    assert part is not None
    return str(part.get_content())


def path_in(message: EmailMessage, kind: str) -> str:
    """The path of a link of ours in a mail."""
    found = re.search(rf"https://\S+(/{kind}/[\w.-]+)", text_of(message))
    assert found, text_of(message)
    return found[1]


def test_the_whole_job_from_sources_to_the_next_edition(
    engine: Engine, tmp_path: Path, site: Site, postbox: Postbox
) -> None:
    clock = Clock(datetime.now(UTC) + timedelta(hours=1))
    host, port = postbox.address
    settings = Settings(
        site=SiteSettings(title="News", url="https://news.example.org", secret="x" * 40),
        smtp=SmtpSettings(host=host, port=port, tls="none"),
        fetch=FetchSettings(allow_private=(ip_network("127.0.0.0/8"),), host_gap_s=0.0),
        delivery=DeliverySettings(connections=2),
        folder=tmp_path,
    )
    inst = Installation(settings=settings, engine=engine, clock=clock)
    mails = tmp_path / "mails"
    newsletter = add_newsletter(
        inst,
        "notes",
        NewsletterChanges(
            title="Coastal Notes",
            description="Notes from the coast.",
            from_email="notes@example.org",
            postal_address="1 Harbour Street, Exampleton",
            topics=("Coast", "Woods"),
        ),
    )

    # Collect: what was there is baseline, what comes afterwards is new; a second look changes nothing.
    folder = tmp_path / "articles"
    write(folder, "old.md", "An old one", 1, "Coast")
    site.items = [ITEM.format(title="Old elsewhere", n=1)]
    from_folder = add_source(inst, str(folder)).source
    from_feed = add_source(inst, site.url).source
    assert {r.baseline for r in collect_due(inst)} == {1}
    write(folder, "tides.md", "Of tides & <em>moons</em>", 11, "Coast")
    write(folder, "oaks.md", "Of oaks", 12, "Woods")
    site.items.insert(0, ITEM.format(title="New elsewhere", n=2))
    assert [collect_source(inst, s.id).new for s in (from_folder, from_feed)] == [2, 1]
    assert [collect_source(inst, s.id).new for s in (from_folder, from_feed)] == [0, 0]

    # Feeds: all five articles, baseline included, and 304 to who has them.
    web = TestClient(create_app(inst), base_url="https://news.example.org")
    served = web.get("/notes/feed.xml")
    assert len(feedparser.parse(served.content).entries) == 5
    assert web.get("/notes/feed.xml", headers={"If-None-Match": served.headers["etag"]}).status_code == 304
    assert len(web.get("/notes/topics/woods/feed.json").json()["items"]) == 1

    # Readers: one by the operator, one by the form, who confirms.
    add_subscriber(
        inst, newsletter, email="all@example.com", name="Ann", cadence=None, topics=[], statement="said so"
    )
    web.post("/notes/subscribe", data={"email": "woods@example.com", "name": "", "topics": "woods"})
    assert send_letters(inst) == 1
    [letter] = mails_to(mails, "woods@example.com")
    confirm = path_in(letter, "confirm")
    assert web.get(confirm).status_code == 200
    planned = plan_edition(inst, newsletter, cadence=ANY_CADENCE)
    assert planned is not None
    assert planned.readers == 1, "opening the link confirms nothing"
    assert web.post(confirm).status_code == 200

    # Digest: each gets exactly what is new and chosen, once, and the mail meets the checklist.
    opened = open_edition(inst, newsletter, cadence=ANY_CADENCE, slot="first", reason="test")
    assert opened is not None
    report = send_edition(inst, opened.edition.id)
    assert report.edition.state is EditionState.SENT
    assert report.counts[DeliveryState.SENT] == 2
    [to_ann] = mails_to(mails, "all@example.com")
    [_, to_woods] = mails_to(mails, "woods@example.com")
    assert all(title in text_of(to_ann) for title in ("New elsewhere", "Of tides & moons", "Of oaks"))
    assert not any(title in text_of(to_ann) for title in ("An old one", "Old elsewhere"))
    assert "Of oaks" in text_of(to_woods)
    assert "Of tides" not in text_of(to_woods)
    assert "New elsewhere" not in text_of(to_woods)
    for key in (m.key for m in list_messages(mails) if "confirm" not in m.subject.lower()):
        raw = get_message(mails, key)
        sent = raw[raw.index(b"\r\n", raw.index(b"X-Original-To")) + 2 :]
        assert check_eml(sent) == []
    assert open_edition(inst, newsletter, cadence=ANY_CADENCE, slot="again", reason="test") is None
    assert web.get(f"/notes/editions/{opened.edition.id}").status_code == 200

    # Leave by one click, as a mail program does it; the next edition goes to the other reader only.
    one_click = urlsplit(str(to_woods["List-Unsubscribe"]).strip("<>")).path
    left = web.post(one_click, data={"List-Unsubscribe": "One-Click"}, follow_redirects=False)
    assert left.status_code == 200
    clock.at += timedelta(days=1)
    write(folder, "more-oaks.md", "More of oaks", 13, "Woods")
    assert collect_source(inst, from_folder.id).new == 1
    following = open_edition(inst, newsletter, cadence=ANY_CADENCE, slot="second", reason="test")
    assert following is not None
    assert following.readers == 1
    assert send_edition(inst, following.edition.id).counts[DeliveryState.SENT] == 1
    assert len(mails_to(mails, "woods@example.com")) == 2
    [_, second] = mails_to(mails, "all@example.com")
    assert "More of oaks" in text_of(second)
    assert "Of tides" not in text_of(second)
