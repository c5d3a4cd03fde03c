"""An installation for tests of use cases: a clock moved by hand, a scripted relay, and what was mailed."""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email import message_from_bytes, policy
from email.message import EmailMessage
from functools import cache
from ipaddress import ip_network
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, select

from subscribers.tables import metadata as theirs
from syndicate.model import ANY_CADENCE, Edition, Newsletter
from syndicate.service.editions import open_edition
from syndicate.service.installation import Installation
from syndicate.settings import DeliverySettings, FetchSettings, Settings, SiteSettings, SmtpSettings
from syndicate.storage.engine import reading, writing
from syndicate.storage.tables import metadata as ours
from tests import builders
from tests.smtp_server import Accepted, ScriptedServer

__all__ = [
    "SECRET",
    "START",
    "FakeClock",
    "articles_of",
    "articles_to",
    "dump",
    "make_installation",
    "message_id_of",
    "open_now",
    "publish",
    "relay_in_thread",
]

START = datetime(2026, 3, 14, 9, 26, tzinfo=UTC)
SECRET = "k" * 40


class FakeClock:
    """A clock that stands still until it is moved."""

    def __init__(self, at: datetime = START) -> None:
        self.at = at

    def __call__(self) -> datetime:
        return self.at

    def move(self, **by: float) -> None:
        self.at += timedelta(**by)


def make_installation(
    engine: Engine,
    folder: Path,
    *,
    port: int = 9,
    clock: Callable[[], datetime] | None = None,
    smtp: dict[str, Any] | None = None,
    **delivery: Any,
) -> Installation:
    """An installation whose relay is at a port of this machine (9: nobody there)."""
    smtp_values = {"host": "127.0.0.1", "port": port, "tls": "none"} | (smtp or {})
    settings = Settings(
        site=SiteSettings(title="News", url="https://news.example.org", secret=SECRET),
        smtp=SmtpSettings(**smtp_values),
        fetch=FetchSettings(allow_private=(ip_network("127.0.0.0/8"),), host_gap_s=0.0),
        delivery=DeliverySettings(**{"connections": 2} | delivery),
        folder=folder,
    )
    return Installation(settings=settings, engine=engine, clock=clock or FakeClock())


@contextmanager
def relay_in_thread(*, server: ScriptedServer | None = None, **script: Any) -> Iterator[ScriptedServer]:
    """The scripted server with a loop of its own, so that code that runs a loop itself can be tested."""
    server = server or ScriptedServer(**script)
    started: Future[None] = Future()
    loop = asyncio.new_event_loop()
    stopping = asyncio.Event()

    async def serve() -> None:
        async with server:
            started.set_result(None)
            await stopping.wait()

    thread = threading.Thread(target=lambda: asyncio.Runner(loop_factory=lambda: loop).run(serve()))
    thread.start()
    started.result(10)
    try:
        yield server
    finally:
        loop.call_soon_threadsafe(stopping.set)
        thread.join()
        loop.close()


def publish(inst: Installation, source_id: int, *tags: str) -> int:
    """The next article, ``Article number N``; returns its number."""
    with writing(inst.engine) as conn:
        return builders.add_article(conn, source_id, inst.clock(), tags=tags)


def open_now(inst: Installation, newsletter: Newsletter, *, held: str = "") -> Edition:
    """An edition of everything that is new to anybody."""
    slot = f"test {inst.clock().isoformat()}"
    opened = open_edition(inst, newsletter, cadence=ANY_CADENCE, slot=slot, reason="a test", held=held)
    assert opened is not None, "there is nothing new to anybody"
    return opened.edition


def _parsed(content: bytes) -> EmailMessage:
    message = message_from_bytes(content, policy=policy.default)
    assert isinstance(message, EmailMessage)
    return message


def articles_of(content: bytes) -> list[int]:
    """The numbers of the articles in a message, by its text part; its HTML part has the same."""
    found = []
    for kind in ("plain", "html"):
        part = _parsed(content).get_body((kind,))
        assert part is not None
        found.append(sorted({int(n) for n in re.findall(r"About article (\d+)\.", part.get_content())}))
    assert found[0] == found[1]
    return found[0]


@cache  # the long proofs ask for each message after each kill
def message_id_of(content: bytes) -> str:
    return str(_parsed(content)["Message-ID"])


def articles_to(accepted: Sequence[Accepted], address: str) -> list[list[int]]:
    """What each mail to an address had, in the order in which they were accepted."""
    return [articles_of(mail.content) for mail in accepted if mail.recipient == address]


def dump(engine: Engine, *, without: Collection[str] = ()) -> dict[str, list[tuple[Any, ...]]]:
    """Every row of every table, but for the named columns ("table.column")."""
    tables = {table.name: table for each in (theirs, ours) for table in each.sorted_tables}
    with reading(engine) as conn:
        found = {}
        for name, table in tables.items():
            columns = [c for c in table.columns if f"{name}.{c.name}" not in without]
            found[name] = sorted((tuple(row) for row in conn.execute(select(*columns))), key=repr)
        return found
