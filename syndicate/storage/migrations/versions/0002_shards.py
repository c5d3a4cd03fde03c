"""Shards of an edition's deliveries, leased instead of the whole edition."""

import sqlalchemy as sa
from alembic import op

revision = "syndicate_0002"
down_revision = "syndicate_0001"
branch_labels = None
depends_on = None

_STATES = ("pending", "attempting", "sent", "deferred", "failed", "uncertain", "skipped")
_ONE_BY_ONE = " OR ".join(f"state = '{state}'" for state in _STATES)
_IN_A_LIST = "state IN ({})".format(", ".join(f"'{state}'" for state in _STATES))

_key = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "shard",
        sa.Column("edition_id", _key, nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("first_id", _key, nullable=False),
        sa.Column("last_id", _key, nullable=False),
        sa.Column("fence", sa.Integer(), nullable=False),
        sa.Column("lease_owner", sa.String(length=80), nullable=False),
        sa.Column("lease_expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("is_settled", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(
            ["edition_id"], ["edition.id"], name=op.f("fk_shard_edition_id_edition"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("edition_id", "number", name=op.f("pk_shard")),
    )
    # Editions that are there are cut like new ones, under the fence that their rows carry.
    op.execute(
        "INSERT INTO shard (edition_id, number, first_id, last_id, fence, lease_owner, due_at, is_settled)"
        " SELECT e.id, d.number, MIN(d.subscriber_id), MAX(d.subscriber_id), e.fence, '',"
        " CASE WHEN e.state IN ('sent', 'cancelled') THEN NULL ELSE e.opened_at END, FALSE"
        " FROM edition e JOIN ("
        "SELECT edition_id, subscriber_id,"
        " (ROW_NUMBER() OVER (PARTITION BY edition_id ORDER BY subscriber_id) - 1) / 1000 AS number"
        " FROM delivery) d ON d.edition_id = e.id"
        " GROUP BY e.id, d.number, e.fence, e.state, e.opened_at"
    )
    for column in ("lease_owner", "lease_expires_at", "fence"):
        # Not in a batch: on SQLite that makes the table anew and drops the old one, and each row that belongs
        # to an edition would be deleted with it.
        op.drop_column("edition", column)
    op.drop_index(op.f("ix_delivery_subscription_id"), table_name="delivery")
    if op.get_bind().dialect.name == "sqlite":
        # Nothing belongs to a delivery. The table that is made anew has the check of the old one no more.
        with op.batch_alter_table("delivery", recreate="always") as batch:
            batch.drop_constraint(op.f("fk_delivery_edition_id_edition"), type_="foreignkey")
            batch.create_check_constraint(op.f("ck_delivery_state"), _ONE_BY_ONE)
    else:
        op.drop_constraint(op.f("fk_delivery_edition_id_edition"), "delivery", type_="foreignkey")
        op.drop_constraint(op.f("ck_delivery_state"), "delivery", type_="check")
        op.create_check_constraint(op.f("ck_delivery_state"), "delivery", _ONE_BY_ONE)


def downgrade() -> None:
    if op.get_bind().dialect.name == "sqlite":
        with op.batch_alter_table("delivery", recreate="always") as batch:
            batch.create_foreign_key(
                op.f("fk_delivery_edition_id_edition"), "edition", ["edition_id"], ["id"], ondelete="CASCADE"
            )
            batch.create_check_constraint(op.f("ck_delivery_state"), _IN_A_LIST)
    else:
        op.drop_constraint(op.f("ck_delivery_state"), "delivery", type_="check")
        op.create_check_constraint(op.f("ck_delivery_state"), "delivery", _IN_A_LIST)
        op.create_foreign_key(
            op.f("fk_delivery_edition_id_edition"),
            "delivery",
            "edition",
            ["edition_id"],
            ["id"],
            ondelete="CASCADE",
        )
    op.create_index(op.f("ix_delivery_subscription_id"), "delivery", ["subscription_id"], unique=False)
    op.add_column(
        "edition", sa.Column("lease_owner", sa.String(length=80), nullable=False, server_default="")
    )
    op.add_column("edition", sa.Column("lease_expires_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("edition", sa.Column("fence", sa.Integer(), nullable=False, server_default="0"))
    # No fence that was given out is given out again.
    op.execute(
        "UPDATE edition SET fence ="
        " COALESCE((SELECT MAX(s.fence) FROM shard s WHERE s.edition_id = edition.id), 0)"
    )
    op.drop_table("shard")
