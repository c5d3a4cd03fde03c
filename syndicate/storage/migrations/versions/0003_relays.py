"""What each relay with a limit was given on which day."""

import sqlalchemy as sa
from alembic import op

revision = "syndicate_0003"
down_revision = "syndicate_0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "relay_usage",
        sa.Column("relay", sa.String(length=32), nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("sent", sa.Integer(), nullable=False),
        sa.Column("free_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("relay", "day", name=op.f("pk_relay_usage")),
    )


def downgrade() -> None:
    op.drop_table("relay_usage")
