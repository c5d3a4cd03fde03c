"""Installations that the figures of sending are taken on: a database with an edition that nobody has got yet.

Readers are stored set-based, as no use case does. Measures nothing and sends nothing.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from random import Random

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from sqlalchemy import Connection, bindparam, insert, text

from subscribers import tables as theirs
from subscribers.tables import UtcDateTime
from syndicate.model import ANY_CADENCE, Newsletter, Origin, ParsedArticle, SourceKind, UncertainPolicy
from syndicate.service.editions import open_edition
from syndicate.service.installation import Installation, open_installation, utc_now
from syndicate.settings import load_settings
from syndicate.storage import articles, newsletters, sources
from syndicate.storage.engine import migrate, open_engine, writing

SHOWN = 13  #: articles in each reader's message: it has about 40 KB then
CONFIG = "syndicate.toml"
KEY_FILE = "dkim.pem"
_DATABASE = "syndicate.db"
_TOPICS = ("Coast", "Woods", "Craft", "Night sky")

_READERS = (
    """
    INSERT INTO subscriber (id, email, email_key, name, language, time_zone, created_at)
    WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < :readers)
    SELECT i, 'reader' || i || '@example.com', 'reader' || i || '@example.com', 'Ada Reader ' || i, '', '',
      :now FROM n
    """,
    """
    INSERT INTO subscription
      (id, subscriber_id, newsletter_id, status, cadence, topics, watermark, created_at)
    SELECT id, id, :newsletter, 'active', 'weekly', '', 0, :now FROM subscriber
    """,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """A folder with a database, and the edition in it that is to be sent."""

    folder: Path
    edition_id: int
    readers: int

    @property
    def config(self) -> Path:
        """The configuration file."""
        return self.folder / CONFIG

    def copy_to(self, folder: Path) -> World:
        """The same once more, since an edition is sent only once."""
        folder.mkdir()
        shutil.copy(self.folder / _DATABASE, folder / _DATABASE)
        return World(folder=folder, edition_id=self.edition_id, readers=self.readers)

    def configure(
        self, *, port: int, connections: int, window: int | None = None, signs: bool = False
    ) -> None:
        """Writes the configuration file for one run."""
        lines = ['site.secret = "benchmark benchmark benchmark benchmark"', "[smtp]"]
        lines += ['host = "127.0.0.1"', f"port = {port}", 'tls = "none"']
        lines += ["[delivery]", f"connections = {connections}", *([f"window = {window}"] if window else [])]
        if signs:
            _make_key(self.folder / KEY_FILE)
            lines += ["[dkim]", 'domain = "example.org"', 'selector = "bench"', f'key_file = "{KEY_FILE}"']
        self.config.write_text("\n".join(lines) + "\n", "utf-8")

    def delete(self) -> None:
        """Frees the disk."""
        shutil.rmtree(self.folder)


def make_world(folder: Path, readers: int, *, is_individual: bool = False) -> World:
    """An installation with an edition for that many readers, approved and not begun.

    All of them get the same articles; or, ``is_individual``, each another choice of as many.
    """
    folder.mkdir()
    world = World(folder=folder, edition_id=0, readers=readers)
    world.configure(port=25, connections=1)
    engine = open_engine(load_settings(world.config).database_url)
    migrate(engine)
    engine.dispose()
    with open_installation(world.config) as inst:
        newsletter = _fill(inst, readers, is_individual=is_individual)
        opened = open_edition(inst, newsletter, cadence=ANY_CADENCE, slot="bench", reason="benchmark")
    if opened is None or opened.readers != readers:
        raise SystemExit("the benchmark's edition has not the readers that it should have")
    return World(folder=folder, edition_id=opened.edition.id, readers=readers)


def _fill(inst: Installation, readers: int, *, is_individual: bool) -> Newsletter:
    with writing(inst.engine) as conn:
        source = sources.add_source(
            conn,
            kind=SourceKind.FEED,
            location="https://example.org/feed",
            title="",
            backfill="none",
            now=utc_now(),
        )
        newsletter = newsletters.add_newsletter(
            conn,
            now=utc_now(),
            slug="tide",
            title="Tide & Timber",
            description="Coasts, woods, craft and the night sky",
            language="en",
            from_name="Tide & Timber",
            from_email="letters@example.org",
            reply_to="",
            postal_address="1 Harbour Street, Exampleton",
            subject_template="{{ title }}: {{ lead }}",
            topics=_TOPICS,
            cadences=("weekly",),
            time_zone="UTC",
            uncertain_policy=UncertainPolicy.RESEND,
        )
        newsletters.join_source(conn, newsletter.id, source.id, from_sequence=0, now=utc_now())
        for number in range(1, SHOWN * (2 if is_individual else 1) + 1):
            _add_article(conn, source.id, number)
        for statement in _READERS:
            values = {"readers": readers, "newsletter": newsletter.id, "now": utc_now()}
            names = {name: value for name, value in values.items() if f":{name}" in statement}
            conn.execute(text(statement).bindparams(bindparam("now", type_=UtcDateTime)), names)
        if is_individual:
            _choose(conn, readers)
    return newsletter


def _add_article(conn: Connection, source_id: int, number: int) -> None:
    """An article with a tag of its own, by which a reader can choose it alone."""
    parsed = ParsedArticle(
        guid=f"urn:bench:{number}",
        url=f"https://example.org/articles/{number}",
        title=f"What the tide left behind, part {number}",
        content_html="<p>" + "The shore is never the same shore twice. " * 60 + "</p>",
        summary="The shore is never the same shore twice, and who walks it in the morning knows why. " * 3,
        tags=(_TOPICS[number % len(_TOPICS)], f"part-{number:02}"),
    )
    sequence = articles.take_sequences(conn, 1)
    articles.add_article(
        conn,
        parsed,
        source_id=source_id,
        sequence=sequence,
        atom_id=parsed.guid,
        origin=Origin.NEW,
        now=utc_now(),
    )


def _choose(conn: Connection, readers: int) -> None:
    """Gives each reader another choice among twice as many articles as a message has."""
    random, parts = Random(7), [f"part-{number:02}" for number in range(1, 2 * SHOWN + 1)]  # noqa: S311 - no secret
    choices: dict[tuple[str, ...], int] = {}
    while len(choices) < readers:
        choices.setdefault(tuple(sorted(random.sample(parts, SHOWN))), len(choices) + 1)
    update = theirs.subscription.update().where(theirs.subscription.c.id == bindparam("of"))
    conn.execute(
        update.values(topics=bindparam("chosen")),
        [{"of": reader, "chosen": ",".join(choice)} for choice, reader in choices.items()],
    )
    conn.execute(
        insert(theirs.subscription_topic),
        [
            {"subscription_id": reader, "topic": topic}
            for choice, reader in choices.items()
            for topic in choice
        ],
    )


def _make_key(path: Path) -> None:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    # The traditional form, since it is the one that dkimpy reads for certain.
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    path.touch(mode=0o600)
    path.write_bytes(pem)
