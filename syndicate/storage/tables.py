"""The tables of ``syndicate``. Those of the readers are in ``subscribers.tables``, in the same database.

No statements. A delivery does not refer to the subscriber's row by a foreign key: an erased person leaves
the ledger's counts as they were.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import (
    JSON,
    Boolean,
    CheckConstraint,
    Column,
    Date,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)

from subscribers.tables import NAMING, Key, UtcDateTime

__all__ = [
    "article",
    "article_alias",
    "article_topic",
    "counter",
    "delivery",
    "edition",
    "edition_article",
    "edition_content",
    "feed_document",
    "held_article",
    "hub_subscription",
    "letter",
    "metadata",
    "newsletter",
    "newsletter_source",
    "relay_usage",
    "revision",
    "schedule",
    "shard",
    "source",
    "source_file",
]

metadata: Final = MetaData(naming_convention=NAMING)

#: One row for each number that must grow without gaps in visibility: whoever takes a number holds the row
#: until the commit, so nobody sees a sequence while a lower one is still uncommitted.
counter: Final = Table(
    "counter",
    metadata,
    Column("name", String(32), primary_key=True),
    Column("value", Key, nullable=False),
)

source: Final = Table(
    "source",
    metadata,
    Column("id", Key, primary_key=True),
    Column("kind", String(16), nullable=False),
    Column("location", Text, nullable=False),
    Column("title", Text, nullable=False),
    Column("state", String(16), nullable=False),
    Column("backfill", String(16), nullable=False),
    Column("baseline_at", UtcDateTime, nullable=True),
    Column("etag", Text, nullable=False),
    Column("last_modified", Text, nullable=False),
    Column("body_hash", String(64), nullable=False),
    Column("interval_s", Integer, nullable=False),
    Column("next_due_at", UtcDateTime, nullable=False, index=True),
    Column("last_checked_at", UtcDateTime, nullable=True),
    Column("last_success_at", UtcDateTime, nullable=True),
    Column("failures", Integer, nullable=False),
    Column("failing_since", UtcDateTime, nullable=True),
    Column("error_reason", String(40), nullable=False),
    Column("last_error", Text, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("full_text", String(16), nullable=False),
    Column("selector", Text, nullable=False),
    Column("rules", JSON, nullable=False),
    Column("topic_map", JSON, nullable=False),
    Column("needs_approval", Boolean, nullable=False),
    Column("is_intranet", Boolean, nullable=False),
    Column("validators_url", Text, nullable=False),
    Column("parser_version", Integer, nullable=False),
    Column("full_fetch_at", UtcDateTime, nullable=True),
    Column("moved_to", Text, nullable=False),
    Column("moved_since", UtcDateTime, nullable=True),
    Column("moved_seen", Integer, nullable=False),
    Column("earlier_locations", JSON, nullable=False),
    Column("lease_expires_at", UtcDateTime, nullable=True),
    Column("fence", Integer, nullable=False),
    UniqueConstraint("location"),
    sqlite_autoincrement=True,
)

article: Final = Table(
    "article",
    metadata,
    Column("id", Key, primary_key=True),
    Column("sequence", Key, nullable=False),
    Column("source_id", Key, ForeignKey("source.id", ondelete="CASCADE"), nullable=False),
    Column("guid", Text, nullable=False),
    Column("atom_id", Text, nullable=False),
    Column("slug", String(120), nullable=False),
    Column("url", Text, nullable=False),
    Column("title", Text, nullable=False),
    Column("content_html", Text, nullable=False),
    Column("summary", Text, nullable=False),
    Column("authors", JSON, nullable=False),
    Column("tags", JSON, nullable=False),
    Column("language", String(35), nullable=False),
    Column("image_url", Text, nullable=False),
    Column("enclosures", JSON, nullable=False),
    Column("published_at", UtcDateTime, nullable=False),
    Column("published_quality", String(16), nullable=False),
    Column("updated_at", UtcDateTime, nullable=False),
    Column("first_seen_at", UtcDateTime, nullable=False),
    Column("sorts_at", UtcDateTime, nullable=False),
    Column("content_hash", String(64), nullable=False),
    Column("revision", Integer, nullable=False),
    Column("origin", String(16), nullable=False),
    Column("link_key", String(64), nullable=False),
    Column("text_key", String(64), nullable=False),
    Column("turns", Integer, nullable=False),
    Column("turned_at", UtcDateTime, nullable=True),
    Column("source_updated_at", UtcDateTime, nullable=True),
    UniqueConstraint("source_id", "guid"),
    UniqueConstraint("sequence"),
    Index(None, "source_id", "sorts_at"),
    Index(None, "link_key"),
    Index(None, "text_key"),
    sqlite_autoincrement=True,
)

#: Other guids under which a source has given an article: what it renames is no new article.
article_alias: Final = Table(
    "article_alias",
    metadata,
    Column("source_id", Key, ForeignKey("source.id", ondelete="CASCADE"), primary_key=True),
    Column("guid", Text, primary_key=True),
    Column("article_id", Key, ForeignKey("article.id", ondelete="CASCADE"), nullable=False, index=True),
)

#: What waits for the operator, and what a rule keeps out (of which only the guid is remembered). No sequence
#: yet: it is in no feed, on no page and in no edition.
held_article: Final = Table(
    "held_article",
    metadata,
    Column("source_id", Key, ForeignKey("source.id", ondelete="CASCADE"), primary_key=True),
    Column("guid", Text, primary_key=True),
    Column("content_hash", String(64), nullable=False),
    Column("reason", Text, nullable=False),
    Column("held_at", UtcDateTime, nullable=False),
    Column("article", JSON(none_as_null=True), nullable=True),
)

#: A folder's files as they were read: one that has not been touched since is not read again.
source_file: Final = Table(
    "source_file",
    metadata,
    Column("source_id", Key, ForeignKey("source.id", ondelete="CASCADE"), primary_key=True),
    Column("name", Text, primary_key=True),
    Column("mtime_ns", Key, nullable=False),
    Column("size", Key, nullable=False),
    Column("content_hash", String(64), nullable=False),
    Column("guid", Text, nullable=False),
    Column("images", JSON, nullable=False),
)

#: A subscription at a hub, which pushes what a source publishes (WebSub). No secret is here: they are made
#: of the nonce. ``renew_at`` is when the hub is to be asked next.
hub_subscription: Final = Table(
    "hub_subscription",
    metadata,
    Column("source_id", Key, ForeignKey("source.id", ondelete="CASCADE"), primary_key=True),
    Column("hub_url", Text, nullable=False),
    Column("topic_url", Text, nullable=False),
    Column("nonce", String(32), nullable=False),
    Column("state", String(16), nullable=False),
    Column("requested_at", UtcDateTime, nullable=True),
    Column("lease_expires_at", UtcDateTime, nullable=True),
    Column("renew_at", UtcDateTime, nullable=True, index=True),
    Column("failures", Integer, nullable=False),
    Column("last_error", Text, nullable=False),
    Column("delivered_at", UtcDateTime, nullable=True),
)

#: Every text that an article has had; the current one is in ``article`` too.
revision: Final = Table(
    "revision",
    metadata,
    Column("article_id", Key, ForeignKey("article.id", ondelete="CASCADE"), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("content_hash", String(64), nullable=False),
    Column("title", Text, nullable=False),
    Column("content_html", Text, nullable=False),
    Column("summary", Text, nullable=False),
    Column("seen_at", UtcDateTime, nullable=False),
)

#: An article's tags as topic slugs, so that an audience is one statement.
article_topic: Final = Table(
    "article_topic",
    metadata,
    Column("article_id", Key, ForeignKey("article.id", ondelete="CASCADE"), primary_key=True),
    Column("topic", String(80), primary_key=True, index=True),
)

newsletter: Final = Table(
    "newsletter",
    metadata,
    Column("id", Key, primary_key=True),
    Column("slug", String(80), nullable=False),
    Column("title", Text, nullable=False),
    Column("description", Text, nullable=False),
    Column("language", String(35), nullable=False),
    Column("from_name", Text, nullable=False),
    Column("from_email", String(320), nullable=False),
    Column("reply_to", String(320), nullable=False),
    Column("postal_address", Text, nullable=False),
    Column("subject_template", Text, nullable=False),
    Column("topics", JSON, nullable=False),
    Column("cadences", JSON, nullable=False),
    Column("time_zone", String(64), nullable=False),
    Column("uncertain_policy", String(16), nullable=False),
    Column("content_version", Key, nullable=False),
    Column("changed_at", UtcDateTime, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    UniqueConstraint("slug"),
    sqlite_autoincrement=True,
)

#: Which sources a newsletter draws from; what is not newer than ``from_sequence`` is baseline for it.
newsletter_source: Final = Table(
    "newsletter_source",
    metadata,
    Column("newsletter_id", Key, ForeignKey("newsletter.id", ondelete="CASCADE"), primary_key=True),
    Column("source_id", Key, ForeignKey("source.id", ondelete="CASCADE"), primary_key=True, index=True),
    Column("from_sequence", Key, nullable=False),
)

schedule: Final = Table(
    "schedule",
    metadata,
    Column("newsletter_id", Key, ForeignKey("newsletter.id", ondelete="CASCADE"), primary_key=True),
    Column("cadence", String(16), primary_key=True),
    Column("hour", Integer, nullable=False),
    Column("minute", Integer, nullable=False),
    Column("weekday", Integer, nullable=True),
    Column("monthday", Integer, nullable=True),
    Column("after_local", String(16), nullable=False),
)

edition: Final = Table(
    "edition",
    metadata,
    Column("id", Key, primary_key=True),
    Column("newsletter_id", Key, ForeignKey("newsletter.id", ondelete="CASCADE"), nullable=False),
    Column("cadence", String(16), nullable=False),
    Column("slot", String(40), nullable=False),
    Column("state", String(16), nullable=False),
    Column("reason", Text, nullable=False),
    Column("cutoff", Key, nullable=False),
    Column("policy", String(16), nullable=False),
    Column("subject", Text, nullable=False),
    Column("opened_at", UtcDateTime, nullable=False),
    Column("finished_at", UtcDateTime, nullable=True),
    UniqueConstraint("newsletter_id", "cadence", "slot"),
    CheckConstraint(
        "state IN ('draft', 'approved', 'sending', 'paused', 'held', 'sent', 'cancelled')", name="state"
    ),
    Index(None, "state"),
    sqlite_autoincrement=True,
)

#: What an edition may include, in editorial order, in the revision that it opened with.
edition_article: Final = Table(
    "edition_article",
    metadata,
    Column("edition_id", Key, ForeignKey("edition.id", ondelete="CASCADE"), primary_key=True),
    Column("article_id", Key, ForeignKey("article.id", ondelete="CASCADE"), primary_key=True, index=True),
    Column("revision", Integer, nullable=False),
    Column("position", Integer, nullable=False),
)

#: The compiled edition: every attempt, even after a restart, has the same bytes.
edition_content: Final = Table(
    "edition_content",
    metadata,
    Column("edition_id", Key, ForeignKey("edition.id", ondelete="CASCADE"), primary_key=True),
    Column("compiled", LargeBinary, nullable=False),
    Column("sha256", String(64), nullable=False),
)

#: Not ``IN``: SQLite makes a list of seven anew for each row that it checks, which costs as much as the row.
_DELIVERY_STATES: Final = " OR ".join(
    f"state = '{state}'"
    for state in ("pending", "attempting", "sent", "deferred", "failed", "uncertain", "skipped")
)

#: The ledger. Nothing but its key is indexed on purpose: freezing a million rows would pay for it, and with
#: an index on ``state`` PostgreSQL could not update them in place. Nor does it refer to its edition by a
#: foreign key, which PostgreSQL looks up for each row: whoever deletes editions deletes their deliveries.
delivery: Final = Table(
    "delivery",
    metadata,
    Column("edition_id", Key, primary_key=True),
    Column("subscriber_id", Key, primary_key=True),
    Column("subscription_id", Key, nullable=False),
    Column("address", String(320), nullable=False),
    Column("name", String(200), nullable=False),
    Column("reason", String(80), nullable=False),
    Column("watermark", Key, nullable=False),
    Column("topics", Text, nullable=False),
    Column("state", String(16), nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("fence", Integer, nullable=False),
    Column("attempted_at", UtcDateTime, nullable=True),
    Column("next_attempt_at", UtcDateTime, nullable=True),
    Column("reply", String(500), nullable=False),
    CheckConstraint(_DELIVERY_STATES, name="state"),
)

#: A contiguous range of an edition's deliveries, which one sender leases at a time. ``due_at`` is when it has
#: work next, None for never; where ``is_settled``, nothing in it is open or uncertain.
shard: Final = Table(
    "shard",
    metadata,
    Column("edition_id", Key, ForeignKey("edition.id", ondelete="CASCADE"), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("first_id", Key, nullable=False),
    Column("last_id", Key, nullable=False),
    Column("fence", Integer, nullable=False),
    Column("lease_owner", String(80), nullable=False),
    Column("lease_expires_at", UtcDateTime, nullable=True),
    Column("due_at", UtcDateTime, nullable=True),
    Column("is_settled", Boolean, nullable=False),
)

#: A message to one person that belongs to no edition, such as a confirmation: queued in the transaction
#: that causes it, so a crash loses none.
letter: Final = Table(
    "letter",
    metadata,
    Column("id", Key, primary_key=True),
    Column("kind", String(24), nullable=False),
    Column("subscription_id", Key, nullable=False, index=True),
    Column("sender", String(320), nullable=False),
    Column("recipient", String(320), nullable=False),
    Column("message", LargeBinary, nullable=False),
    Column("state", String(16), nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("next_attempt_at", UtcDateTime, nullable=True, index=True),
    Column("reply", String(500), nullable=False),
    sqlite_autoincrement=True,
)

#: A published feed, built once per content version and served as bytes.
feed_document: Final = Table(
    "feed_document",
    metadata,
    Column("newsletter_id", Key, ForeignKey("newsletter.id", ondelete="CASCADE"), primary_key=True),
    Column("topic", String(80), primary_key=True),
    Column("format", String(16), primary_key=True),
    Column("version", Key, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("media_type", String(80), nullable=False),
    Column("etag", String(80), nullable=False),
    Column("last_modified_at", UtcDateTime, nullable=False),
)

#: What a relay with a limit was given on one day, by all senders together. ``free_at`` is when its next turn
#: comes; the row is locked while turns are taken.
relay_usage: Final = Table(
    "relay_usage",
    metadata,
    Column("relay", String(32), primary_key=True),
    Column("day", Date, primary_key=True),
    Column("sent", Integer, nullable=False),
    Column("free_at", UtcDateTime, nullable=False),
)
