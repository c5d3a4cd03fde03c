"""An installation as visitors meet it: the samples published, one edition sent, readers of each kind."""

from __future__ import annotations

import shutil
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import uvicorn
from fastapi import FastAPI
from sqlalchemy import select
from starlette.testclient import TestClient

import subscribers.tables
import syndicate
import syndicate.storage.tables
from subscribers.model import ConsentMethod, Subscription
from syndicate.deliver.postbox import Postbox
from syndicate.model import ANY_CADENCE, Newsletter
from syndicate.service.collecting import collect_due
from syndicate.service.editions import open_edition
from syndicate.service.feeds import refresh_feeds
from syndicate.service.installation import Installation
from syndicate.service.newsletters import NewsletterChanges, add_newsletter, get_newsletter
from syndicate.service.people import add_subscriber, show_subscriber, suppress_address
from syndicate.service.sending import send_edition
from syndicate.service.sources import add_source
from syndicate.service.subscribing import subscribe, unsubscribe
from syndicate.settings import Settings, SiteSettings, SmtpSettings
from syndicate.storage.engine import migrate, open_engine, reading
from syndicate.web.app import create_app

__all__ = ["ARTICLES", "SLUG", "Clock", "Website", "build", "open_website", "serving"]

SLUG = "tide-timber"
SAMPLES = Path(syndicate.__file__).parent / "samples" / "articles"
#: Articles in that folder.
ARTICLES = 14


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self, at: datetime) -> None:
        self.at = at

    def __call__(self) -> datetime:
        return self.at


@dataclass(frozen=True, kw_only=True)
class Website:
    """An installation, its clock, and the folder of the mails that its relay took."""

    inst: Installation
    clock: Clock
    mails: Path

    @property
    def newsletter(self) -> Newsletter:
        return get_newsletter(self.inst, SLUG)

    def app(self) -> FastAPI:
        return create_app(self.inst, postbox_folder=self.mails)

    def client(self, **changes: bool) -> TestClient:
        """A client that follows no redirect."""
        base = self.inst.urls.absolute("")
        return TestClient(self.app(), base_url=base, follow_redirects=False, **changes)

    def subscription(self, email: str) -> Subscription:
        """The only subscription of an address."""
        [(_, subscription)] = show_subscriber(self.inst, email).subscriptions
        return subscription

    def confirm_path(self, email: str) -> str:
        subscription = self.subscription(email)
        return self.inst.urls.confirm(self.inst.links.confirm(subscription.id, now=self.clock()))

    def unsubscribe_path(self, email: str) -> str:
        return self.inst.urls.unsubscribe(self.inst.links.unsubscribe(self.subscription(email).id))

    def preferences_path(self, email: str) -> str:
        return self.inst.urls.preferences(self.inst.links.preferences(self.subscription(email).id))

    def dump(self) -> dict[str, list[tuple[object, ...]]]:
        """Every row of every table."""
        rooms = (subscribers.tables.metadata, syndicate.storage.tables.metadata)
        tables = {table.name: table for each in rooms for table in each.sorted_tables}
        with reading(self.inst.engine) as conn:
            return {
                name: sorted((tuple(row) for row in conn.execute(select(table))), key=repr)
                for name, table in tables.items()
            }


def build(folder: Path) -> None:
    """Makes ``site.db`` and ``mails`` in an empty folder, to be copied.

    ada@example.com is an active reader, bob@example.com one of Woods only, pia@example.com has not confirmed,
    leo@example.com has left, sue@example.com is suppressed.
    """
    engine = open_engine(f"sqlite:///{folder / 'site.db'}")
    migrate(engine)
    clock = Clock(datetime.now(UTC))
    with Postbox(folder / "mails") as postbox:
        inst = Installation(settings=_settings(folder, relay=postbox.address), engine=engine, clock=clock)
        newsletter = add_newsletter(
            inst,
            SLUG,
            NewsletterChanges(
                title="Tide & Timber",
                description="Coasts, woods, craft and the night sky, for curious people.",
                from_email="letters@example.org",
                postal_address="1 Harbour Street, Exampleton",
                topics=("Coast", "Woods", "Craft", "Night sky"),
            ),
        )
        add_source(inst, str(SAMPLES), newsletter_slug=SLUG, backfill="all")
        collect_due(inst)
        for name, topics in (("ada", []), ("bob", ["woods"]), ("leo", []), ("sue", [])):
            add_subscriber(
                inst,
                newsletter,
                email=f"{name}@example.com",
                name=name.title(),
                cadence=None,
                topics=topics,
                statement="said so",
            )
        opened = open_edition(inst, newsletter, cadence=ANY_CADENCE, slot="first", reason="test")
        assert opened is not None
        sent = send_edition(inst, opened.edition.id)
        assert sent.fault is None
    [(_, leaving)] = show_subscriber(inst, "leo@example.com").subscriptions
    unsubscribe(
        inst, inst.links.unsubscribe(leaving.id), method=ConsentMethod.ONE_CLICK, proof="198.51.100.7"
    )
    suppress_address(inst, "sue@example.com", evidence="asked by post")
    subscribe(inst, SLUG, email="pia@example.com", name="Pia", choices={}, proof="198.51.100.8")
    refresh_feeds(inst)
    engine.dispose()


@contextmanager
def open_website(
    built: Path,
    folder: Path,
    *,
    url: str = "https://news.example.org",
    relay: tuple[str, int] = ("127.0.0.1", 9),
) -> Iterator[Website]:
    """A copy, in a folder of its own, of what ``build`` made; it is two days later there."""
    shutil.copyfile(built / "site.db", folder / "site.db")
    shutil.copytree(built / "mails", folder / "mails", dirs_exist_ok=True)
    engine = open_engine(f"sqlite:///{folder / 'site.db'}")
    clock = Clock(datetime.now(UTC) + timedelta(days=2))
    settings = _settings(folder, url=url, relay=relay)
    yield Website(
        inst=Installation(settings=settings, engine=engine, clock=clock),
        clock=clock,
        mails=folder / "mails",
    )
    engine.dispose()


@contextmanager
def serving(app: FastAPI, listening: socket.socket) -> Iterator[None]:
    """The application on a socket, in a thread."""
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    try:
        yield
    finally:
        server.should_exit = True
        thread.join()


def _settings(folder: Path, *, url: str = "https://news.example.org", relay: tuple[str, int]) -> Settings:
    return Settings(
        site=SiteSettings(title="Harbour News", url=url, secret="x" * 40),
        smtp=SmtpSettings(host=relay[0], port=relay[1], tls="none"),
        folder=folder,
    )
