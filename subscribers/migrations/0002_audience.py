"""The index of audiences in the order of readers."""

from alembic import op

revision = "subscribers_0002"
down_revision = "subscribers_0001"
branch_labels = None
depends_on = None

_NAME = "ix_subscription_audience"


def upgrade() -> None:
    op.drop_index(_NAME, table_name="subscription")
    op.create_index(
        _NAME, "subscription", ["newsletter_id", "status", "subscriber_id", "cadence"], unique=False
    )


def downgrade() -> None:
    op.drop_index(_NAME, table_name="subscription")
    op.create_index(_NAME, "subscription", ["newsletter_id", "status", "cadence"], unique=False)
