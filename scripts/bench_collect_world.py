"""Installations that the figures of collecting are taken on: sources of which none has been read.

They are on loopback, all of one host, which is allowed as many connections as there are and needs no pauses.
"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from scripts.bench_feeds import NEWEST_AT
from syndicate.model import SourceKind, UncertainPolicy
from syndicate.service.installation import open_installation
from syndicate.settings import load_settings
from syndicate.storage import newsletters, sources
from syndicate.storage.engine import migrate, open_engine, writing

ADDED_AT = NEWEST_AT + timedelta(hours=12)
CONFIG = "syndicate.toml"
_SETTINGS = """
site.secret = "benchmark benchmark benchmark benchmark"
[fetch]
allow_private = ["127.0.0.0/8"]
connections = 50
host_connections = 50
host_gap_s = 0
"""


def make_sources(folder: Path, port: int, feeds: int) -> None:
    """An installation with so many sources of one newsletter, none of which has been read."""
    config = folder / CONFIG
    folder.mkdir()
    config.write_text(_SETTINGS, "utf-8")
    engine = open_engine(load_settings(config).database_url)
    migrate(engine)
    engine.dispose()
    with open_installation(config, clock=lambda: ADDED_AT) as inst, writing(inst.engine) as conn:
        newsletter = newsletters.add_newsletter(
            conn,
            now=ADDED_AT,
            slug="tide",
            title="Tide & Timber",
            description="Coasts, woods and craft",
            language="en",
            from_name="Tide & Timber",
            from_email="letters@example.org",
            reply_to="",
            postal_address="1 Harbour Street, Exampleton",
            subject_template="{{ title }}",
            topics=("Coast", "Craft"),
            cadences=("weekly",),
            time_zone="UTC",
            uncertain_policy=UncertainPolicy.RESEND,
        )
        for number in range(1, feeds + 1):
            added = sources.add_source(
                conn,
                kind=SourceKind.FEED,
                location=f"http://127.0.0.1:{port}/feed/{number}.xml",
                title="",
                backfill="none",
                now=ADDED_AT,
                is_intranet=True,
            )
            newsletters.join_source(conn, newsletter.id, added.id, from_sequence=0, now=ADDED_AT)
