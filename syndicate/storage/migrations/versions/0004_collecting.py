"""Sources with a rhythm, options and health of their own; articles under several names; what is held."""

import sqlalchemy as sa
from alembic import op

revision = "syndicate_0004"
down_revision = "syndicate_0003"
branch_labels = None
depends_on = None

_key = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    # One by one, not by a new table: deleting the old one would delete the articles with it.
    op.add_column("source", sa.Column("failing_since", sa.DateTime(timezone=True), nullable=True))
    op.add_column(
        "source", sa.Column("error_reason", sa.String(length=40), nullable=False, server_default="")
    )
    op.add_column(
        "source", sa.Column("full_text", sa.String(length=16), nullable=False, server_default="as-is")
    )
    op.add_column("source", sa.Column("selector", sa.Text(), nullable=False, server_default=""))
    op.add_column("source", sa.Column("rules", sa.JSON(), nullable=False, server_default="[]"))
    op.add_column("source", sa.Column("topic_map", sa.JSON(), nullable=False, server_default="{}"))
    op.add_column(
        "source", sa.Column("needs_approval", sa.Boolean(), nullable=False, server_default=sa.false())
    )
    # Those that are in the operator's own network were added with it in mind.
    op.add_column("source", sa.Column("is_intranet", sa.Boolean(), nullable=False, server_default=sa.true()))
    op.add_column("source", sa.Column("validators_url", sa.Text(), nullable=False, server_default=""))
    op.add_column(
        "source",
        sa.Column("parser_version", sa.Integer(), nullable=False, server_default="0"),
    )
    op.add_column("source", sa.Column("full_fetch_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("source", sa.Column("moved_to", sa.Text(), nullable=False, server_default=""))
    op.add_column("source", sa.Column("moved_since", sa.DateTime(timezone=True), nullable=True))
    op.add_column("source", sa.Column("moved_seen", sa.Integer(), nullable=False, server_default="0"))
    op.add_column("source", sa.Column("earlier_locations", sa.JSON(), nullable=False, server_default="[]"))
    op.add_column("source", sa.Column("lease_expires_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("source", sa.Column("fence", sa.Integer(), nullable=False, server_default="0"))
    op.add_column("article", sa.Column("link_key", sa.String(length=64), nullable=False, server_default=""))
    op.add_column("article", sa.Column("text_key", sa.String(length=64), nullable=False, server_default=""))
    op.add_column("article", sa.Column("turns", sa.Integer(), nullable=False, server_default="0"))
    op.add_column("article", sa.Column("turned_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("article", sa.Column("source_updated_at", sa.DateTime(timezone=True), nullable=True))
    op.create_index(op.f("ix_article_link_key"), "article", ["link_key"])
    op.create_index(op.f("ix_article_text_key"), "article", ["text_key"])
    op.create_table(
        "article_alias",
        sa.Column("source_id", _key, nullable=False),
        sa.Column("guid", sa.Text(), nullable=False),
        sa.Column("article_id", _key, nullable=False),
        sa.ForeignKeyConstraint(
            ["article_id"],
            ["article.id"],
            name=op.f("fk_article_alias_article_id_article"),
            ondelete="CASCADE",
        ),
        _to_source("article_alias"),
        sa.PrimaryKeyConstraint("source_id", "guid", name=op.f("pk_article_alias")),
    )
    op.create_index(op.f("ix_article_alias_article_id"), "article_alias", ["article_id"])
    op.create_table(
        "held_article",
        sa.Column("source_id", _key, nullable=False),
        sa.Column("guid", sa.Text(), nullable=False),
        sa.Column("content_hash", sa.String(length=64), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("held_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("article", sa.JSON(), nullable=True),
        _to_source("held_article"),
        sa.PrimaryKeyConstraint("source_id", "guid", name=op.f("pk_held_article")),
    )
    op.create_table(
        "source_file",
        sa.Column("source_id", _key, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("mtime_ns", _key, nullable=False),
        sa.Column("size", _key, nullable=False),
        sa.Column("content_hash", sa.String(length=64), nullable=False),
        sa.Column("guid", sa.Text(), nullable=False),
        sa.Column("images", sa.JSON(), nullable=False),
        _to_source("source_file"),
        sa.PrimaryKeyConstraint("source_id", "name", name=op.f("pk_source_file")),
    )
    op.create_table(
        "hub_subscription",
        sa.Column("source_id", _key, nullable=False),
        sa.Column("hub_url", sa.Text(), nullable=False),
        sa.Column("topic_url", sa.Text(), nullable=False),
        sa.Column("nonce", sa.String(length=32), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("requested_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("lease_expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("renew_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("last_error", sa.Text(), nullable=False),
        sa.Column("delivered_at", sa.DateTime(timezone=True), nullable=True),
        _to_source("hub_subscription"),
        sa.PrimaryKeyConstraint("source_id", name=op.f("pk_hub_subscription")),
    )
    op.create_index(op.f("ix_hub_subscription_renew_at"), "hub_subscription", ["renew_at"])


def downgrade() -> None:
    for table in ("hub_subscription", "source_file", "held_article", "article_alias"):
        op.drop_table(table)
    op.drop_index(op.f("ix_article_text_key"), "article")
    op.drop_index(op.f("ix_article_link_key"), "article")
    for name in ("link_key", "text_key", "turns", "turned_at", "source_updated_at"):
        op.drop_column("article", name)
    for name in (
        "failing_since",
        "error_reason",
        "full_text",
        "selector",
        "rules",
        "topic_map",
        "needs_approval",
        "is_intranet",
        "validators_url",
        "parser_version",
        "full_fetch_at",
        "moved_to",
        "moved_since",
        "moved_seen",
        "earlier_locations",
        "lease_expires_at",
        "fence",
    ):
        op.drop_column("source", name)


def _to_source(table: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(
        ["source_id"], ["source.id"], name=op.f(f"fk_{table}_source_id_source"), ondelete="CASCADE"
    )
